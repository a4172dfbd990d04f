"""A cohort goes on when a case fails, resumes, locks its folder and leaves a report without patient data."""

import csv
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mean_model import Mean, describe, head, make_model, save

from medgen.cases import Case, write_cases
from medgen.errors import CasesFailed, InputError, StorageError, UsageError
from medgen.files import folder_lock
from medgen.inference import cohort
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.limits import Limits
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions, ReadOptions
from medgen.inference.reading import prepare_patient
from medgen.inference.writing import output_name
from medgen.methods.base import Shape
from medgen.training.model_folder import save_model


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    folder = tmp_path / "Ada Lovelace"
    values = (500.0, 520.0, 540.0, 560.0)
    return [
        Case(f"head_{i}", "test", None, {"t1": save(head(value=value), folder / f"head_{i}.nii.gz")})
        for i, value in enumerate(values)
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model whose method is the hand-checked mean of channels."""
    monkeypatch.setattr("medgen.methods.catalogue.resolve", lambda name, **_: Mean)
    method = Mean(Mean.config_class(), Shape(1, 1))
    save_model(tmp_path / "run" / "model", [method], describe(["t1"]))
    return tmp_path / "run"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spy(calls: list[object]) -> Callable[..., object]:
    def prepare(*inputs: object, **how: Any) -> object:
        calls.append(inputs)
        return prepare_patient(*inputs, **how)

    return prepare


def outputs(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.nii.gz"))}


class TestCohort:
    def test_names_and_report(self, cases: list[Case], tmp_path: Path) -> None:
        seen: list[tuple[int, int, str]] = []
        result = predict_cohort(make_model(), cases, tmp_path / "out", progress=lambda *step: seen.append(step))
        assert [case.status for case in result.cases] == ["done"] * 4
        assert set(outputs(tmp_path / "out")) == {f"head_{i}/head_{i}_ct.nii.gz" for i in range(4)}
        report = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert report["research_use_only"] is True
        assert report["model"]["target"] == "ct"
        assert report["versions"].keys() >= {"torch", "numpy"}
        assert report["cases"][2]["output"] == "head_2/head_2_ct.nii.gz"
        assert not (tmp_path / "out" / "failed.csv").exists()
        assert seen[0] == (0, 4, "head_0")
        assert seen[-1] == (4, 4, "cases")

    def test_broken_cases_do_not_stop_the_others(
        self, cases: list[Case], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cut(cases[1].images["t1"])
        broken = [*cases[:3], Case("head_3", "test", None, {"flair": cases[3].images["t1"]})]
        result = predict_cohort(make_model(), broken, tmp_path / "out")
        assert [case.status for case in result.cases] == ["done", "failed", "done", "failed"]
        rows = list(csv.DictReader((tmp_path / "out" / "failed.csv").open()))
        assert [row["case"] for row in rows] == ["head_1", "head_3"]
        assert "head_1.nii.gz" in rows[0]["reason"]
        assert "no image for t1" in rows[1]["reason"]
        assert sum("failed: " in message for message in caplog.messages) == 2
        with pytest.raises(CasesFailed, match="2 of 4 cases failed: head_1, head_3") as caught:
            result.require_complete()
        assert caught.value.exit_code == 4
        assert caught.value.where == tmp_path / "out" / "failed.csv"

    def test_bug_in_one_case_is_reported_as_such(
        self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = make_model()
        real = model.predict_file

        def flaky(source: Case, *arguments: object, **options: object) -> object:
            if source.name == "head_1":
                raise ZeroDivisionError(f"in {source.images['t1']}")
            return real(source, *arguments, **options)

        monkeypatch.setattr(model, "predict_file", flaky)
        result = predict_cohort(model, cases, tmp_path / "out")
        assert result.cases[1].reason == "a bug in medgen: ZeroDivisionError: in head_1.nii.gz"
        assert len(result.failed) == 1

    def test_a_case_that_asks_for_too_much_fails_alone_and_at_once(
        self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second has 100 x 100 x 100 voxels: 0.1 GB and 22 bytes a voxel by its header, 0.122 GB."""
        save(np.ones((100, 100, 100), np.float32), cases[1].images["t1"])
        options = PredictOptions(limits=Limits(memory=0.12))
        read: list[object] = []
        monkeypatch.setattr("medgen.inference.model.prepare_patient", spy(read))
        result = predict_cohort(make_model(), cases, tmp_path / "out", options)
        assert [case.status for case in result.cases] == ["done", "failed", "done", "done"]
        assert len(read) == 3
        reason = result.failed[0].reason
        assert "100 x 100 x 100 voxels needs about 0.1 GB" in reason
        assert "the limit (--max-memory) is 0.12 GB (head_1.nii.gz)" in reason
        monkeypatch.setattr("medgen.inference.limits.total_bytes", lambda: 1.2e8)
        result = predict_cohort(make_model(), cases, tmp_path / "other")
        assert "; the machine has 0.12 GB" in result.failed[0].reason

    def test_a_case_that_takes_too_long_fails_alone(
        self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Clock:
            seconds = 0.0

        def slow(*inputs: object, **how: Any) -> object:
            Clock.seconds += 90.0 if "head_2" in str(inputs[0]) else 1.0
            return prepare_patient(*inputs, **how)

        monkeypatch.setattr("medgen.inference.limits.time.monotonic", lambda: Clock.seconds)
        monkeypatch.setattr("medgen.inference.model.prepare_patient", slow)
        result = predict_cohort(make_model(), cases, tmp_path / "out", PredictOptions(limits=Limits(minutes=1)))
        assert [case.status for case in result.cases] == ["done", "done", "failed", "done"]
        assert "longer than the limit of 1 minutes" in result.failed[0].reason
        for wrong in (0, -1, float("nan")):
            with pytest.raises(UsageError, match="limit of minutes"):
                Limits(minutes=wrong)

    def test_full_disk_ends_the_run(self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = make_model()

        def full(*_: object, **__: object) -> None:
            raise StorageError("no space left on the disk")

        monkeypatch.setattr(model, "predict_file", full)
        with pytest.raises(StorageError):
            predict_cohort(model, cases, tmp_path / "out")

    def test_nothing_tells_where_the_patient_was(self, cases: list[Case], tmp_path: Path) -> None:
        cut(cases[1].images["t1"])
        predict_cohort(make_model(), cases, tmp_path / "out")
        for path in (tmp_path / "out").rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"Ada" not in content, path
                assert str(tmp_path).encode() not in content, path

    def test_existing_outputs(self, cases: list[Case], tmp_path: Path) -> None:
        model, out = make_model(), tmp_path / "out"
        predict_cohort(model, cases[:2], out)
        before = outputs(out)
        with pytest.raises(UsageError, match=r"2 outputs exist.*head_0/head_0_ct") as caught:
            predict_cohort(model, cases, out)
        assert "--resume" in caught.value.fix
        assert outputs(out) == before
        image = head(value=700.0)
        save(image, cases[0].images["t1"])
        predict_cohort(model, cases, out, overwrite=True)
        assert outputs(out)["head_0/head_0_ct.nii.gz"] != before["head_0/head_0_ct.nii.gz"]

    def test_case_names_stay_inside_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot name"):
            output_name(Case("../up", "test", None, {}), "ct")


class TestOddRows:
    """One row that is wrong in whatever way fails alone, and failed.csv says why."""

    def test_every_row_ends_in_a_result_or_in_failed_csv(
        self, run: Path, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = tmp_path / "Ada Lovelace"
        (data / "nowhere.nii.gz").symlink_to(data / "gone.nii.gz")
        (data / "circle.nii.gz").symlink_to(data / "circle.nii.gz")
        os.mkfifo(data / "pipe.nii.gz")
        (data / "empty.nii.gz").mkdir()
        closed = data / "closed.nii.gz"
        save(head(), closed)
        real = Path.open

        def guarded(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == closed.name:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", guarded)
        odd = {
            "nowhere": "nowhere.nii.gz",
            "circle": "circle.nii.gz",
            "pipe": "pipe.nii.gz",
            "empty": "empty.nii.gz",
            "closed": closed.name,
            "absent": "absent.nii.gz",
            "long": f"{'x' * 300}.nii.gz",
            "nul": "a\0b.nii.gz",
            "foreign": "C:\\data\\t1.nii.gz",
            "none": "",
            "../up": "head_1.nii.gz",
            "x" * 300: "head_1.nii.gz",
            "twice": "head_1.nii.gz",
        }
        rows = [["first", "test", "head_0.nii.gz"], *([name, "test", file] for name, file in odd.items())]
        rows += [["twice", "test", "head_2.nii.gz"], ["of_tomorrow", "later", "head_2.nii.gz"], ["short", "test"]]
        rows += [["in_training", "train", "absent.nii.gz"], ["last", "test", "head_3.nii.gz"]]
        table = data / "cases.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["case", "split", "t1"], *rows])
        out = tmp_path / "out"
        (out / "blocked").parent.mkdir()
        with pytest.raises(CasesFailed) as caught:
            predict(run, table, out, split="test", device="cpu")
        assert caught.value.exit_code == 4
        assert set(outputs(out)) == {"first/first_ct.nii.gz", "last/last_ct.nii.gz"}
        failed = {row["case"]: row["reason"] for row in csv.DictReader((out / "failed.csv").open())}
        expected = {name[:128] for name in odd} | {"of_tomorrow", "short"}
        assert set(failed) == expected
        assert "link to a missing file" in failed["nowhere"]
        assert "pipe" in failed["pipe"]
        assert "may not be read" in failed["closed"]
        assert "2 times" in failed["twice"]
        assert "2 cells" in failed["short"]
        assert not any("bug" in reason for reason in failed.values()), failed
        assert "Ada" not in (out / "failed.csv").read_text() + (out / "prediction.json").read_text()

    def test_a_case_whose_place_is_taken_fails_alone(self, cases: list[Case], tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "head_0").write_text("a file")
        (out / "head_1").symlink_to(tmp_path / "gone")
        (out / "head_2" / "head_2_ct.nii.gz").mkdir(parents=True)
        result = predict_cohort(make_model(), cases, out, overwrite=True)
        assert [case.status for case in result.cases] == ["failed"] * 3 + ["done"]
        assert not any("bug" in case.reason for case in result.failed), result.failed
        assert (out / "head_0").read_text() == "a file"

    def test_a_table_without_any_row_that_can_be_used_is_an_error_itself(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "cases.csv").write_text("case,split,t1\n../up,test,t1.nii.gz\n")
        with pytest.raises(InputError, match="cannot name a file"):
            predict(run, tmp_path / "cases.csv", tmp_path / "out", device="cpu")


class TestResume:
    def test_after_a_failure(self, cases: list[Case], tmp_path: Path) -> None:
        model, out = make_model(nan="zero"), tmp_path / "out"
        whole = cases[2].images["t1"].read_bytes()
        cut(cases[2].images["t1"])
        image = head()
        image[9, 11, 8] = np.nan
        save(image, cases[0].images["t1"])
        predict_cohort(model, cases, out)
        times = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
        (out / "head_1" / ".partial-left.nii.gz").write_bytes(b"half")
        cases[2].images["t1"].write_bytes(whole)
        result = predict_cohort(model, cases, out, resume=True)
        assert [case.status for case in result.cases] == ["kept", "kept", "done", "kept"]
        assert any("NaN" in note for note in result.cases[0].notes)
        assert {path: path.stat().st_mtime_ns for path in times} == times
        assert not list(out.rglob(".partial-*"))
        assert not (out / "failed.csv").exists()
        predict_cohort(model, cases, tmp_path / "again")
        assert outputs(out) == outputs(tmp_path / "again")

    def test_another_model_is_refused(self, cases: list[Case], tmp_path: Path) -> None:
        predict_cohort(make_model(), cases[:1], tmp_path / "out")
        model = make_model()
        other = LoadedModel(model.stages, {**model.description, "weights_sha256": "1" * 64}, model.device)
        with pytest.raises(UsageError, match="another model"):
            predict_cohort(other, cases, tmp_path / "out", resume=True)

    def test_another_image_or_another_setting_is_predicted_again(
        self, cases: list[Case], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Times prove nothing: a copy has new ones, and an edit can keep the old ones."""
        out = tmp_path / "out"
        predict_cohort(make_model(), cases, out)
        image = cases[1].images["t1"]
        before = image.stat()
        save(head(value=700.0), image)
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.utime(cases[2].images["t1"])
        with caplog.at_level(logging.INFO):
            result = predict_cohort(make_model(), cases, out, resume=True)
        assert [case.status for case in result.cases] == ["kept", "done", "kept", "kept"]
        assert "case head_1 is predicted again: another image of t1" in caplog.messages
        result = predict_cohort(make_model(), cases, out, PredictOptions(ReadOptions(nan="zero")), resume=True)
        assert [case.status for case in result.cases] == ["done"] * 4
        flipped = make_model()
        flipped = LoadedModel(
            flipped.stages, {**flipped.description, "inference": {"overlap": 0.0, "flips": ["x"]}}, flipped.device
        )
        with caplog.at_level(logging.INFO):
            result = predict_cohort(flipped, cases, out, PredictOptions(ReadOptions(nan="zero")), resume=True)
        assert [case.status for case in result.cases] == ["done"] * 4
        assert "case head_0 is predicted again: other settings" in caplog.messages
        result = predict_cohort(
            flipped, cases, out, PredictOptions(ReadOptions(nan="zero"), uncertainty=True), resume=True
        )
        assert [case.status for case in result.cases] == ["done"] * 4  # another file is wanted
        result = predict_cohort(flipped, cases, out, PredictOptions(ReadOptions(nan="zero")), resume=True)
        assert [case.status for case in result.cases] == ["kept"] * 4  # and one file less is not

    def test_a_result_of_an_earlier_version_is_predicted_again(self, cases: list[Case], tmp_path: Path) -> None:
        """Its record does not say what it was made from."""
        out = tmp_path / "out"
        predict_cohort(make_model(), cases[:2], out)
        report = json.loads((out / "prediction.json").read_text())
        del report["cases"][0]["made_from"]
        (out / "prediction.json").write_text(json.dumps(report))
        result = predict_cohort(make_model(), cases[:2], out, resume=True)
        assert [case.status for case in result.cases] == ["done", "kept"]


class TestPublicFunction:
    def test_one_volume(self, run: Path, cases: list[Case], tmp_path: Path) -> None:
        output = tmp_path / "out" / "ct.nii.gz"
        assert predict(run, str(cases[0].images["t1"]), output, device="cpu") == output
        assert output.is_file()
        report = json.loads((tmp_path / "out" / "ct.prediction.json").read_text())
        assert report["cases"][0]["output"] == "ct.nii.gz"
        predict(run, [f"t1={cases[0].images['t1']}"], tmp_path / "named.nii.gz")
        assert (tmp_path / "named.nii.gz").read_bytes() == output.read_bytes()
        with pytest.raises(UsageError, match="exists"):
            predict(run, cases[0].images["t1"], output)
        predict(run, cases[0].images["t1"], output, overwrite=True)

    def test_table(self, run: Path, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loads = []
        real = cohort.load_model

        def counting(*arguments: object, **options: object) -> LoadedModel:
            loads.append(arguments)
            return real(*arguments, **options)

        monkeypatch.setattr(cohort, "load_model", counting)
        table = write_cases(cases, tmp_path / "cases.csv")
        assert predict(run, (str(table),), tmp_path / "out") == tmp_path / "out"
        assert len(outputs(tmp_path / "out")) == 4
        assert len(loads) == 1
        cut(cases[1].images["t1"])
        with pytest.raises(CasesFailed):
            predict(run, table, tmp_path / "out", overwrite=True)

    def test_locked_folder(self, run: Path, cases: list[Case], tmp_path: Path) -> None:
        table = write_cases(cases, tmp_path / "cases.csv")
        with folder_lock(tmp_path / "out"), pytest.raises(UsageError, match="another run"):
            predict(run, table, tmp_path / "out")

    def test_inputs_that_make_no_sense(self, run: Path, cases: list[Case], tmp_path: Path) -> None:
        image, out = cases[0].images["t1"], tmp_path / "ct.nii.gz"
        table = write_cases(cases, tmp_path / "cases.csv")
        with pytest.raises(InputError, match="no DICOM file"):
            predict(run, tmp_path, out)
        with pytest.raises(UsageError, match="not all with a role"):
            predict(run, [str(image), f"t2={image}"], out)
        with pytest.raises(UsageError, match="twice"):
            predict(run, [f"t1={image}", f"t1={image}"], out)
        with pytest.raises(UsageError, match="images were given for: t2"):
            predict(run, [f"t2={image}"], out)
        with pytest.raises(UsageError, match="into a folder"):
            predict(run, table, out)
        with pytest.raises(UsageError, match="--resume"):
            predict(run, image, out, resume=True)
        with pytest.raises(UsageError, match="--split"):
            predict(run, image, out, split="test")
        with pytest.raises(UsageError, match="split 'val'"):
            predict(run, table, tmp_path / "out", split="val")
        with pytest.raises(InputError):
            predict(run, tmp_path / "absent.nii.gz", out)
        assert not out.exists()

    def test_stale_temporary_file_is_removed_a_fresh_one_stays(
        self, run: Path, cases: list[Case], tmp_path: Path
    ) -> None:
        stale, fresh = tmp_path / ".partial-old.nii.gz", tmp_path / ".partial-new.nii.gz"
        stale.touch()
        fresh.touch()
        os.utime(stale, (0, 0))
        folder = tmp_path / ".partial-samples"  # of another command, which may be at work: its time is no sign
        (folder / "half").mkdir(parents=True)
        os.utime(folder, (0, 0))
        predict(run, cases[0].images["t1"], tmp_path / "ct.nii.gz")
        assert not stale.exists()
        assert (folder / "half").exists()
        assert fresh.exists()


def test_read_options_are_reported(cases: list[Case], tmp_path: Path) -> None:
    predict_cohort(make_model(), cases[:1], tmp_path, PredictOptions(ReadOptions(nan="zero", geometry="sform")))
    report = json.loads((tmp_path / "prediction.json").read_text())
    assert report["read_options"] == {"nan": "zero", "geometry": "sform", "frame": None, "allow_missing_channel": False}
