"""Segmentation models: probabilities become a label map on the patient's own grid, and what is said about it."""

import json
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from known_classes import Known, KnownConfig, describe_classes, make_segmenter, patient, save_patient
from mean_model import AFFINE, describe, make_model, save

from medgen.cases import Case, write_cases
from medgen.cli import main
from medgen.errors import ModelError, UsageError
from medgen.evaluation.provenance import provenance
from medgen.inference.besides import Besides
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.labels import Found, found_in, label_map, restore_label, without_small
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.stages import predict_prepared
from medgen.methods.base import Shape
from medgen.preparation import Preparation, Prepared
from medgen.preparation.task import PROBABILITIES, SEGMENTATION
from medgen.recipe.prediction import InferenceConfig
from medgen.recipe.settings import load_recipe
from medgen.training.model_folder import save_model
from medgen.volume import Grid, Volume

TRUTH = np.zeros((19, 23, 17), np.uint8)
TRUTH[8:10, 10:14, 7:10] = 1  # 0.8 core against 0.2 background
TRUTH[10:12, 10:14, 7:10] = 2  # 0.64 rim, 0.16 core, 0.2 background
MAPS = PredictOptions(probabilities=True)
BRAIN = np.zeros(TRUTH.shape, bool)
BRAIN[3:-3, 3:-3, 3:-3] = True


def turned(degrees: float = 20.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.5, -2.0, 2.5])[:, [2, 0, 1]]
    affine[:3, 3] = [11.0, -7.0, 3.0]
    return affine.astype(np.float32).astype(float)


class TestLabelMap:
    def test_hand_computed_classes(self, tmp_path: Path) -> None:
        model = make_segmenter()
        label = model.predict(save_patient(tmp_path))
        assert (model.task.name, model.classes, model.target, model.kind_of("ct")) == (
            "segmentation", ("core", "swollen rim"), "label", "label",
        )  # fmt: skip
        assert label.data.dtype == np.uint8
        np.testing.assert_array_equal(label.data[0], TRUTH)
        np.testing.assert_array_equal(label.affine, AFFINE)
        assert not any("clipped" in note for note in label.notes)

    def test_file_holds_integers_exactly(self, tmp_path: Path) -> None:
        make_segmenter().predict_file(save_patient(tmp_path), tmp_path / "label.nii.gz")
        written = nibabel.load(tmp_path / "label.nii.gz")
        assert written.get_data_dtype() == np.uint8
        assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
        assert np.unique(written.get_fdata()).tolist() == [0.0, 1.0, 2.0]
        np.testing.assert_array_equal(np.asarray(written.dataobj), TRUTH)

    def test_probabilities_are_given_for_each_class(self, tmp_path: Path) -> None:
        maps: dict[str, Volume] = {}
        make_segmenter().predict(save_patient(tmp_path), on_probability=maps.__setitem__)
        assert list(maps) == ["core", "swollen rim"]
        core, rim = maps["core"].data, maps["swollen rim"].data
        assert core.dtype == np.float32
        assert core[0, 8, 11, 8] == pytest.approx(0.8, abs=1e-5)
        assert core[0, 10, 11, 8] == pytest.approx(0.16, abs=1e-5)
        assert rim[0, 10, 11, 8] == pytest.approx(0.64, abs=1e-5)
        assert core[0, 0].max() == 0

    @pytest.mark.parametrize("affine", [turned(), np.diag([2.0, 1.5, -3.0, 1.0]), turned(-70)])
    @pytest.mark.parametrize("spacing", [None, [1.7, 1.7, 1.7]])
    def test_grid_of_the_patient_bit_for_bit(
        self, tmp_path: Path, affine: np.ndarray, spacing: list[float] | None
    ) -> None:
        sources = save_patient(tmp_path, affine=affine)
        make_segmenter(spacing=spacing).predict_file(sources, tmp_path / "label.nii.gz", MAPS)
        source = nibabel.load(sources["flair"])
        for name in ("label", "label_probability_core", "label_probability_swollen-rim"):
            written = nibabel.load(tmp_path / f"{name}.nii.gz")
            assert written.shape == source.shape
            np.testing.assert_array_equal(written.affine, source.affine)
        data = np.asarray(nibabel.load(tmp_path / "label.nii.gz").dataobj)
        for index in (1, 2):
            place, truth = (np.argwhere(each == index).mean(axis=0) for each in (data, TRUTH))
            assert np.linalg.norm(place - truth) < 0.5

    def test_all_background_is_written_and_noted(self, tmp_path: Path) -> None:
        images = patient()
        images["flair"] = images["t2"] = np.where(BRAIN, 400, 0).astype(np.float32)
        written = make_segmenter().predict_file(save_patient(tmp_path, images), tmp_path / "label.nii.gz")
        assert written.notes[-1] == "nothing found: no voxel of core, swollen rim"
        assert written.found == {"core": Found(0, 0.0, 0), "swollen rim": Found(0, 0.0, 0)}
        data = nibabel.load(tmp_path / "label.nii.gz")
        assert data.get_data_dtype() == np.uint8
        assert not np.asarray(data.dataobj).any()

    def test_the_mask_is_neither_needed_nor_used(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path)
        broken = tmp_path / "mask.nii.gz"
        broken.write_bytes(b"no image")
        model = make_segmenter(mask="brain")
        for each in (images, images | {"brain": broken}, images | {"brain": broken, "label": broken}):
            np.testing.assert_array_equal(model.predict(Case("a", "test", None, each)).data[0], TRUTH)

    def test_nothing_outside_the_body(self, tmp_path: Path) -> None:
        """Only t2 is bright beyond the brain that the first input shows."""
        images = patient()
        images["t2"][:-1] = 900.0
        label = make_segmenter().predict(save_patient(tmp_path, images))
        np.testing.assert_array_equal(label.data[0] == 2, TRUTH > 0)


