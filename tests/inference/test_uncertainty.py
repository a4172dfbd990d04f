"""The mean and the standard deviation over flips and members, against values known by hand."""

import json
import weakref
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tiny
import torch
from known_classes import Known, KnownConfig, describe_classes, save_patient
from mean_model import head, save
from toy_methods import Doubling, Toy, make_toy

from medgen.cases import Case, write_cases
from medgen.cli import main
from medgen.config import Config
from medgen.errors import UsageError
from medgen.inference import cohort
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.ensemble import estimate_mean
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.stages import Cascade, Estimate, Request, predict_prepared
from medgen.methods.base import Predicts, Shape, Window
from medgen.recipe.prediction import InferenceConfig
from medgen.recipe.settings import load_recipe

UNCERTAIN = PredictOptions(uncertainty=True)
RISE = 0.2
HALF = 1512.0  # half the width of the CT window, HU per normalised unit


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(caught.value.code or 0)


def ramp(length: int) -> np.ndarray:
    """From 0 at the first voxel of the axis to RISE at the last."""
    return np.linspace(0, RISE, length)


def spread(length: int) -> np.ndarray:
    """Of a ramp and its mirror image, half their distance, the standard deviation of the two."""
    return np.abs(ramp(length) - ramp(length)[::-1]) / 2


class Ramp(Toy, Predicts):
    """The last channel and a ramp along the first axis, twice as steep along the second: no flip leaves it as it is."""

    dimensions = (2, 3)

    def predict(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        first = torch.linspace(0, RISE, image.shape[2]).view(-1, *[1] * (image.dim() - 3))
        second = torch.linspace(0, 2 * RISE, image.shape[3]).view(-1, *[1] * (image.dim() - 4))
        return image[:, -1:] + first + second


class Rising(Known):
    """The probability of the first class rises along x from 0 to 1."""

    window = Window()

    def predict(self, image: torch.Tensor, generator: Any = None) -> torch.Tensor:
        rising = torch.linspace(0, 1, image.shape[2]).view(-1, 1, 1).expand(len(image), *image.shape[2:])
        return torch.stack([1 - rising, rising, 0 * rising], dim=1)


def ramps(flips: list[str], size: tuple[int, ...] = (40, 40, 40), **more: Any) -> LoadedModel:
    return make_toy(Ramp, size=size, inference={"flips": flips}, **more)


def ramp_cascade(flips: tuple[str, ...], count: int = 1, rise: float = 0.0) -> Cascade:
    stages = [Ramp(Config(), Shape(1 + (index > 0), 1)).eval() for index in range(count)]
    if rise:
        stages[0].predict = lambda image, generator=None: image + rise  # type: ignore[method-assign]
    return Cascade(tuple(stages), InferenceConfig(flips=flips), (16, 16, 16), torch.device("cpu"))


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.8, -0.4, (1, 7, 6, 5)).astype(np.float32)


def mean_of(cascades: list[Cascade], image: np.ndarray, body: np.ndarray | None = None):
    body = np.ones(image.shape[1:], bool) if body is None else body
    return estimate_mean(cascades, image, body, Request(), deviation=True)


