"""A guard beside a model that predicts: its warnings in the log, in the sidecar and with --strict."""

import json
from pathlib import Path

import numpy as np
import pytest
from mean_model import head, make_model, save
from test_novelty import SIZE, WINDOW, write_table
from toy_samplers import LIKELY, save_toy

from medgen.cases import read_cases
from medgen.cli import main
from medgen.errors import CasesFailed, UsageError
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.guard import load_guard
from medgen.inference.novelty_fitting import fit_novelty
from medgen.inference.options import ReadOptions


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    run = save_toy(tmp_path / "likely", LIKELY, size=SIZE, intensity=WINDOW)
    fit_novelty(run, write_table(tmp_path / "known"), patches=4, device="cpu", allow_modules=[LIKELY])
    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """One head as in training, and one of noise."""
    save(head(value=520.0), tmp_path / "usual.nii.gz")
    noise = np.random.default_rng(0).uniform(0, 1000, (19, 23, 17)).astype(np.float32)
    save(np.where(head() > 0, noise, 0), tmp_path / "odd.nii.gz")
    (tmp_path / "cases.csv").write_text("case,split,t1\nusual,test,usual.nii.gz\nodd,test,odd.nii.gz\n")
    return tmp_path / "cases.csv"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgen.inference.cohort.load_model", lambda *_, **__: make_model())


def report(folder: Path) -> dict:
    return json.loads((folder / "prediction.json").read_text())


@pytest.mark.usefixtures("loaded")
class TestWarning:
    def test_in_log_and_sidecar(self, guard, table, tmp_path, caplog):
        predict("run", table, tmp_path / "out", guard=guard, allow_modules=[LIKELY], device="cpu")
        usual, odd = report(tmp_path / "out")["cases"]
        assert usual["warnings"] == []
        (warning,) = odd["warnings"]
        assert "the image given for 't1' is unlike those that the generative model 'likely' was trained on" in warning
        assert f"case odd: {warning}" in caplog.messages
        facts = report(tmp_path / "out")["model"]["guard"]
        assert facts["method"] == LIKELY
        assert len(facts["weights_sha256"]) == 64

    def test_without_a_guard_there_is_none(self, table, tmp_path):
        predict("run", table, tmp_path / "out", device="cpu")
        assert [case["warnings"] for case in report(tmp_path / "out")["cases"]] == [[], []]
        assert "guard" not in report(tmp_path / "out")["model"]

    def test_strict(self, guard, table, tmp_path):
        with pytest.raises(CasesFailed) as caught:
            predict("run", table, tmp_path / "out", guard=guard, allow_modules=[LIKELY], device="cpu", strict=True)
        assert caught.value.exit_code == 4
        assert [path.name for path in (tmp_path / "out").rglob("*.nii.gz")] == ["usual_ct.nii.gz"]

    def test_resuming_with_a_guard_looks_at_every_case(self, guard, table, tmp_path):
        """What an earlier run kept without a guard has no warning of it yet."""
        predict("run", table, tmp_path / "out", device="cpu")
        options = {"guard": guard, "allow_modules": [LIKELY], "device": "cpu", "resume": True}
        predict("run", table, tmp_path / "out", **options)
        assert [len(case["warnings"]) for case in report(tmp_path / "out")["cases"]] == [0, 1]
        predict("run", table, tmp_path / "out", **options)
        assert [case["status"] for case in report(tmp_path / "out")["cases"]] == ["kept", "kept"]
        assert [len(case["warnings"]) for case in report(tmp_path / "out")["cases"]] == [0, 1]

    def test_resuming_with_a_guard_that_was_fitted_again(self, guard, table, tmp_path):
        options = {"guard": guard, "allow_modules": [LIKELY], "device": "cpu", "resume": True}
        predict("run", table, tmp_path / "out", **options)
        known = tmp_path / "known" / "cases.csv"
        fit_novelty(guard, known, patches=4, seed=1, device="cpu", overwrite=True, allow_modules=[LIKELY])
        predict("run", table, tmp_path / "out", **options)
        assert [case["status"] for case in report(tmp_path / "out")["cases"]] == ["done", "done"], "other patches"

    def test_of_other_images(self, table, tmp_path):
        run = save_toy(tmp_path / "flair", LIKELY, inputs=["flair"], size=SIZE)
        with pytest.raises(UsageError, match="the guard reads flair, the model reads t1") as caught:
            predict("run", table, tmp_path / "out", guard=run, allow_modules=[LIKELY], device="cpu")
        assert caught.value.fix
        assert not (tmp_path / "out").exists()

    def test_not_fitted(self, table, tmp_path):
        run = save_toy(tmp_path / "likely", LIKELY, size=SIZE)
        with pytest.raises(UsageError, match="no novelty score"):
            predict("run", table, tmp_path / "out", guard=run, allow_modules=[LIKELY], device="cpu")


def test_a_guard_of_some_of_the_images(guard, table, tmp_path):
    """The model reads t1 and t2; the guard looks at t1, and where that is missing it says so."""
    model = make_model("t1", "t2")
    model.guard = load_guard(guard, ("t1", "t2"), device="cpu", allow_modules=[LIKELY])
    image = tmp_path / "odd.nii.gz"
    assert "unlike those" in model.predict({"t1": image, "t2": tmp_path / "usual.nii.gz"}).notes[0]
    usual = model.predict({"t1": tmp_path / "usual.nii.gz", "t2": image})
    assert not [note for note in usual.notes if "unlike those" in note]
    (note,) = model.guard.warnings({"t2": image}, ReadOptions())
    assert "no image for 't1'" in note


def test_cohort_in_python(guard, table, tmp_path):
    model = make_model()
    model.guard = load_guard(guard, model.inputs, device="cpu", allow_modules=[LIKELY])
    result = predict_cohort(model, read_cases(table).cases, tmp_path / "out")
    assert [len(case.warnings) for case in result.cases] == [0, 1]


@pytest.mark.usefixtures("loaded")
def test_from_the_command_line(guard, table, tmp_path, capsys):
    words = ["predict", "run", "-i", table, "-o", tmp_path / "out", "--guard", guard, "--device", "cpu"]
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in [*words, "--allow-module", LIKELY]])
    assert not exit_.value.code
    assert "unlike those that the generative model 'likely'" in " ".join(capsys.readouterr().err.split())