class TestPreparedVolume:
    def test_probabilities_sum_to_one_and_outside_is_background(self) -> None:
        rng = np.random.default_rng(0)
        image = rng.uniform(0, 1, (2, 11, 12, 9)).astype(np.float32)
        body = np.zeros(image.shape[1:], np.uint8)
        body[2:9, 3:11] = 1
        stages = make_segmenter().stages
        for settings in (InferenceConfig(), InferenceConfig(size=(8, 8, 8), overlap=0.6)):
            result = predict_prepared(stages, image, body, settings=settings, patch=(12, 12, 12), values=PROBABILITIES)
            np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)
            np.testing.assert_allclose(result[0], np.where(body, 1 - image[0], 1), atol=1e-5)
            np.testing.assert_allclose(result[2], np.where(body, image[0] * image[1], 0), atol=1e-5)

    def test_everywhere_without_a_body(self) -> None:
        image = np.full((2, 6, 6, 6), 0.5, np.float32)
        result = predict_prepared(
            make_segmenter().stages, image, None, settings=InferenceConfig(), patch=(12, 12, 12), values=PROBABILITIES
        )
        np.testing.assert_allclose(result[:, 0, 0, 0], [0.5, 0.25, 0.25], atol=1e-6)

    @pytest.mark.parametrize(("factor", "said"), [(3.0, "was the softmax forgotten"), (1e39, "not finite")])
    def test_what_is_no_probability_is_refused(self, tmp_path: Path, factor: float, said: str) -> None:
        with pytest.raises(ModelError, match=said):
            make_segmenter(factor=factor).predict(save_patient(tmp_path))

    def test_rounding_is_forgiven(self, tmp_path: Path) -> None:
        label = make_segmenter(factor=1.0001).predict(save_patient(tmp_path))
        np.testing.assert_array_equal(label.data[0], TRUTH)