class TestMean:
    @pytest.mark.parametrize(
        ("flips", "mean", "deviation"),
        [
            ((), lambda x, y: ramp(7)[x] + 2 * ramp(6)[y], lambda x, y: 0 * x),
            (("x",), lambda x, y: RISE / 2 + 2 * ramp(6)[y], lambda x, y: spread(7)[x]),
            (("y",), lambda x, y: ramp(7)[x] + RISE, lambda x, y: 2 * spread(6)[y]),
            (("x", "y"), lambda x, y: 1.5 * RISE, lambda x, y: np.hypot(spread(7)[x], 2 * spread(6)[y])),
            (("z", "x"), lambda x, y: RISE / 2 + 2 * ramp(6)[y], lambda x, y: spread(7)[x]),
        ],
    )
    def test_over_flips(self, volume: np.ndarray, flips: tuple[str, ...], mean: Any, deviation: Any) -> None:
        x, y, _ = np.indices(volume.shape[1:])
        result = mean_of([ramp_cascade(flips)], volume)
        np.testing.assert_allclose(result.data[0], volume[0] + mean(x, y), atol=1e-6)
        np.testing.assert_allclose(result.sd[0], deviation(x, y), atol=1e-6)
        assert result.voxels == volume.size * 2 ** len(flips)

    def test_the_whole_cascade_is_flipped(self, volume: np.ndarray) -> None:
        """Both networks add their ramp on the flipped volume, so the estimates differ twice as much."""
        x = np.indices(volume.shape[1:])[0]
        result = mean_of([ramp_cascade(("x",), count=2)], volume)
        np.testing.assert_allclose(result.sd[0], 2 * spread(7)[x], atol=1e-6)

    def test_body_and_outside(self, volume: np.ndarray) -> None:
        """A body that no flip leaves as it is: the flipped body is the one that is predicted."""
        body = np.zeros(volume.shape[1:], bool)
        body[1:3, 2:4, :4] = True
        x, y, _ = np.indices(body.shape)
        result = mean_of([ramp_cascade(("x", "z"))], volume, body)
        expected = np.where(body, volume[0] + RISE / 2 + 2 * ramp(6)[y], -1)
        np.testing.assert_allclose(result.data[0], expected, atol=1e-6)
        np.testing.assert_allclose(result.sd[0], np.where(body, spread(7)[x], 0), atol=1e-6)

    def test_members_count_alike_and_keep_their_flips(self, volume: np.ndarray) -> None:
        """One member with two passes, one with one: weights 1/4, 1/4, 1/2."""
        result = mean_of([ramp_cascade(("x",)), ramp_cascade((), rise=0.5)], volume)
        flat = {"settings": InferenceConfig(), "patch": (16, 16, 16)}
        stages = ramp_cascade(()).stages
        estimates = [
            predict_prepared(stages, volume, None, **flat),
            predict_prepared(stages, volume[:, ::-1].copy(), None, **flat)[:, ::-1],
            volume + 0.5,
        ]
        weights = [0.25, 0.25, 0.5]
        mean = np.average(estimates, axis=0, weights=weights)
        np.testing.assert_allclose(result.data, mean, atol=1e-6)
        variance = np.average(np.square(np.stack(estimates) - mean), axis=0, weights=weights)
        np.testing.assert_allclose(result.sd, np.sqrt(variance), atol=1e-6)

    def test_memory_does_not_grow_with_the_estimates(self) -> None:
        """While the last estimates are made, no earlier one is alive besides the mean."""
        made: list[weakref.ref] = []
        alive: list[int] = []

        class Stub:
            settings = InferenceConfig(flips=("x", "y", "z"))

            def first_context(self, *_: Any) -> None:
                return None

            def predict(self, image: np.ndarray, *_: Any, **__: Any) -> tuple[Estimate, tuple[str, ...]]:
                alive.append(sum(each() is not None for each in made))
                data = np.full(image.shape, float(len(made)), np.float32)
                made.append(weakref.ref(data))
                return Estimate(data, 0, data.size), ()

        result = mean_of([Stub()], np.zeros((1, 4, 4, 4), np.float32))  # type: ignore[list-item]
        assert alive == [0, *[1] * 7]
        np.testing.assert_allclose(result.data, 3.5)
        np.testing.assert_allclose(result.sd, np.std(np.arange(8.0)), rtol=1e-6)

    def test_progress_names_model_and_flip(self, volume: np.ndarray) -> None:
        seen: list[str] = []
        cascades, body = [ramp_cascade(("x",)), ramp_cascade(())], np.ones(volume.shape[1:], bool)
        estimate_mean(cascades, volume, body, Request(), lambda done, total, what: seen.append(what))
        assert seen == [
            "model 1 of 2, flip 1 of 2, prediction: tiles",
            "model 1 of 2, flip 2 of 2, prediction: tiles",
            "model 2 of 2, prediction: tiles",
        ]


