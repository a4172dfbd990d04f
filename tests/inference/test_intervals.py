"""Draws at random, dropout, intervals, their calibration and the gate, against values known by hand."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from mean_model import head, make_model, save
from torch import nn
from toy_methods import Doubling, Noisy, Toy, make_toy

from medgen.cases import Case, write_cases
from medgen.cli import main
from medgen.errors import InputError, MedgenError, ModelError, PathError, UsageError
from medgen.evaluation import evaluate_synthesis
from medgen.files import image_digest
from medgen.inference import calibrating, cohort
from medgen.inference.calibrating import CalibrateOptions, calibrate, calibration_of
from medgen.inference.cohort import predict_cohort
from medgen.inference.held_out import require_held_out
from medgen.inference.intervals import (
    Calibration,
    Gate,
    Scale,
    Settings,
    gaussian,
    keep_calibration,
    matching,
    read_calibrations,
)
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.stages import Request
from medgen.methods.base import Predicts
from medgen.metrics.uncertainty import mean_sd
from medgen.networks.blocks import ChannelDropout, dropout_layers
from medgen.networks.half_resolution import HalfResolutionUNet
from medgen.volume import Volume

HALF = 1512.0
DRAWS = PredictOptions(samples=4)


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(caught.value.code or 0)


class Dropping(Toy, Predicts):
    """The image, half of the time twice as bright and else 0, less a constant."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.drop = ChannelDropout(0.5)

    def predict(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.drop(image + 0.4) - 0.4


def draws_of(options: PredictOptions) -> np.ndarray:
    """What :class:`Noisy` adds in each draw, in HU."""
    return (
        np.array([0.1 * torch.rand(1, generator=torch.Generator().manual_seed(seed)) for seed in options.seeds]) * HALF
    )


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"samples": 0}, "at least 2 samples, got 0"),
            ({"samples": 1}, "at least 2 samples, got 1"),
            ({"samples": 10**11}, "at most 10,000 samples"),
            ({"samples": 4, "interval": 0.0}, "between 0 and 1, got 0"),
            ({"samples": 4, "interval": 1.0}, "between 0 and 1, got 1"),
            ({"interval": 0.9}, "--interval is of several estimates"),
            ({"dropout": True}, "--dropout is of draws"),
            ({"keep_samples": True}, "--keep-samples is of draws"),
        ],
    )
    def test_what_makes_no_sense(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            PredictOptions(**given)
        assert caught.value.fix

    def test_a_draw_does_not_depend_on_their_number(self) -> None:
        assert PredictOptions(samples=4).seeds == PredictOptions(samples=9, seed=0).seeds[:4]
        assert len({*PredictOptions(samples=50).seeds, *PredictOptions(samples=50, seed=1).seeds}) == 100

    def test_a_model_without_chance(self, tmp_path: Path) -> None:
        model = make_model()
        for options in (PredictOptions(seed=1), DRAWS):
            with pytest.raises(UsageError, match="always makes the same result"):
                model.files(tmp_path / "p.nii.gz", options)
        with pytest.raises(UsageError, match="needs a network with dropout"):
            model.files(tmp_path / "p.nii.gz", PredictOptions(samples=4, dropout=True))
        with pytest.raises(UsageError, match="always makes the same result"):
            model.predict(save(head(), tmp_path / "t1.nii.gz"), seed=1)
        pair = make_toy(Noisy).joined([make_toy(Noisy, weights=name) for name in "ab"])
        with pytest.raises(UsageError, match="2 samples are fewer than the 3 models"):
            pair.files(tmp_path / "p.nii.gz", PredictOptions(samples=2))


class TestDraws:
    def test_mean_deviation_and_interval(self, tmp_path: Path) -> None:
        """The files of a cohort: mean and sd of the four draws, an interval of 1.64 sd, and each draw."""
        case = Case("p", "test", None, {"t1": save(head(), tmp_path / "t1.nii.gz")})
        predict_cohort(make_toy(Noisy), [case], tmp_path / "out", replace(DRAWS, keep_samples=True))
        names = sorted(path.name for path in (tmp_path / "out").rglob("*.nii.gz"))
        parts = ["", "_lower", *[f"_sample_0{number}" for number in (1, 2, 3, 4)], "_sd", "_upper"]
        assert names == [f"p_ct{part}.nii.gz" for part in parts]

        def voxel(part: str) -> float:
            return float(nibabel.load(tmp_path / "out" / "p" / f"p_ct{part}.nii.gz").get_fdata()[4, 11, 8])

        draws = draws_of(DRAWS)
        assert voxel("") == pytest.approx(488 + draws.mean(), abs=0.51)
        assert voxel("_sd") == pytest.approx(draws.std(), abs=0.01)
        half = NormalDist().inv_cdf(0.95) * draws.std()
        assert voxel("_lower") == pytest.approx(488 + draws.mean() - half, abs=0.02)
        assert voxel("_upper") == pytest.approx(488 + draws.mean() + half, abs=0.02)
        assert voxel("_sample_03") == pytest.approx(488 + draws[2], abs=0.51)
        report = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert (report["estimates"], report["samples"], report["interval"]["calibrated"]) == (4, 4, False)
        assert (score := report["cases"][0]["measured"]["mean_sd"]) == pytest.approx(draws.std(), rel=1e-3)
        written = nibabel.load(tmp_path / "out" / "p" / "p_ct_sd.nii.gz").get_fdata()
        assert mean_sd(written, written > 0) == pytest.approx(score, rel=1e-6), "of the file, as evaluate reads it"
        assert any("was not calibrated" in note for note in report["cases"][0]["notes"])

    def test_they_are_dealt_round_the_members(self, tmp_path: Path) -> None:
        """Two members a constant apart: draws 1 and 3 are of the first, 2 and 4 of the second."""
        second = make_toy(Noisy, weights="b")
        plain = second.stages[0].predict
        second.stages[0].predict = lambda image, generator=None: plain(image, generator) + 0.2
        result = make_toy(Noisy).joined([second]).predict(save(head(), tmp_path / "t1.nii.gz"), samples=4)
        expected = draws_of(DRAWS) + 0.2 * HALF * np.array([0, 1, 0, 1])
        assert result.data[0, 4, 11, 8] == pytest.approx(488 + expected.mean(), abs=0.02)

    def test_a_resumed_cohort_knows_them(self, tmp_path: Path) -> None:
        cases = [Case("p", "test", None, {"t1": save(head(), tmp_path / "t1.nii.gz")})]
        model, out = make_toy(Noisy), tmp_path / "out"

        def status(options: PredictOptions) -> str:
            return predict_cohort(model, cases, out, options, resume=True).cases[0].status

        assert status(DRAWS) == "done"
        assert status(DRAWS) == "kept"
        assert status(replace(DRAWS, interval=0.5)) == "done"
        assert status(replace(DRAWS, samples=5, interval=0.5)) == "done"
        options = replace(DRAWS, samples=5, interval=0.5)
        model.calibrations = (calibrated(model, options, coverage=0.5),)
        assert status(options) == "done"
        model.calibrations = (calibrated(model, options, coverage=0.5, gate=Gate(0.1, 2.0, 0.0)),)
        assert [status(options), status(options)] == ["done", "kept"], "another gate, so another verdict"
        assert status(replace(options, strict=True)) == "failed"
        assert status(PredictOptions()) == "done"
        assert [path.name for path in out.rglob("*.nii.gz")] == ["p_ct.nii.gz"]


class TestDropout:
    def test_it_drops_alike_in_every_tile_and_nowhere_else(self) -> None:
        stage = make_toy(Dropping).stages[0]
        call, tiles = Request(seed=3, dropout=True).function(stage), torch.rand(6, 1, 4, 4, 4)
        state = torch.get_rng_state()
        together = call(tiles)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(together, torch.cat([call(tile[None]) for tile in tiles]))
        assert not stage.drop.training
        torch.testing.assert_close(stage.predict(tiles), tiles)
        assert {
            round(float(Request(seed=seed, dropout=True).function(stage)(0 * tiles)[0, 0, 0, 0, 0]), 3)
            for seed in range(8)
        } == {-0.4, 0.4}

    def test_a_generator_for_images_has_it_where_its_recipe_says(self) -> None:
        assert not dropout_layers(HalfResolutionUNet())
        network = HalfResolutionUNet(width=0.125, dropout=0.3).train()
        assert len(dropout_layers(network)) == 5
        nn.init.ones_(network.tail[-1].weight)
        image = torch.rand(1, 1, 8, 8, 8)
        assert not torch.equal(network(image), network(image))
        assert torch.equal(network.eval()(image), network(image))

    def test_files(self, tmp_path: Path) -> None:
        path, options = save(head(), tmp_path / "t1.nii.gz"), PredictOptions(samples=6, dropout=True)
        given: dict[str, Volume] = {}
        model = make_toy(Dropping)
        model.predict(path, samples=6, dropout=True, on_uncertainty=given.__setitem__)
        stage = model.stages[0]
        draws = [
            Request(seed=seed, dropout=True).function(stage)(torch.zeros(1, 1, 1, 1, 1)).item()
            for seed in options.seeds
        ]
        assert given["ct"].data[0, 4, 11, 8] == pytest.approx(np.std(draws) * HALF, abs=0.1)


def calibrated(model: LoadedModel, options: PredictOptions, coverage: float = 0.9, **changes: Any) -> Calibration:
    """A calibration of 2 sd and a gate at 50 HU, above which the error is twice the sd."""
    scale = Scale(coverage, {"all": 2.0}, 1.5)
    return replace(Calibration(model.settings_of(options), scale, Gate(50.0, 2.0, 0.0), 4, False, ()), **changes)


class TestStored:
    def test_round_trip_and_replacement(self, tmp_path: Path) -> None:
        model = make_toy(Noisy)
        one, other = calibrated(model, DRAWS, left_out=(0.9, 0.8, 1.0)), calibrated(model, replace(DRAWS, samples=5))
        keep_calibration(tmp_path, one)
        keep_calibration(tmp_path, other)
        assert read_calibrations(tmp_path) == (one, other)
        newer = replace(one, patients=7)
        keep_calibration(tmp_path, newer)
        assert read_calibrations(tmp_path) == (other, newer)

    @pytest.mark.parametrize(
        ("part", "values"),
        [
            ("gate", [{"threshold": None}, {"threshold": "x"}, {"slope": float("nan")}, 3]),
            ("scale", [{"quantiles": {}}, {"quantiles": {"air": 1.0, "bone": 1.0}}, {"quantiles": {"all": None}}]),
            ("scale", [{"quantiles": {"all": float("nan")}}, {"quantiles": {"all": -3.0}}, {"coverage": 1.0}]),
            ("scale", [{"quantiles": [1.0]}, {"floor": -1.0}]),
            ("settings", [{"weights": "ab"}, {"samples": 1}, {"dropout": "no"}, {"inference": [3]}]),
            ("patients", [0, "3", None]),
            ("left_out", [[0.5], ["a", "b", "c"], None]),
        ],
    )
    def test_wrong_content(self, tmp_path: Path, part: str, values: list[Any]) -> None:
        path = keep_calibration(tmp_path, calibrated(make_toy(Noisy), DRAWS))
        content = json.loads(path.read_text())
        known = content["calibrations"][0][part]
        for value in values:
            content["calibrations"][0][part] = {**known, **value} if isinstance(value, dict) else value
            path.write_text(json.dumps(content))
            with pytest.raises(ModelError, match="is damaged") as caught:
                read_calibrations(tmp_path)
            assert "delete this file" in caught.value.fix, "'medgen calibrate' reads it as well"

    @pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"calibrations": [{}]}', "\x00"])
    def test_no_such_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "intervals.json").write_text(text)
        with pytest.raises(ModelError, match="is damaged"):
            read_calibrations(tmp_path)

    def test_no_orphans(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The standard deviation is written before the bounds fail."""
        source, out = save(head(), tmp_path / "t1.nii.gz"), tmp_path / "out" / "p_ct.nii.gz"

        def fail(*_: Any, **__: Any) -> None:
            raise ModelError("no bounds")

        monkeypatch.setattr(Scale, "bounds", fail)
        with pytest.raises(ModelError, match="no bounds"):
            make_toy(Noisy).predict_file(source, out, DRAWS)
        assert not list(out.parent.rglob("*.nii.gz"))
        monkeypatch.undo()
        make_toy(Noisy).predict_file(source, out, DRAWS)
        assert len(list(out.parent.iterdir())) == 4
        monkeypatch.setattr(Scale, "bounds", fail)
        with pytest.raises(ModelError, match="no bounds"):
            make_toy(Noisy).predict_file(source, out, DRAWS, overwrite=True)
        assert not list(out.parent.iterdir()), "the result of before went with the first of its files"

    def test_it_must_match(self) -> None:
        model = make_toy(Noisy)
        own = (calibrated(model, DRAWS),)
        settings = model.settings_of(DRAWS)
        assert matching(own, settings, 0.9) is own[0]
        assert matching(own, settings, None) is own[0]
        assert matching((), settings, 0.9) is None
        two = (*own, calibrated(model, DRAWS, 0.8))
        assert matching(two, settings, None) is two[0], "the gate of the interval that is made by default"
        assert matching((calibrated(model, DRAWS, 0.7), two[1]), settings, None) is two[1]
        with pytest.raises(UsageError, match=r"for --samples 4 --interval 0\.9, not for --samples 4 --interval 0\.8"):
            matching(own, settings, 0.8)
        with pytest.raises(UsageError, match="not for --samples 8"):
            matching(own, model.settings_of(replace(DRAWS, samples=8)), 0.9)
        with pytest.raises(ModelError, match="with other weights"):
            matching(own, make_toy(Noisy, weights="b").settings_of(DRAWS), 0.9)

    def test_intervals_and_gate_of_a_calibrated_model(self, tmp_path: Path) -> None:
        model, path = make_toy(Noisy), save(head(), tmp_path / "t1.nii.gz")
        model.calibrations = (calibrated(model, DRAWS),)
        ends: list[Volume] = []
        mean = model.predict(path, samples=4, on_bounds=lambda _, *both: ends.extend(both)).data[0]
        sd = draws_of(DRAWS).std()
        inside = (4, 11, 8)
        assert [end.data[0][inside] - mean[inside] for end in ends] == pytest.approx([-2 * sd, 2 * sd], abs=0.01)
        assert (ends[0].data[0, 0, 0, 0], ends[1].data[0, 0, 0, 0]) == (-1024, -1024 + 3)
        cases = [Case("p", "test", None, {"t1": path})]
        gate = Gate(sd - 1, 2.0, 0.0)
        model.calibrations = (replace(model.calibrations[0], gate=gate),)
        kept = predict_cohort(model, cases, tmp_path / "a", DRAWS).cases[0]
        assert kept.status == "done"
        assert "rejected by the gate" in kept.warnings[0]
        assert kept.measured["accepted"] is False
        assert kept.measured["predicted_mae"] == pytest.approx(2 * sd, rel=1e-3)
        refused = predict_cohort(model, cases, tmp_path / "b", replace(DRAWS, strict=True)).cases[0]
        assert refused.status == "failed"
        assert not list((tmp_path / "b").rglob("*.nii.gz"))

    def test_backward_nothing_is_calibrated(self, tmp_path: Path) -> None:
        """The calibration is of CT in HU, and backward the model makes images of another unit."""
        model = make_toy(Doubling)
        backward = PredictOptions(direction="backward", uncertainty=True, interval=0.9)
        model.calibrations = (calibrated(model, backward),)
        assert model.scale(replace(backward, direction="forward")) == model.calibrations[0].scale
        assert model.scale(backward) == gaussian(0.9)
        assert model.calibration(backward) is None
        assert model.calibration(replace(backward, direction=None)) is model.calibrations[0]

    def test_by_tissue(self) -> None:
        scale = Scale(0.9, {"air": 1.0, "soft": 2.0, "bone": 3.0}, 1.0)
        mean, sd = np.array([-900.0, 0, 900, 900]), np.array([10.0, 10, 10, 0])
        assert scale.half_width(mean, sd).tolist() == [10, 20, 30, 3]


def patients(folder: Path, count: int = 3, *, error: float = 60.0) -> list[Case]:
    """Heads whose true CT is what Noisy makes on average, plus an error that grows with the case."""
    cases, mean = [], draws_of(DRAWS).mean()
    for number in range(count):
        image = head()
        ct = np.where(image > 0, image / 500 * HALF - 1024 + mean + error * (number + 1), -1024).astype(np.float32)
        paths = {"t1": save(image, folder / f"p{number}_t1.nii.gz"), "ct": save(ct, folder / f"p{number}_ct.nii.gz")}
        paths["mask"] = save((image > 0).astype(np.float32), folder / f"p{number}_mask.nii.gz")
        cases.append(Case(f"p{number}", "val", None, paths))
    return cases


class TestCalibrate:
    def test_by_hand(self, tmp_path: Path) -> None:
        """Errors of 60, 120 and 180 HU with one sd: 0.6 of the voxels are within the second."""
        model = make_toy(Noisy)
        result = calibration_of(model, patients(tmp_path), DRAWS, CalibrateOptions(0.6))
        sd = draws_of(DRAWS).std()
        assert result.scale.quantiles["all"] == pytest.approx(120 / sd, rel=0.01)
        assert (result.patients, result.scale.coverage) == (3, 0.6)
        assert result.left_out == pytest.approx((2 / 3, 0, 1))
        assert result.gate.threshold == pytest.approx(sd, rel=1e-3)
        assert result.gate.expected == pytest.approx(120, rel=0.01)
        sure = calibration_of(model, patients(tmp_path), DRAWS, CalibrateOptions(0.6, guaranteed=True))
        assert sure.scale.quantiles["all"] == pytest.approx(180 / sd, rel=0.01)

    def test_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        """Calibrated, the interval of a new patient with the errors of the others holds them."""
        run = tmp_path / "run"
        (run / "model").mkdir(parents=True)

        def load(*_: Any, **__: Any) -> LoadedModel:
            model = make_toy(Noisy)
            model.calibrations = read_calibrations(run)
            return model

        monkeypatch.setattr(cohort, "load_model", load)
        table = str(write_cases(patients(tmp_path), tmp_path / "cases.csv"))
        assert exit_code("calibrate", str(run), "-i", table, "--samples", "4") == 0
        assert "half width of the 90% interval" in capsys.readouterr().out
        assert len(read_calibrations(run)) == 1
        again = exit_code("calibrate", str(run), "-i", table, "--samples", "4", "--by-tissue")
        assert again == 3  # no air in the mask of the prediction
        said = capsys.readouterr().err
        assert "0 validation cases have air in their prediction" in said
        assert read_calibrations(run)[0].scale.quantiles.keys() == {"all"}
        out = tmp_path / "out"
        assert exit_code("predict", str(run), "-i", table, "-o", str(out), "--samples", "4") == 0
        assert (
            exit_code("evaluate", "synthesis", str(out), table, "--split", "val", "-o", str(tmp_path / "s.json")) == 0
        )
        scores = json.loads((tmp_path / "s.json").read_text())
        note = "calibrated on cases that are scored here (split 'val' of this table)"
        assert [each for each in scores["notes"] if note in each]
        assert scores["summary"]["interval_coverage"]["mean"] == 1
        assert scores["accept_reject"]["mae"][-1] == pytest.approx(120, abs=1)
        measured = [each["measured"] for each in json.loads((out / "prediction.json").read_text())["cases"]]
        assert [row["mean_sd"] for row in scores["cases"]] == [each["mean_sd"] for each in measured]
        assert scores["gate"]["accepted"]["mae"]["n"] == sum(each["accepted"] for each in measured) == 3
        assert "the gate: 3 accepted (MAE 120.0 HU), 0 rejected" in scores["notes"]
        assert scores["sparsification"]["all"]["error"][0] == pytest.approx(1)
        others = tmp_path / "others.csv"
        others.write_text(Path(table).read_text().replace(",val,", ",test,"))
        assert not [each for each in evaluate_synthesis(out, others).notes if "calibrated on" in each]
        assert exit_code("predict", str(run), "-i", table, "-o", str(tmp_path / "o"), "--samples", "8") == 2
        assert "run 'medgen calibrate' for these" in " ".join(capsys.readouterr().err.split())

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"guaranteed": True}, "a guaranteed coverage of 0.9 needs 9 patients, and there are 3"),
            ({"max_mae": 100.0}, "the error does not rise with the standard deviation"),
            ({"by_tissue": True}, "0 validation cases have air"),
        ],
    )
    def test_what_the_cases_do_not_allow(self, tmp_path: Path, options: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said):
            calibration_of(make_toy(Noisy), patients(tmp_path), DRAWS, CalibrateOptions(**options))

    @pytest.mark.parametrize("options", [{"coverage": 0.0}, {"coverage": 1.0}, {"accept": 0.0}, {"max_mae": -1.0}])
    def test_options(self, options: dict[str, float]) -> None:
        with pytest.raises(UsageError):
            CalibrateOptions(**options)

    def test_cases(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cases = patients(tmp_path)
        lacking = replace(cases[1], images={"t1": cases[1].images["t1"]})
        with pytest.raises(InputError, match="no ct of p1 to calibrate with"):
            calibration_of(make_toy(Noisy), [cases[0], lacking], DRAWS, CalibrateOptions())
        table = write_cases(cases, tmp_path / "cases.csv")
        for split, said in (("train", "has seen the training cases"), ("test", "no case of split 'test'")):
            with pytest.raises(MedgenError, match=said):
                calibrate("run", table, split=split, samples=4)
        monkeypatch.setattr(calibrating, "load_members", lambda *_, **__: make_model())
        with pytest.raises(UsageError, match="always makes the same result"):
            calibrate("run", table, samples=4)

    def test_namesakes_of_training_cases_are_other_patients_where_their_images_differ(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cases, run = patients(tmp_path), tmp_path / "run"
        (run / "model").mkdir(parents=True)
        (run / "cases.json").write_text(json.dumps({"p1": ["train", None, "0"]}))
        (run / "run.json").write_text(json.dumps({"files": {"p1/t1": "0" * 64}}))
        require_held_out(run, cases, ["t1"], tmp_path)
        assert "training cases had the names p1, too" in caplog.text

    def test_before_the_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mistyped role, cases of the training by name and by bytes, and a file that cannot be written."""
        monkeypatch.setattr(calibrating, "load_members", lambda *_, **__: make_toy(Noisy))
        monkeypatch.setattr(calibrating, "calibration_of", lambda *_: pytest.fail("the work began"))
        cases, run = patients(tmp_path), tmp_path / "run"
        table = write_cases(cases, tmp_path / "cases.csv")
        (run / "model").mkdir(parents=True)
        with pytest.raises(UsageError, match="no case of split 'val' has an image of the role 'nope'"):
            calibrate(run, table, samples=4, options=CalibrateOptions(mask_role="nope"))
        (run / "cases.json").write_text(json.dumps({"p1": ["train", None, "0"], "p2": ["val", None, "0"]}))
        for ensemble in ((), (tmp_path / "other",)):
            with pytest.raises(InputError, match="was trained on p1, and its errors") as caught:
                calibrate(run, table, samples=4, ensemble=ensemble)
            assert caught.value.where == table
        (run / "cases.json").write_text(json.dumps({"x": ["train", None, "0"]}))
        save(head(value=700.0), Path(cases[2].images["t1"]))
        (run / "run.json").write_text(json.dumps({"files": {"x/t1": image_digest(cases[2].images["t1"])}}))
        with pytest.raises(InputError, match="was trained on p2, and its errors"):
            calibrate(run, table, samples=4)
        (run / "cases.json").write_text("[]")
        with pytest.raises(ModelError, match="is damaged"):
            calibrate(run, table, samples=4)
        (run / "model" / "intervals.json").mkdir()
        with pytest.raises(PathError, match="this is a folder"):
            calibrate(run, table, samples=4)

    def test_the_table_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calibrating, "load_members", lambda *_, **__: make_toy(Noisy))
        table = write_cases(patients(tmp_path), tmp_path / "cases.csv")
        for options in (CalibrateOptions(guaranteed=True), CalibrateOptions(by_tissue=True)):
            with pytest.raises(InputError) as caught:
                calibrate(tmp_path, table, samples=4, options=options)
            assert caught.value.where == table

    def test_a_mask_elsewhere(self, tmp_path: Path) -> None:
        """As many voxels, 30 mm away."""
        case = patients(tmp_path, 1)[0]
        mask = nibabel.load(case.images["mask"])
        moved = mask.affine.copy()
        moved[:3, 3] += 30
        nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), moved), case.images["mask"])
        with pytest.raises(InputError, match="mm apart"):
            calibration_of(make_toy(Noisy), [case], DRAWS, CalibrateOptions())

    def test_the_gate_by_an_expected_error(self) -> None:
        gate = calibrating._gate([1.0, 2, 3, 4], [12.0, 22, 32, 42], CalibrateOptions(max_mae=27.0))
        assert (gate.threshold, gate.expected) == pytest.approx((2.5, 27))
        share = calibrating._gate([4.0, 3, 2, 1], [1.0] * 4, CalibrateOptions(accept=0.6))
        assert (share.threshold, share.expected) == pytest.approx((3, 1))
        assert Settings(("a", "b"), None, False, ()).text == "--uncertainty --ensemble of 2 runs"
