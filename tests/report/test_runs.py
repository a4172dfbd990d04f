"""The run on the page is the one whose weights made the predictions; what does not fit is said."""

import json
import os
from pathlib import Path

import pytest
from test_report import make_reader_study, text_of, write_scores

from medgen.cli import main
from medgen.files import sha256, write_json
from medgen.report import figures, sources
from medgen.report.runs import choose_run, find_runs

OURS, OTHERS = "a" * 64, "b" * 64


def give_weights(run, weights):
    write_json(run / "run.json", {"device": "cpu", "model_sha256": weights})


def record(study, *, predicted=OURS, scored=OURS):
    """Say which weights made the predictions, and which the scored ones."""
    write_json(
        study / "predictions/prediction.json", {"model": {"method": "context_aware_gan", "weights_sha256": predicted}}
    )
    path = study / "scores/context_aware_gan.json"
    content = json.loads(path.read_text())
    files = {name: sha256(study / f"predictions/{name}/{name}_ct.nii.gz") for name in ("p1", "p2", "p3")}
    content["settings"] = {"predictions": {"method": "context_aware_gan", "weights_sha256": [scored], "sha256": files}}
    write_json(path, content)


def said(folder, capsys):
    """What stands on stderr, and what on the page."""
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder)])
    assert ended.value.code == 0
    return capsys.readouterr().err, text_of((folder / "report.html").read_text())


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw_figures", lambda *_, **__: [])  # they take seconds and say nothing here

    folder = make_reader_study(tmp_path / "study")
    give_weights(folder / "run", OURS)
    record(folder)
    return folder


def test_the_recipe_is_parsed_once_for_what_was_found_and_once_for_what_is_shown(study, monkeypatch, capsys):
    """It is asked for at every picture and table, and hundreds of parsings took most of the time of a report."""
    parsed, read_yaml = [], sources.read_yaml
    monkeypatch.setattr(sources, "read_yaml", lambda text: parsed.append(text) or read_yaml(text))
    said(study, capsys)
    assert len(parsed) <= 2


def test_what_fits_is_not_commented(study, capsys):
    errors, page = said(study, capsys)
    assert "warning:" not in errors
    assert "Check this first" not in page
    assert "method: context_aware_gan" in page


def test_a_recipe_beside_the_run_is_no_run(study, capsys):
    """README's own layout: the recipe that the user wrote lies beside run/."""
    (study / "recipe.yaml").write_text("method: cyclegan\n")
    errors, page = said(study, capsys)
    assert "warning:" not in errors
    assert "method: context_aware_gan" in page
    assert "cyclegan" not in page
    assert f"SHA-256 of the weights {OURS}" in page


def test_predictions_of_other_weights_show_no_recipe(study, capsys):
    record(study, predicted=OTHERS, scored=OTHERS)
    errors, page = said(study, capsys)
    sentence = f"predictions/ was made by weights {OTHERS[:12]}, which no run here holds: run/ ({OURS[:12]})"
    assert f"warning: {sentence}" in errors
    assert sentence in page
    assert "method: context_aware_gan" not in page


def test_of_two_runs_the_one_that_made_the_predictions_is_shown(study, capsys):
    other = study / "another"
    other.mkdir()
    (other / "recipe.yaml").write_text("method: supervised\n")
    give_weights(other, OTHERS)
    errors, page = said(study, capsys)
    assert "warning:" not in errors
    assert "method: context_aware_gan" in page
    record(study, predicted=OTHERS, scored=OTHERS)
    errors, page = said(study, capsys)
    assert "warning:" not in errors
    assert "method: supervised" in page
    assert "Run in another/" in page


def test_two_runs_without_a_record_are_told(study, capsys):
    other = study / "another"
    other.mkdir()
    (other / "recipe.yaml").write_text("method: supervised\n")
    give_weights(other, OTHERS)
    (study / "predictions/prediction.json").unlink()
    write_scores(study / "scores/context_aware_gan.json", {"p1": 10.0, "p2": 20.0, "p3": 30.0})
    errors, page = said(study, capsys)
    assert "there are several runs, another/, run/, and no record of which one to show: run/ is" in errors
    assert "predictions/ has no record of the weights that made it" in page
    assert "method: context_aware_gan" in page


def test_two_runs_of_the_same_weights_are_told(study):
    other = study / "another"
    other.mkdir()
    (other / "recipe.yaml").write_text("method: context_aware_gan\n")
    give_weights(other, OURS)
    run, doubts = choose_run(find_runs(study), study / "predictions", ())
    assert run.name == "another"
    assert doubts == ["several runs hold these weights: another/, run/; shown is another/"]


def test_scores_of_another_model_are_told(study, capsys):
    record(study, scored=OTHERS)
    errors, page = said(study, capsys)
    assert f"the scores are of predictions by weights {OTHERS[:12]}, and predictions/ was made by {OURS[:12]}" in errors
    assert "the images and the numbers are of two models" in page


def test_predictions_that_changed_after_scoring_are_told(study, capsys):
    (study / "predictions/p1/p1_ct.nii.gz").write_bytes((study / "predictions/p2/p2_ct.nii.gz").read_bytes())
    errors, _ = said(study, capsys)
    assert "1 of 3 predictions have changed since they were scored (p1); evaluate again" in errors


def test_scores_without_a_record_go_by_their_time(study, capsys):
    write_scores(study / "scores/context_aware_gan.json", {"p1": 10.0, "p2": 20.0, "p3": 30.0})
    errors, _ = said(study, capsys)
    assert "older" not in errors
    os.utime(study / "scores/context_aware_gan.json", (1, 1))
    errors, _ = said(study, capsys)
    assert "the scores are older than predictions/; evaluate again" in errors


def test_an_ensemble_is_of_each_of_its_runs(study):
    write_json(study / "predictions/prediction.json", {"model": {"weights_sha256": OTHERS, "ensemble_sha256": [OURS]}})
    run, doubts = choose_run(find_runs(study), study / "predictions", ())
    assert (run.name, doubts) == ("run", [])


def test_scores_of_several_methods_without_predictions_are_of_the_run_that_made_one(study, capsys):
    (study / "predictions").rename(study / "elsewhere")
    content = json.loads((study / "scores/context_aware_gan.json").read_text())
    content["settings"]["predictions"]["weights_sha256"] = [OTHERS]
    write_json(study / "scores/a_method_without_its_run.json", content)
    errors, page = said(study, capsys)
    assert "warning:" not in errors
    assert "method: context_aware_gan" in page


def test_a_run_folder_from_inside_has_its_name(study, monkeypatch):
    monkeypatch.chdir(study / "run")
    (study / "predictions").rename("predictions")
    _, doubts = choose_run(find_runs(Path()), Path("predictions"), [OTHERS])
    assert doubts == []
    give_weights(Path(), OTHERS)
    _, doubts = choose_run(find_runs(Path()), Path("predictions"), [])
    assert f"which no run here holds: run/ ({OTHERS[:12]})" in doubts[0]