class TestOfAPatient:
    def test_hounsfield_units_on_the_own_grid(self, tmp_path: Path) -> None:
        given: dict[str, Any] = {}
        path, shape = save(head(value=200.0), tmp_path / "t1.nii.gz"), head().shape
        model = ramps(["x", "y"], (40, 40, 40))
        ct = model.predict(path, on_uncertainty=given.__setitem__)
        sd = given["ct"]
        np.testing.assert_array_equal(sd.affine, ct.affine)
        x, y, _ = np.indices(shape)
        expected = HALF * np.hypot(spread(shape[0])[x], 2 * spread(shape[1])[y])
        core = (slice(6, -6),) * 3
        assert sd.data.dtype == np.float32
        np.testing.assert_allclose(sd.data[0][core], expected[core], atol=0.01)
        assert sd.data[0, 0, 0, 0] == 0
        assert (sd.data[0][ct.data[0] == -1024] == 0).all()
        np.testing.assert_allclose(ct.data[0][core], head()[core] / 500 * HALF - 1024 + 1.5 * RISE * HALF, atol=0.01)

    def test_on_another_spacing_it_is_interpolated(self, tmp_path: Path) -> None:
        given: dict[str, Any] = {}
        path = save(head(value=200.0), tmp_path / "t1.nii.gz")
        ct = ramps(["x"], spacing=[3.0, 3.0, 3.0], body_margin=0).predict(path, on_uncertainty=given.__setitem__)
        sd = given["ct"].data[0]
        assert sd.shape == ct.data[0].shape == head().shape
        assert sd.min() == 0
        assert (sd[ct.data[0] == -1024] == 0).all()
        assert sd[4, 11, 8] > 50 > sd[9, 11, 8]  # far from the mirror plane, and in it
        assert sd[0].max() == sd[-1].max() == 0

    @pytest.mark.parametrize("plane", ["axial", "sagittal"])
    def test_slices(self, tmp_path: Path, plane: str) -> None:
        """The ramps lie along the two axes of a slice: x and y, or y and z."""
        given: dict[str, Any] = {}
        path, shape = save(head(value=200.0), tmp_path / "t1.nii.gz"), head().shape
        model = ramps(["y"], (40, 40), plane=plane)
        model.predict(path, on_uncertainty=given.__setitem__)
        y = np.indices(shape)[1]
        expected = HALF * spread(shape[1])[y] * (2 if plane == "axial" else 1)
        core = (slice(6, -6),) * 3
        np.testing.assert_allclose(given["ct"].data[0][core], expected[core], atol=0.01)

    def test_backward_each_image_has_its_own_unit(self, tmp_path: Path) -> None:
        """Two translators a half apart in their gain; t1 has a window, t2 is z-scored."""
        target = save(np.where(head() > 0, 244.0, -1024.0).astype(np.float32), tmp_path / "ct.nii.gz")

        class Third(Doubling):
            def predict(self, image: torch.Tensor, direction: Any, generator: Any = None) -> torch.Tensor:
                return super().predict(image, direction) + 0.3

        intensity = {"t1": {"window": [0, 1000]}, "t2": "zscore", "ct": {"window": [-1024, 2000]}}
        one, two = (
            make_toy(kind, "t1", "t2", intensity=intensity, weights=weight)
            for kind, weight in ((Doubling, "a"), (Third, "b"))
        )
        given: dict[str, Any] = {}
        one.joined([two]).predict(target, direction="backward", on_uncertainty=given.__setitem__)
        assert list(given) == ["t1", "t2"]
        assert given["t1"].data[0, 9, 11, 8] == pytest.approx(0.15 * 500, abs=1e-3)
        assert given["t2"].data[0, 9, 11, 8] == pytest.approx(0.15, abs=1e-6)

    def test_probabilities_are_averaged_over_flips(self, tmp_path: Path) -> None:
        """The probability of the first class rises along x from 0 to 1; with its mirror image it is 1/2 throughout."""

        stages = [Rising(KnownConfig(), Shape(2, 3)).eval()]
        paths = save_patient(tmp_path)
        for flips, expected in (([], 11 / 18), (["x"], 0.5)):
            maps: dict[str, Any] = {}
            description = describe_classes() | {"inference": {"flips": flips}, "patches": [40, 40, 40]}
            model = LoadedModel(stages, description, torch.device("cpu"))
            model.predict(paths, on_probability=maps.__setitem__)
            assert maps["core"].data[0, 7, 11, 8] == pytest.approx(expected, abs=1e-5)