class TestRestoring:
    """Prepared voxel j lies at 2 j + 0.5 mm along x, voxel i of the patient at i mm."""

    PREPARATION = Preparation.from_dict(describe_classes()["preparation"])

    def restored(self, line: list[float], length: int = 8, *, start: float = 0.5) -> tuple[list[int], list[float]]:
        """Labels and probabilities along x for one class."""
        one = np.broadcast_to(np.array(line, np.float32)[:, None, None], (len(line), 4, 4))
        affine = np.diag([2.0, 1.0, 1.0, 1.0])
        affine[0, 3] = start
        grid = Grid((length, 4, 4), np.eye(4), 1, 1)
        body = np.ones(one.shape, bool)
        maps: dict[str, Volume] = {}
        label = restore_label(
            np.stack([1 - one, one]), Prepared(np.empty(0), body, affine, grid), self.PREPARATION, ["lesion"],
            maps.__setitem__,
        )  # fmt: skip
        return label.data[0, :, 2, 2].tolist(), maps["lesion"].data[0, :, 2, 2].tolist()

    def test_probabilities_are_interpolated_before_the_decision(self) -> None:
        """Voxel 4 lies at 1.75, where 0.25 x 1 + 0.75 x 0.4 = 0.55; its nearest neighbour, 0.4, would say background.

        Voxel 1 lies at 0.25 (0.25), 2 at 0.75 (0.75), 3 at 1.25 (0.85), 5 at 2.25 (0.3).
        """
        labels, probabilities = self.restored([0.0, 1.0, 0.4, 0.0])
        np.testing.assert_allclose(probabilities[1:6], [0.25, 0.75, 0.85, 0.55, 0.3], atol=1e-6)
        assert labels == [0, 0, 1, 1, 1, 0, 0, 0]

    def test_beyond_the_prepared_grid_is_background(self) -> None:
        """Prepared voxels from 1.5 to 5.5 mm: outside stands neither the lesion that fills them nor an undefined 0."""
        labels, probabilities = self.restored([1.0, 1.0], start=2.5)
        assert labels == [0, 0, 1, 1, 1, 1, 0, 0]
        assert probabilities == [0, 0, 1, 1, 1, 1, 0, 0]

    def test_equal_probabilities_leave_the_background(self) -> None:
        assert self.restored([0.5, 0.5, 0.5, 0.5])[0] == [0] * 8

    @pytest.mark.parametrize("spacing", [1.0, 2.0])
    @pytest.mark.parametrize(("share", "label"), [((0.1, 0.6, 0.3), 1), ((0.3, 0.1, 0.6), 2), ((0.4, 0.3, 0.3), 0)])
    def test_the_largest_of_several(self, share: tuple[float, ...], label: int, spacing: float) -> None:
        probabilities = np.empty((3, 4, 4, 4), np.float32)
        probabilities[:] = np.array(share)[:, None, None, None]
        grid = Grid((3, 3, 3), np.eye(4), 1, 1) if spacing > 1 else Grid((4, 4, 4), np.eye(4), 1, 1)
        affine = np.diag([spacing] * 3 + [1.0])
        prepared = Prepared(np.empty(0), np.ones((4, 4, 4), bool), affine, grid)
        assert np.unique(restore_label(probabilities, prepared, self.PREPARATION, ["a", "b"]).data).tolist() == [label]

    @pytest.mark.parametrize(
        ("share", "threshold", "label"),
        [
            ((0.6, 0.4), 0.35, 1),
            ((0.6, 0.4), 0.45, 0),
            ((0.4, 0.6), 0.65, 0),
            ((0.6, 0.1, 0.3), 0.3, 2),  # 0.6 x 3 / 7 = 0.26
            ((0.6, 0.1, 0.3), 0.4, 0),
        ],
    )
    def test_a_threshold_weighs_the_background(self, share: tuple[float, ...], threshold: float, label: int) -> None:
        probabilities = np.empty((len(share), 2, 2, 2), np.float32)
        probabilities[:] = np.array(share)[:, None, None, None]
        prepared = Prepared(np.empty(0), np.ones((2, 2, 2), bool), np.eye(4), Grid((3, 2, 2), np.eye(4), 1, 1))
        maps: dict[str, Volume] = {}
        names, config = ["a", "b"][: len(share) - 1], InferenceConfig(threshold=threshold)
        found, _ = label_map(probabilities, prepared, self.PREPARATION, names, config, maps.__setitem__)
        assert np.unique(found.data[0, :2]).tolist() == [label]
        assert not found.data[0, 2].any(), "beyond the prepared grid"
        np.testing.assert_allclose(maps["a"].data[0, 0], share[1], rtol=1e-6)

    @pytest.mark.parametrize("more", [{}, {"labels": "label", "classes": {"a": [1]}}])
    def test_an_image_has_no_threshold(self, more: dict[str, object]) -> None:
        recipe = {"method": "context_aware_gan", "data": {"inputs": ["t1"], "target": "ct", **more}}
        with pytest.raises(UsageError, match=r"inference\.threshold decides what is a class"):
            load_recipe(recipe, ["inference.threshold=0.4"])

    def test_labels_whose_values_are_the_classes_have_one(self) -> None:
        recipe = {"method": "segmentation", "data": {"inputs": ["t1"], "labels": "label"}}
        assert load_recipe(recipe, ["inference.threshold=0.4"]).inference.threshold == 0.4

    def test_draws_are_decided_as_their_mean(self) -> None:
        probabilities = np.full((2, 2, 2, 2), 0.4, np.float32)
        probabilities[0] = 0.6
        prepared = Prepared(np.empty(0), np.ones((2, 2, 2), bool), np.eye(4), Grid((2, 2, 2), np.eye(4), 1, 1))
        drawn: dict[int, Volume] = {}
        config = InferenceConfig(threshold=0.3)
        give = Besides(on_sample=drawn.__setitem__).samples(SEGMENTATION, prepared, self.PREPARATION, (), ["a"], config)
        assert give is not None
        give(3, probabilities)
        assert drawn[3].data.all()

    def test_many_classes_take_a_wider_type(self) -> None:
        probabilities = np.zeros((301, 2, 2, 2), np.float32)
        probabilities[300, 1] = 1
        prepared = Prepared(np.empty(0), np.ones((2, 2, 2), bool), np.eye(4), Grid((2, 2, 2), np.eye(4), 1, 1))
        label = restore_label(probabilities, prepared, self.PREPARATION, [str(n) for n in range(300)])
        assert label.data.dtype == np.uint16
        assert (label.data[0, 0] == 0).all()
        assert (label.data[0, 1] == 300).all()

    def test_memory_does_not_grow_with_the_classes(self) -> None:
        """The largest so far, one class more with what interpolating it takes, and a byte for the label."""
        shape, finer = (24, 24, 24), (48, 48, 48)
        prepared = Prepared(
            np.empty(0), np.ones(shape, bool), np.diag([2.0, 2.0, 2.0, 1.0]), Grid(finer, np.eye(4), 1, 1)
        )
        one, peaks = 4 * np.prod(finer), []
        for classes in (2, 9):
            probabilities = np.full((classes + 1, *shape), 1 / (classes + 1), np.float32)
            tracemalloc.start()
            restore_label(probabilities, prepared, self.PREPARATION, [str(n) for n in range(classes)])
            peaks.append(tracemalloc.get_traced_memory()[1] / one)
            tracemalloc.stop()
        assert peaks[1] < 3.6
        assert peaks[1] == pytest.approx(peaks[0], abs=0.1)


