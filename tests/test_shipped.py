"""Models that come with medgen: whole, small, said to be of phantoms, and used by their names."""

import json
import re
from pathlib import Path

import pytest
from export.small_models import save_small

from medgen import shipped
from medgen.cli import main
from medgen.errors import ModelError, UsageError
from medgen.files import sha256
from medgen.inference.calibrating import calibrate
from medgen.inference.loading import load_model
from medgen.inference.novelty_fitting import fit_novelty
from medgen.phantom import make_adaptation_phantom
from medgen.report.card import read_card

FOLDER = Path(__file__).parents[1] / "pipelines" / "shipped"
NAMES = shipped.names()


def run(*words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code


def test_there_are_models():
    assert NAMES


def test_all_together_are_small():
    assert sum(each.megabytes for each in shipped.available()) <= 10
    files = [file for name in NAMES for file in shipped.folder_of(name).iterdir()]
    assert sum(file.stat().st_size for file in files) <= 10e6


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_card_and_the_weights_that_it_names(name):
    folder = shipped.folder_of(name)
    content = json.loads((folder / "model.json").read_text())
    assert content["weights_sha256"] == sha256(folder / shipped.WEIGHTS)
    assert content["summary"].endswith(("phantoms", "many scanners"))
    card = (folder / "CARD.md").read_text()
    assert "phantoms alone" in card
    assert f"medgen predict {name} " in card
    assert "## Scores\n\nNone" not in card


@pytest.mark.parametrize("name", NAMES)
def test_medgen_card_says_what_its_card_says(name, capsys):
    assert run("card", name) == 0
    said, kept = capsys.readouterr().out.strip(), (shipped.folder_of(name) / "CARD.md").read_text().strip()
    day = r"\| card of \| \S+ \|"
    assert re.sub(day, "", said) == re.sub(day, "", kept)
    assert "nothing is known" not in said


def test_a_model_is_shipped_with_the_scores_of_its_run_and_no_others(tmp_path, monkeypatch, capsys):
    import ship

    folder = tmp_path / "package" / "head-ct"
    made = save_small(tmp_path / "run", {"generator": "unet", "width": 0.125, "context": "none"})
    mae = {"mean": 70.0, "sd": 3.0, "ci95": [68.0, 72.0], "n": 9}
    scores = {"task": "synthesis", "cases": [{"case": "Ada", "mae": 70}], "summary": {"mae": mae}}
    (made / "scores.json").write_text(json.dumps(scores))
    folder.mkdir(parents=True)
    (folder / "scores_old.json").write_text(json.dumps({"task": "synthesis", "summary": {"mae": {**mae, "mean": 1}}}))
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr("sys.argv", ["ship.py", str(made), "head-ct"])
    ship.main()
    assert "head-ct: " in capsys.readouterr().out
    assert not (folder / "scores_old.json").exists()
    assert read_card(folder).scores == {"scores.json": {"task": "synthesis", "summary": {"mae": mae}}}
    assert "| mae | 70 HU | [68, 72] | 9 |" in (folder / "CARD.md").read_text()
    assert all("Ada" not in file.read_text() for file in (folder / "scores.json", folder / "CARD.md"))


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_and_says_what_it_learnt_from(name):
    model = load_model(name, device="cpu")
    assert any("phantoms alone" in notice for notice in model.notices.values())


def test_a_name_is_predicted_with_right_after_the_installation(tmp_path, capsys):
    counts = {"source": 1, "target": 0, "test": 0, "source_test": 0, "validation": (0, 0)}
    make_adaptation_phantom(tmp_path / "phantom", spacing=6, workers=1, **counts)
    case = tmp_path / "phantom" / "source_train_000"
    images = [f"{role}={case / f'{case.name}_{role}.nii.gz'}" for role in ("t2", "flair", "ge")]
    words = [word for image in images for word in ("-i", image)]
    assert run("predict", "contusions", *words, "-o", tmp_path / "label.nii.gz", "--device", "cpu") == 0
    report = json.loads((tmp_path / "label.prediction.json").read_text())
    assert "phantoms alone" in json.dumps(report)
    assert "phantoms alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "part", ["model/model.json", "model.json", "weights.safetensors", "recipe.yaml", "checkpoints/x"]
)
def test_a_run_of_that_name_comes_first(tmp_path, monkeypatch, caplog, part):
    monkeypatch.chdir(tmp_path)
    assert shipped.folder_of(NAMES[0]).is_absolute()
    place = Path(NAMES[0]) / part
    place.parent.mkdir(parents=True)
    place.touch()
    with caplog.at_level("INFO"):
        assert shipped.folder_of(NAMES[0]) == shipped.folder_of(NAMES[0]) == Path(NAMES[0])
    assert [each for each in caplog.messages if "hides the model" in each] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", ["empty", "results", "file"])
def test_what_is_no_run_hides_no_model(tmp_path, monkeypatch, caplog, kind):
    """As the folder that somebody made for the results of that model."""
    monkeypatch.chdir(tmp_path)
    place = Path(NAMES[0])
    if kind == "file":
        place.touch()
    else:
        place.mkdir()
    if kind == "results":
        (place / "ct.nii.gz").touch()
    with caplog.at_level("INFO"):
        assert load_model(NAMES[0], device="cpu").stages
    assert sum("holds no model" in each for each in caplog.messages) == 1
    with pytest.raises(UsageError, match="is not changed"):
        calibrate(NAMES[0], "x.csv")


@pytest.mark.parametrize("write", [lambda name: calibrate(name, "x.csv"), lambda name: fit_novelty(name, "x.csv")])
def test_nothing_is_written_beside_a_shipped_model(write):
    with pytest.raises(UsageError, match="is not changed"):
        write(NAMES[0])


def test_the_list_has_every_model(capsys):
    assert run("models", "--available", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == NAMES


def test_a_name_that_is_nearly_one_gets_its_name():
    with pytest.raises(ModelError) as error:
        load_model(NAMES[0][:-1], device="cpu")
    assert error.value.fix == f"did you mean '{NAMES[0]}'?"