class TestFiles:
    @pytest.fixture
    def cases(self, tmp_path: Path) -> list[Case]:
        paths = [save(head(value=200.0 + index), tmp_path / f"p{index}.nii.gz") for index in range(2)]
        return [Case(f"p{index}", "test", None, {"t1": path}) for index, path in enumerate(paths)]

    def test_beside_each_result(self, cases: list[Case], tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert not predict_cohort(ramps(["x"]), cases, out, UNCERTAIN).failed
        names = [path.name for path in sorted(out.rglob("*.nii.gz"))]
        assert names == ["p0_ct.nii.gz", "p0_ct_sd.nii.gz", "p1_ct.nii.gz", "p1_ct_sd.nii.gz"]
        sd = nibabel.load(out / "p0" / "p0_ct_sd.nii.gz")
        assert sd.get_data_dtype() == np.float32
        assert sd.get_fdata()[6, 11, 8] == pytest.approx(HALF * spread(19)[6], abs=0.01)
        assert json.loads((out / "prediction.json").read_text())["estimates"] == 2

    def test_resume_and_overwrite_know_it(self, cases: list[Case], tmp_path: Path) -> None:
        out, model = tmp_path / "out", ramps(["x"])
        predict_cohort(model, cases, out)
        result = predict_cohort(model, cases, out, UNCERTAIN, resume=True)
        assert [case.status for case in result.cases] == ["done", "done"]
        (out / "p1" / "p1_ct_sd.nii.gz").unlink()
        result = predict_cohort(model, cases, out, UNCERTAIN, resume=True)
        assert [case.status for case in result.cases] == ["kept", "done"]
        assert (out / "p1" / "p1_ct_sd.nii.gz").is_file()
        (out / "p0" / "p0_ct.nii.gz").unlink()
        with pytest.raises(UsageError, match="the output exists") as caught:
            model.predict_file(cases[0], out / "p0" / "p0_ct.nii.gz", UNCERTAIN)
        assert str(caught.value.where).endswith("p0_ct_sd.nii.gz")

    def test_none_of_an_earlier_run_stays_beside_a_new_result(self, cases: list[Case], tmp_path: Path) -> None:
        out, model = tmp_path / "out", ramps(["x"])
        predict_cohort(model, cases[:1], out, UNCERTAIN)
        (out / "p0" / "p0_ct.nii.gz").unlink()
        with pytest.raises(UsageError, match="the output exists") as caught:
            model.predict_file(cases[0], out / "p0" / "p0_ct.nii.gz")
        assert str(caught.value.where).endswith("p0_ct_sd.nii.gz")
        predict_cohort(model, cases[:1], out, overwrite=True)
        assert [path.name for path in out.rglob("*.nii.gz")] == ["p0_ct.nii.gz"]

    def test_a_role_that_is_named_like_one(self, tmp_path: Path) -> None:
        target = save(head() - 1000, tmp_path / "ct.nii.gz")
        one, two = (make_toy(Doubling, "t1", "t1_sd", weights=weight) for weight in "ab")
        backward = PredictOptions(direction="backward")
        one.predict_file(target, tmp_path / "p_t1.nii.gz", backward)
        one.predict_file(target, tmp_path / "p_t1.nii.gz", backward, overwrite=True)
        assert (tmp_path / "p_t1_sd.nii.gz").is_file()
        with pytest.raises(UsageError, match="two files would have the name p_t1_sd"):
            one.joined([two]).predict_file(
                target, tmp_path / "p_t1.nii.gz", PredictOptions(direction="backward", uncertainty=True)
            )

    def test_command(self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.setattr(cohort, "load_model", lambda *_, **__: ramps(["x"]))
        source, out = str(cases[0].images["t1"]), tmp_path / "ct.nii.gz"
        assert exit_code("predict", "run", "-i", source, "-o", str(out), "--uncertainty") == 0
        assert (tmp_path / "ct_sd.nii.gz").is_file()
        monkeypatch.setattr(cohort, "load_model", lambda *_, **__: ramps([]))
        out = tmp_path / "one.nii.gz"
        assert exit_code("predict", "run", "-i", source, "-o", str(out), "--uncertainty") == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "--ensemble RUN2" in said
        assert "inference.flips: [x]" in said
        assert not out.exists()

    def test_an_ensemble_is_enough(self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        models = {"a": ramps([]), "b": ramps(["x"], weights="b")}
        monkeypatch.setattr(cohort, "load_model", lambda run, **_: models[run])
        table = write_cases(cases, tmp_path / "cases.csv")
        predict("a", table, tmp_path / "out", ensemble=["b"], uncertainty=True)
        sd = nibabel.load(tmp_path / "out" / "p0" / "p0_ct_sd.nii.gz").get_fdata()[6, 11, 8]
        # In RAS the voxel is the 13th along x. The first model gives r, weight 1/2; the second r and its mirror image.
        first, mirrored = ramp(19)[12], ramp(19)[6]
        mean = 0.75 * first + 0.25 * mirrored
        assert sd == pytest.approx(HALF * np.sqrt(0.75 * (first - mean) ** 2 + 0.25 * (mirrored - mean) ** 2), abs=0.01)

    def test_of_a_segmentation_by_class(self, tmp_path: Path) -> None:
        description = describe_classes() | {"inference": {"flips": ["x"]}, "patches": [40, 40, 40]}
        model = LoadedModel([Rising(KnownConfig(), Shape(2, 3)).eval()], description, torch.device("cpu"))
        maps: dict[str, Any] = {}
        model.predict(save_patient(tmp_path), on_uncertainty=maps.__setitem__)
        assert maps["core"].data[0, 7, 11, 8] == pytest.approx(11 / 18 - 0.5, abs=1e-5)
        assert maps[""].data[0, 7, 11, 8] == pytest.approx(np.log(2), abs=1e-5)
        names = [path.name for path in model.files(tmp_path / "p1_label.nii.gz", UNCERTAIN).uncertainty.values()]
        assert names[0] == "p1_sd_core.nii.gz"
        assert names[-1] == "p1_entropy.nii.gz"


class TestRecipe:
    def test_flips_are_axes_named_once(self) -> None:
        assert load_recipe(tiny.RECIPE).inference.flips == ()
        assert load_recipe(tiny.RECIPE, ["inference.flips=[x, z]"]).inference.flips == ("x", "z")
        for wrong, said in (("[x, x]", "twice"), ("[w]", "'x', 'y' or 'z'")):
            with pytest.raises(UsageError, match=said):
                load_recipe(tiny.RECIPE, [f"inference.flips={wrong}"])

    def test_a_flip_across_slices_changes_nothing_and_is_refused(self) -> None:
        slices = tiny.recipe(patches={"size": [16, 16]})
        with pytest.raises(UsageError, match="flips names z"):
            load_recipe({**slices, "inference": {"flips": ["x", "z"]}})
        assert load_recipe({**slices, "inference": {"flips": ["x", "y"]}}).inference.flips == ("x", "y")

    def test_validation_is_without_flips(self, volume: np.ndarray) -> None:
        stages, settings = ramp_cascade(()).stages, InferenceConfig(flips=("x",))
        result = predict_prepared(stages, volume, None, settings=settings, patch=(16, 16, 16))
        x, y, _ = np.indices(volume.shape[1:])
        np.testing.assert_allclose(result[0], volume[0] + ramp(7)[x] + 2 * ramp(6)[y], atol=1e-6)