class TestFacts:
    def test_volume_and_pieces(self) -> None:
        """Voxels of 1.5 x 2 x 2.5 = 7.5 mm3; two that touch at a corner are one piece, a third lies apart."""
        data = np.zeros((1, 6, 6, 6), np.uint8)
        data[0, 1, 1, 1] = data[0, 2, 2, 2] = data[0, 5, 5, 5] = 1
        data[0, 1, 1, 2] = 3
        found = found_in(Volume(data, AFFINE), ["a", "b", "c", "d"])
        assert found["a"] == Found(3, 0.0225, 2, 5.0)
        assert found["b"] == Found(0, 0.0, 0)
        assert found["c"] == Found(1, 0.0075, 1, 2.5)
        assert found["d"] == Found(0, 0.0, 0)


class TestDescription:
    def build(self, **changes: object) -> LoadedModel:
        model = make_segmenter()
        return LoadedModel(model.stages, model.description | changes, model.device)

    def test_models_from_before_are_syntheses(self) -> None:
        model = make_model()
        assert "task" not in describe(["t1"])
        assert (model.task.name, model.classes, model.target, model.kind_of("ct")) == ("synthesis", (), "ct", "hu")

    def test_faults_are_named(self) -> None:
        with pytest.raises(ModelError, match="'detection'"):
            self.build(task="detection")
        for missing in (None, [], "core"):
            with pytest.raises(ModelError, match="names no classes"):
                self.build(classes=missing)
        with pytest.raises(ModelError, match="makes 3 channels, and background and classes are 2"):
            self.build(classes=["core"])
        for names in (["../core", "rim"], ["core", "core"], ["a b", "a-b"], ["core", ""]):
            with pytest.raises(ModelError, match="name"):
                self.build(classes=names)
        roles = {"inputs": ["flair", "t2"], "target": "ct"}
        model = self.build(preparation=describe_classes()["preparation"] | {"roles": roles})
        with pytest.raises(ModelError, match="no label map"):
            _ = model.target


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [Case(name, "test", None, save_patient(tmp_path / "images" / name)) for name in ("p1", "p2")]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.nii.gz"))


