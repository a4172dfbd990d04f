"""The card of a model says what its files say, in both forms, and what nobody knows."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny
import yaml

from medgen.cli import main
from medgen.errors import InputError, ModelError
from medgen.evaluation import evaluate
from medgen.inference.cohort import predict
from medgen.report.card import as_markdown, as_monai, read_card, write_scores
from medgen.run.experiment import train

CONFIG = {"generator": "unet", "width": 0.125, "context": "none"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained model with scores in its folder."""
    folder = tmp_path_factory.mktemp("card")
    table = tiny.write_cases(folder, train=2, val=1, test=6)
    recipe = {**tiny.recipe(schedule={"steps": 1}), "method": "supervised", "config": CONFIG}
    recipe["inference"] = {"licence": "CC-BY-4.0"}
    made = train(recipe, table, folder / "run", device="cpu")
    predict(made, table, folder / "predictions", device="cpu", split="test")
    evaluate("synthesis", folder / "predictions", table).write(made / "scores.json")
    return made


def parts(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_the_facts_of_the_run(run):
    description = json.loads((run / "model/model.json").read_text())
    mae = json.loads((run / "scores.json").read_text())["summary"]["mae"]
    front, body = parts(as_markdown(read_card(run)))
    assert front["license"] == "CC-BY-4.0"
    assert front["library_name"] == "medgen"
    (entry,) = front["model-index"][0]["results"]
    assert {each["type"]: each["value"] for each in entry["metrics"]}["mae"] == mae["mean"]
    assert description["weights_sha256"] in body
    low, high = mae["ci95"]
    assert f"| mae | {mae['mean']:.4g} HU | [{low:.4g}, {high:.4g}] | 6 |" in body
    assert "| train cases | 2 |" in body
    assert "Not for clinical use" in body
    assert "It learnt from 2 cases" in body
    assert "medgen predict RUN -i t1=FILE" in body
    assert str(run.parent) not in body


def test_monai_has_the_same_facts(run):
    card = read_card(run)
    found = as_monai(card)
    mae = json.loads((run / "scores.json").read_text())["summary"]["mae"]["mean"]
    assert found["eval_metrics"]["scores.json: mae"] == mae
    assert found["copyright"] == "CC-BY-4.0"
    assert "Not for clinical use" in found["intended_use"]
    json.dumps(found, allow_nan=False)


def test_the_model_folder_alone_has_no_scores_and_says_so(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "copy")
    front, body = parts(as_markdown(read_card(tmp_path / "copy")))
    assert "model-index" not in front
    assert "nothing is known of how well it does" in body


def test_scores_of_others_beside_a_model_folder_are_not_taken(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "copy")
    shutil.copyfile(run / "scores.json", tmp_path / "scores_other.json")
    assert not read_card(tmp_path / "copy").scores


def test_scores_in_the_model_folder_come_first_and_name_no_case(run, tmp_path):
    write_scores(read_card(run), shutil.copytree(run / "model", tmp_path / "run/model"))
    (tmp_path / "run/scores.json").write_text('{"task": "synthesis", "summary": {"mae": {"mean": 1, "n": 1}}}')
    for place in ("run", "run/model"):
        assert read_card(tmp_path / place).scores == read_card(run).scores
    kept = json.loads((tmp_path / "run/model/scores.json").read_text())
    assert kept.keys() == {"task", "summary"}
    changed = replace(read_card(run), scores={"results.json": kept})
    write_scores(changed, tmp_path / "run/model")
    assert list(read_card(tmp_path / "run").scores) == ["scores_results.json"]


def test_a_bar_in_a_role_does_not_end_its_cell(run):
    card = read_card(run)
    content = json.loads(json.dumps(card.content))
    content["preparation"]["roles"]["inputs"] = ["t1", "ge|swi"]
    changed = type(card)(card.name, content, card.run, card.sha256, card.scores, card.summary)
    body = as_markdown(changed)
    assert "`ge\\|swi`" in body
    assert "-i t1=FILE -i ge=FILE" in body


def test_weights_of_another_model_get_no_card(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "copy")
    weights = bytearray((tmp_path / "copy/weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "copy/weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="not those that model"):
        read_card(tmp_path / "copy")


def test_what_is_no_file_of_scores_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="no such file of scores"):
        read_card(run, [tmp_path / "away.json"])
    (tmp_path / "other.json").write_text('{"task": "synthesis", "summary": {"mae": 3}}')
    with pytest.raises(InputError, match="no file of scores"):
        read_card(run, [tmp_path / "other.json"])


def test_scores_of_other_weights_are_left_out_and_if_named_refused(run, tmp_path, caplog):
    content = json.loads((run / "scores.json").read_text())
    content["settings"]["predictions"]["weights_sha256"] = ["0" * 64]
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "scores_old.json").write_text(json.dumps(content))
    assert list(read_card(copy).scores) == ["scores.json"]
    assert "scores_old.json has scores of other weights" in caplog.text
    with pytest.raises(InputError, match="scores of other weights"):
        read_card(run, [copy / "scores_old.json"])
    assert list(read_card(run, [run / "scores.json"]).scores) == ["scores.json"]


def test_the_command_writes_it(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["card", str(run), "-o", str(tmp_path / "CARD.md")])
    assert not exit_.value.code
    assert (tmp_path / "CARD.md").read_text() == as_markdown(read_card(run))
    with pytest.raises(SystemExit) as exit_:
        main(["card", str(run), "--form", "monai"])
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["name"] == "run"


@pytest.mark.parametrize(
    "output", ["model/model.json", "model/weights.safetensors", "run.json", "scores.json", "other"]
)
def test_a_card_replaces_nothing_that_it_was_made_from(run, tmp_path, capsys, output):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/scores.json").write_text('{"task": "synthesis", "cases": [], "summary": {}}')
    shutil.copy(tmp_path / "run/scores.json", tmp_path / "run/other")
    given = ["--scores", str(tmp_path / "run/other")] if output == "other" else []
    file = tmp_path / "run" / output
    before = file.read_bytes()
    with pytest.raises(SystemExit) as end:
        main(["card", str(tmp_path / "run"), *given, "-o", str(file), "--overwrite"])
    assert end.value.code == 2
    assert "the output is an input of the command" in capsys.readouterr().err
    assert file.read_bytes() == before