class TestCohort:
    EVERYTHING = [
        f"{p}/{p}_{what}.nii.gz" for p in ("p1", "p2")
        for what in ("label", "probability_core", "probability_swollen-rim")
    ]  # fmt: skip

    def test_files_and_facts(self, cases: list[Case], tmp_path: Path) -> None:
        predict_cohort(make_segmenter(), cases, tmp_path / "out")
        assert names(tmp_path / "out") == ["p1/p1_label.nii.gz", "p2/p2_label.nii.gz"]
        report = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert report["model"]["task"] == "segmentation"
        assert report["model"]["classes"] == ["core", "swollen rim"]
        facts = {"voxels": 24, "ml": 0.18, "components": 1, "extent_mm": 8.0}  # 2 x 4 x 3 voxels of 7.5 mm3
        assert report["cases"][1]["found"] == {"core": facts, "swollen rim": facts}
        again = predict_cohort(make_segmenter(), cases, tmp_path / "out", resume=True)
        assert [case.status for case in again.cases] == ["kept", "kept"]
        assert again.cases[1].found["core"] == Found(24, 0.18, 1, 8.0)

    def test_probabilities(self, cases: list[Case], tmp_path: Path) -> None:
        out = tmp_path / "out"
        predict_cohort(make_segmenter(), cases, out, MAPS)
        assert names(out) == self.EVERYTHING
        core = nibabel.load(out / "p1/p1_probability_core.nii.gz")
        assert core.get_data_dtype() == np.float32
        assert core.get_fdata()[8, 11, 8] == pytest.approx(0.8, abs=1e-5)
        with pytest.raises(UsageError, match=r"6 outputs exist"):
            predict_cohort(make_segmenter(), cases, out, MAPS)

    def test_resume_completes_what_an_interruption_left(self, cases: list[Case], tmp_path: Path) -> None:
        out = tmp_path / "out"
        predict_cohort(make_segmenter(), cases, out)
        (out / "p2/p2_label.nii.gz").unlink()
        (out / "p2/p2_probability_core.nii.gz").write_bytes(b"of the killed run")
        result = predict_cohort(make_segmenter(), cases, out, MAPS, resume=True)
        assert [case.status for case in result.cases] == ["done", "done"]  # p1 had no probabilities yet
        assert names(out) == self.EVERYTHING
        predict_cohort(make_segmenter(), cases, tmp_path / "whole", MAPS)
        for name in self.EVERYTHING:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_no_label_map_beside_maps_of_another_run(
        self, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Overwriting fails at the second map: the old label map must not pass for that of the new first one."""
        out, model = tmp_path / "out", make_segmenter()
        predict_cohort(model, cases[:1], out, MAPS)
        from medgen.inference import writing as module

        real = module.write_volume

        def failing(volume: Volume, path: Path, **options: object) -> Path:
            if "rim" in path.name:
                raise ValueError("a bug")
            return real(volume, path, **options)

        monkeypatch.setattr(module, "write_volume", failing)
        result = predict_cohort(model, cases[:1], out, MAPS, overwrite=True)
        assert result.cases[0].status == "failed"
        assert not (out / "p1/p1_label.nii.gz").exists()

    def test_a_threshold_in_place_of_that_of_the_model(self, cases: list[Case], tmp_path: Path) -> None:
        """0.2 x 0.78 / 0.22 = 0.71 for the background, between the rim's 0.64 and the core's 0.8."""
        out, strict, model = tmp_path / "out", PredictOptions(threshold=0.78), make_segmenter()
        predict_cohort(model, cases, out, strict)
        first = np.asarray(nibabel.load(out / "p1/p1_label.nii.gz").dataobj)
        np.testing.assert_array_equal(first, np.where(TRUTH == 1, 1, 0))
        np.testing.assert_array_equal(model.predict(cases[0], threshold=0.78).data[0], first)
        assert json.loads((out / "prediction.json").read_text())["threshold"] == 0.78
        for options, status in ((strict, "kept"), (PredictOptions(), "done")):
            result = predict_cohort(model, cases, out, options, resume=True)
            assert [case.status for case in result.cases] == [status] * 2
        np.testing.assert_array_equal(np.asarray(nibabel.load(out / "p1/p1_label.nii.gz").dataobj), TRUTH)
        assert json.loads((out / "prediction.json").read_text())["threshold"] == 0.5
        result = predict_cohort(model, cases, out, PredictOptions(threshold=0.5), resume=True)
        assert [case.status for case in result.cases] == ["kept", "kept"]  # the model's own

    @pytest.mark.parametrize("threshold", [0.0, 1.0, float("nan")])
    def test_a_threshold_beside_the_probabilities(self, threshold: float) -> None:
        with pytest.raises(UsageError, match="lies between 0 and 1"):
            PredictOptions(threshold=threshold)

    def test_an_image_has_no_probabilities(self, cases: list[Case], tmp_path: Path) -> None:
        for call in (
            lambda: make_model().predict(cases[0], on_probability=print),
            lambda: make_model().predict_file(cases[0], tmp_path / "ct.nii.gz", MAPS),
            lambda: predict_cohort(make_model(), cases, tmp_path / "out", MAPS),
            lambda: make_model().predict(cases[0], threshold=0.4),
            lambda: predict_cohort(make_model(), cases, tmp_path / "out", PredictOptions(threshold=0.4)),
        ):
            with pytest.raises(UsageError, match="not probabilities"):
                call()


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("medgen.methods.catalogue.resolve", lambda name, **_: Known)
        method = Known(KnownConfig(), Shape(2, 3))
        method.register_buffer("unused", torch.zeros(1))  # safetensors has no file without a tensor
        save_model(tmp_path / "run" / "model", [method], describe_classes())
        monkeypatch.setattr(Known, "__init__", _with_buffer(Known.__init__))
        return tmp_path / "run"

    def test_one_patient(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        images = save_patient(tmp_path)
        words = ["predict", str(run), *(f"--input={role}={path}" for role, path in images.items())]
        with pytest.raises(SystemExit) as ended:
            main([*words, "-o", str(tmp_path / "seg.nii.gz"), "--probabilities", "--device", "cpu"])
        assert not ended.value.code
        assert capsys.readouterr().out == f"{tmp_path / 'seg.nii.gz'}\n"
        np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "seg.nii.gz").dataobj), TRUTH)
        assert (tmp_path / "seg_probability_core.nii.gz").is_file()
        report = json.loads((tmp_path / "seg.prediction.json").read_text())
        assert report["cases"][0]["found"]["core"]["voxels"] == 24

    def test_the_threshold_of_the_recipe_and_of_the_option(self, run: Path, tmp_path: Path) -> None:
        """Without the option the model's; at 0.78 the rim of 0.64 is background, at 0.85 the core of 0.8 too."""
        path = run / "model/model.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"inference": content["inference"] | {"threshold": 0.78}}))
        images = [f"--input={role}={path}" for role, path in save_patient(tmp_path).items()]
        for words, expected, threshold in (
            ([], np.where(TRUTH == 1, 1, 0), 0.78),
            (["--threshold", "0.5"], TRUTH, 0.5),
            (["--threshold", "0.85"], np.zeros_like(TRUTH), 0.85),
        ):
            with pytest.raises(SystemExit) as ended:
                main(["predict", str(run), *images, "-o", str(tmp_path / "seg.nii.gz"), "--overwrite", *words])
            assert not ended.value.code
            np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "seg.nii.gz").dataobj), expected)
            assert json.loads((tmp_path / "seg.prediction.json").read_text())["threshold"] == threshold
            assert provenance(tmp_path / "seg.nii.gz", {})["predictions"]["threshold"] == threshold

    def test_table(self, run: Path, cases: list[Case], tmp_path: Path) -> None:
        broken = Case("p3", "test", None, {"flair": cases[0].images["flair"]})
        table = write_cases([*cases, broken], tmp_path / "cases.csv")
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(run), "-i", str(table), "-o", str(tmp_path / "out")])
        assert ended.value.code == 4
        assert names(tmp_path / "out") == ["p1/p1_label.nii.gz", "p2/p2_label.nii.gz"]

    def test_function(self, run: Path, cases: list[Case], tmp_path: Path) -> None:
        table = write_cases(cases, tmp_path / "cases.csv")
        predict(run, table, tmp_path / "out", probabilities=True)
        assert names(tmp_path / "out") == TestCohort.EVERYTHING


def _with_buffer(real):
    def init(self, *arguments: object) -> None:
        real(self, *arguments)
        self.register_buffer("unused", torch.zeros(1))

    return init


def test_single_volume_of_one_input(tmp_path: Path) -> None:
    """A segmentation with one input takes a bare file, as a synthesis does."""

    class Threshold(Known):
        def predict(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
            lesion = (image[:, :, 2:-2, 2:-2, 2:-2] > 0.5).float()
            return torch.cat([1 - lesion, lesion], 1)

    description = describe_classes() | {"classes": ["lesion"]}
    description["preparation"]["roles"] = {"inputs": ["flair"], "labels": "label"}
    del description["preparation"]["config"]["intensity"]["t2"]
    model = LoadedModel([Threshold(KnownConfig(), Shape(1, 2))], description, torch.device("cpu"))
    label = model.predict(save(patient()["flair"], tmp_path / "flair.nii.gz"))
    np.testing.assert_array_equal(label.data[0], TRUTH > 0)


def test_small_pieces_become_background():
    """Voxels of 8 mm3: 0.03 ml are 3.75 of them. Corners connect, and each class counts by itself."""
    values = np.zeros((1, 9, 9, 9), np.uint8)
    values[0, 0, 0, :3] = 1  # three voxels: gone
    values[0, 4:6, 4:6, 4] = 1  # four: kept
    values[0, 6, 6, 5] = 1  # touches them by a corner: kept
    values[0, 8, 0, :4] = 2  # four of another class: kept
    values[0, 0, 1, :3] = 2  # three, beside three of the first class: gone
    label = Volume(values, np.diag([2.0, 2.0, 2.0, 1.0]))
    kept = without_small(label, 0.03)
    assert np.count_nonzero(kept.data == 1) == 5
    assert np.count_nonzero(kept.data == 2) == 4
    assert not kept.data[0, 0].any()
    assert label.data[0, 0].any()  # the input is left alone
    assert np.array_equal(without_small(label, 0.001).data, values)
