"""One patient: the numbers, the grid, the cascade, and everything that can be wrong with the input."""

import logging
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from mean_model import AFFINE, head, make_model, save

from medgen.cases import Case
from medgen.errors import InputError, MemoryExhausted, ModelError, UsageError
from medgen.inference.loading import load_model
from medgen.inference.memory import Plan, expected_need, free_bytes, thriftier, within_memory
from medgen.inference.model import LoadedModel
from medgen.inference.options import ReadOptions
from medgen.inference.reading import prepare_patient
from medgen.inference.stages import Stacked, predict_prepared
from medgen.methods.base import Shape, Window
from medgen.methods.catalogue import create
from medgen.recipe.prediction import InferenceConfig
from medgen.training.model_folder import save_model
from medgen.volume import read_volume


class TestPrediction:
    def test_values_in_hu_on_the_patients_grid(self, tmp_path: Path) -> None:
        """500 is the middle of [0, 1000], so 0 in the network and (-1024 + 2000) / 2 = 488 HU; 750 gives 1244 HU."""
        result = make_model().predict(save(head(), tmp_path / "t1.nii.gz"))
        assert result.shape == (19, 23, 17)
        np.testing.assert_array_equal(result.affine, AFFINE)
        assert result.data[0, 4, 11, 8] == pytest.approx(488, abs=0.01)
        assert result.data[0, 9, 11, 8] == pytest.approx(1244, abs=0.01)
        assert np.all(result.data[0, 0] == -1024)

    def test_written_file(self, tmp_path: Path) -> None:
        source = save(head(), tmp_path / "t1.nii.gz")
        make_model().predict_file(source, tmp_path / "ct.nii.gz")
        written, read = nibabel.load(tmp_path / "ct.nii.gz"), nibabel.load(source)
        assert written.get_data_dtype() == np.int16
        assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
        np.testing.assert_allclose(written.get_sform(), read.affine, atol=1e-5)
        np.testing.assert_allclose(written.get_qform(), read.affine, atol=1e-5)
        assert written.header.get_xyzt_units()[0] == "mm"
        assert np.asarray(written.dataobj)[9, 11, 8] == 1244

    @pytest.mark.parametrize("shape", [(7, 31, 11), (64, 9, 10), (13, 13, 2)])
    def test_any_size(self, tmp_path: Path, shape: tuple[int, int, int]) -> None:
        """Odd, prime, smaller than the tile in some axis, and two slices."""
        image = np.zeros(shape, np.float32)
        image[2:-2, 2:-2] = 500.0
        image[3:-3, 3:-3] = 600.0
        result = make_model().predict(save(image, tmp_path / "t1.nii.gz"))
        assert result.shape == shape
        middle = tuple(n // 2 for n in shape)
        assert result.data[0][middle] == pytest.approx(600 * 3.024 - 1024, abs=0.1)

    def test_coarser_preparation_comes_back_to_the_patients_grid(self, tmp_path: Path) -> None:
        result = make_model(spacing=[3, 3, 3]).predict(save(head((41, 33, 29)), tmp_path / "t1.nii.gz"))
        assert result.shape == (41, 33, 29)
        np.testing.assert_array_equal(result.affine, AFFINE)
        assert result.data[0, 20, 16, 14] == pytest.approx(1244, abs=1)

    def test_cascade_sees_the_image_and_the_estimate(self, tmp_path: Path) -> None:
        """Stage 1 halves 0.5 (750) to 0.25; stage 2 takes the mean of 0.5 and 0.25, 0.375: 1055 HU."""
        result = make_model(gains=[0.5, 1.0]).predict(save(head(), tmp_path / "t1.nii.gz"))
        assert result.data[0, 9, 11, 8] == pytest.approx(0.375 * 1512 + 488, abs=0.01)

    def test_volume_in_memory_and_mapping(self, tmp_path: Path) -> None:
        path = save(head(), tmp_path / "t1.nii.gz")
        model = make_model()
        expected = model.predict(path).data
        for source in (read_volume(path), {"t1": path}, Case("a", "test", None, {"t1": path, "ct": path})):
            np.testing.assert_array_equal(model.predict(source).data, expected)

    def test_either_role(self, tmp_path: Path) -> None:
        path = save(head(), tmp_path / "swi.nii.gz")
        model = make_model("ge|swi")
        assert model.predict({"swi": path}).data[0, 9, 11, 8] == pytest.approx(1244, abs=0.01)
        assert model.predict(Case("a", "test", None, {"swi": path})).shape == (19, 23, 17)

    def test_values_beyond_the_range_are_clipped_and_counted(self, tmp_path: Path) -> None:
        model, path = make_model(gains=[1e6]), save(head(), tmp_path / "t1.nii.gz")
        prepared, _ = prepare_patient({"t1": path}, ReadOptions(), model.preparation)
        result = model.predict(path)
        assert result.data.max() == pytest.approx(2000, abs=0.01)
        # 500 maps to 0, which no gain can move: the bright core and air at the edge of the body leave the range
        moved = np.count_nonzero(prepared.body & (prepared.image[0] != 0))
        assert moved >= 7 * 11 * 5
        assert any(note.startswith(f"{moved} voxels (") and "clipped" in note for note in result.notes)

    def test_nan_from_a_stage_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        model = make_model(gains=[1.0, 1.0])
        model.stages[1].gain.data.fill_(float("nan"))
        with pytest.raises(ModelError, match="stage 2 of 2 returned") as caught:
            model.predict(save(head(), tmp_path / "t1.nii.gz"))
        assert caught.value.exit_code == 6

    def test_repeated_predictions_have_equal_bytes(self, tmp_path: Path) -> None:
        source = save(head(), tmp_path / "t1.nii.gz")
        for name in ("a.nii.gz", "b.nii.gz"):
            make_model().predict_file(source, tmp_path / name)
        assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


class TestWrongInput:
    def test_existing_output_is_refused_before_the_work(self, tmp_path: Path) -> None:
        source, output = tmp_path / "absent.nii.gz", tmp_path / "ct.nii.gz"
        output.write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists"):
            make_model().predict_file(source, output)
        with pytest.raises(UsageError, match=r"nii\.gz"):
            make_model().predict_file(source, tmp_path / "ct.png")
        assert output.read_bytes() == b"precious"

    def test_roles_are_listed(self, tmp_path: Path) -> None:
        path, model = save(head(), tmp_path / "t1.nii.gz"), make_model("t1", "ge|swi")
        for source in (path, {"t1": path}, {"t1": path, "flair": path}, {"t1": path, "ge": path, "swi": path}):
            with pytest.raises(UsageError, match=r"t1, ge\|swi"):
                model.predict(source)
        with pytest.raises(InputError, match=r"'a' has no image for ge\|swi") as caught:
            model.predict(Case("a", "test", None, {"t1": path}))
        assert "t1, ge|swi" in caught.value.fix

    def test_single_slice(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="19 x 23 x 1 voxels: a single slice"):
            make_model().predict(save(head()[:, :, 8:9], tmp_path / "t1.nii.gz"))

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_empty_image(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(InputError, match="empty"):
            make_model().predict(save(np.full((19, 23, 17), value, np.float32), tmp_path / "t1.nii.gz"))

    def test_nan_voxels(self, tmp_path: Path) -> None:
        image = head()
        image[9, 11, 8] = np.nan
        path = save(image, tmp_path / "t1.nii.gz")
        with pytest.raises(InputError, match="1 voxels"):
            make_model().predict(path)
        result = make_model().predict(path, nan="zero")
        assert result.data[0, 9, 11, 8] == pytest.approx(-1024)  # zero is the low end of the window, inside the body
        assert any("NaN" in note for note in result.notes)
        assert make_model(nan="zero").predict(path).shape == (19, 23, 17)

    def test_frame_and_geometry_are_passed_on(self, tmp_path: Path) -> None:
        four = save(np.stack([head(), head(value=600.0)], axis=-1), tmp_path / "four.nii.gz")
        with pytest.raises(InputError, match="4D"):
            make_model().predict(four)
        assert make_model().predict(four, frame=1).data[0, 4, 11, 8] == pytest.approx(790.4, abs=0.01)
        file = nibabel.load(save(head(), tmp_path / "both.nii.gz"))
        file.set_qform(np.diag([1.0, 1, 1, 1]), 1)
        nibabel.save(file, tmp_path / "both.nii.gz")
        with pytest.raises(InputError):
            make_model().predict(tmp_path / "both.nii.gz")
        result = make_model().predict(tmp_path / "both.nii.gz", geometry="qform")
        np.testing.assert_allclose(result.affine, np.eye(4), atol=1e-6)

    def test_swapped_channels_are_noted(self, tmp_path: Path) -> None:
        model = make_model("t1", "t2")
        t1, t2 = save(head(value=200.0), tmp_path / "t1.nii.gz"), save(head(value=900.0), tmp_path / "t2.nii.gz")
        prepared, _ = prepare_patient({"t1": t1, "t2": t2}, ReadOptions(), model.preparation)
        training = {
            role: {"mean": list(numbers), "spread": [0.01] * len(numbers)}
            for role, numbers in prepared.fingerprint.items()
        }
        description = model.description
        description["preparation"]["training"] = training
        model = LoadedModel(model.stages, description, model.device)
        assert not any("looks" in note for note in model.predict({"t1": t1, "t2": t2}).notes)
        assert any("swapped" in note for note in model.predict({"t1": t2, "t2": t1}).notes)


class TestLoading:
    @pytest.mark.parametrize("stages", [1, 2])
    def test_a_real_method(self, tmp_path: Path, stages: int) -> None:
        """The saved cascade, whole volume by hand against tiles and files."""
        torch.manual_seed(0)
        config = {"generator": "fcn", "width": 0.05, "stages": stages}
        shapes = [Shape(1, 1), Shape(1, 1).with_context()][:stages]
        networks = [create("supervised", config, shape).eval() for shape in shapes]
        description = {
            "method": "supervised",
            "preparation": {"roles": {"inputs": ["t1"], "target": "ct"}, "config": {"spacing": None}},
            "inference": {},
            "patches": [32, 32, 32],
        }
        save_model(tmp_path / "run" / "model", networks, description)
        model = load_model(tmp_path / "run", device="cpu")
        path = save(head((21, 22, 23)), tmp_path / "t1.nii.gz")
        prepared, _ = prepare_patient({"t1": path}, ReadOptions(), model.preparation)
        image = torch.from_numpy(prepared.image)[None]
        with torch.inference_mode():
            for network in networks:
                joined = image if network is networks[0] else torch.cat([image, estimate], 1)  # noqa: F821
                padded = torch.nn.functional.pad(joined, [8] * 6, mode="replicate")
                estimate = network.predict(padded).clip(-1, 1)
                estimate[:, :, ~torch.from_numpy(prepared.body)] = -1
        expected = 488 + 1512 * estimate[0].numpy()
        result = model.predict(path).data[:, ::-1]  # the file's first axis points left
        np.testing.assert_allclose(result[:, prepared.body], expected[:, prepared.body], atol=0.1)

    def test_unet_on_odd_sizes(self, tmp_path: Path) -> None:
        config = {"generator": "unet", "width": 0.1}
        description = {
            "method": "supervised",
            "preparation": {"roles": {"inputs": ["t1"], "target": "ct"}, "config": {"spacing": None}},
            "inference": {"batch": 2},
            "patches": [16, 16, 16],
        }
        save_model(tmp_path, [create("supervised", config, Shape(1, 1)).eval()], description)
        result = load_model(tmp_path).predict(save(head((19, 37, 13)), tmp_path / "t1.nii.gz"))
        assert result.shape == (19, 37, 13)
        assert np.isfinite(result.data).all()

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError):
            load_model(tmp_path)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    @pytest.mark.parametrize("device", ["cuda", "cuda:9", "gpu"])
    def test_missing_device_names_those_there_are(self, tmp_path: Path, device: str) -> None:
        with pytest.raises(UsageError, match=device) as caught:
            load_model(tmp_path, device=device)
        assert "cpu" in caught.value.fix


class TestPreparedArrays:
    def test_memory_map_with_context(self, tmp_path: Path) -> None:
        image = np.random.default_rng(0).uniform(-1, 1, (1, 9, 30, 8)).astype(np.float32)
        np.save(tmp_path / "image.npy", image)
        mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
        body = np.zeros(image.shape[1:], np.uint8)
        body[2:7, 4:20] = 1
        first, second = make_model(gains=[0.5, 1.0]).stages
        settings = InferenceConfig()
        context = predict_prepared([first], mapped, body, settings=settings, patch=(12, 12, 12))
        np.testing.assert_allclose(context[0], np.where(body, 0.5 * image[0], -1), atol=1e-6)
        result = predict_prepared([second], mapped, body, settings=settings, patch=(12, 12, 12), context=context)
        both = predict_prepared([first, second], mapped, body, settings=settings, patch=(12, 12, 12))
        np.testing.assert_allclose(result[0], np.where(body, 0.75 * image[0], -1), atol=1e-6)
        np.testing.assert_array_equal(result, both)
        with pytest.raises(ModelError, match="reads 2 channels and was given 1"):
            predict_prepared([second], mapped, body, settings=settings, patch=(12, 12, 12))

    def test_stacked_reads_regions(self) -> None:
        first, second = np.zeros((2, 3, 4, 5)), np.ones((1, 3, 4, 5))
        stacked = Stacked(first, second)
        assert stacked.shape == (3, 3, 4, 5)
        region = stacked[slice(None), slice(0, 2), slice(1, 2), slice(0, 5)]
        assert region.shape == (3, 2, 1, 5)
        assert region[:, 0, 0, 0].tolist() == [0, 0, 1]
        with pytest.raises(ValueError, match="grid"):
            Stacked(first, np.ones((1, 3, 4, 4)))


class TestMemory:
    GPU, CPU = torch.device("cuda"), torch.device("cpu")

    def test_ladder_ends_on_the_cpu(self, caplog: pytest.LogCaptureFixture) -> None:
        tried: list[Plan] = []

        def attempt(plan: Plan) -> str:
            tried.append(plan)
            if plan.device.type == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return "result"

        plan = Plan(self.GPU, self.GPU, 4, (80, 80, 80))
        with caplog.at_level(logging.WARNING):
            result, notes = within_memory(attempt, plan, Window(margin=8), need="")
        assert result == "result"
        assert tried == [
            plan,
            Plan(self.GPU, self.GPU, 1, (80, 80, 80)),
            Plan(self.GPU, self.CPU, 1, (80, 80, 80)),
            Plan(self.GPU, self.CPU, 1, (40, 40, 40)),
            Plan(self.GPU, self.CPU, 1, (32, 32, 32)),
            Plan(self.CPU, self.CPU, 1, (32, 32, 32)),
        ]
        assert len(notes) == len(caplog.messages) == 5
        assert "one tile at a time" in notes[0]

    def test_same_size_networks_keep_their_tile(self) -> None:
        plan = Plan(self.GPU, self.CPU, 1, (96, 96, 96))
        step = thriftier(plan, Window(multiple=8))
        assert step is not None
        assert step[0] == Plan(self.CPU, self.CPU, 1, (96, 96, 96))
        assert thriftier(step[0], Window(multiple=8)) is None

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError("Unable to allocate 3.5 GiB for an array"),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        ],
    )
    def test_nothing_fits(self, error: Exception) -> None:
        def attempt(plan: Plan) -> None:
            raise error

        with pytest.raises(MemoryExhausted, match=r"allocate.*needs 7 GB") as caught:
            within_memory(attempt, Plan(self.CPU, self.CPU, 2, (32, 32, 32)), Window(), need="needs 7 GB")
        assert caught.value.exit_code == 5

    def test_other_errors_pass(self) -> None:
        def attempt(plan: Plan) -> None:
            raise RuntimeError("a size is wrong")

        with pytest.raises(RuntimeError, match="a size"):
            within_memory(attempt, Plan(self.CPU, self.CPU, 2, (32, 32, 32)), Window(), need="")

    def test_need_is_said_before_the_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """0.1 GB for tiles, and 5.5 bytes for each byte of the volume as float32."""
        path = save(head(), tmp_path / "t1.nii.gz")
        monkeypatch.setattr("medgen.inference.reading.free_bytes", lambda: 4e7)
        with caplog.at_level(logging.WARNING):
            make_model().predict(path)
        assert caplog.messages == ["a volume of 19 x 23 x 17 voxels needs about 0.1 GB of memory, 0.0 GB were free"]
        assert expected_need(1e9, 1) == pytest.approx(0.1e9 + 22e9)

    def test_numpy_out_of_memory_exits_5(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise MemoryError("Unable to allocate 9 GiB")

        model, path = make_model(), save(head(), tmp_path / "t1.nii.gz")
        monkeypatch.setattr("medgen.inference.model.prepare_patient", full)
        with pytest.raises(MemoryExhausted, match=r"19 x 23 x 17 voxels needs about 0\.1 GB") as caught:
            model.predict(path)
        assert caught.value.exit_code == 5

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
    def test_limit_of_the_process_counts_as_free_memory(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        try:
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
            free = free_bytes()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert free is not None
        assert 2**28 < free <= 2**29

    @pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
    def test_peak_is_below_six_volumes_and_the_tiles(self, tmp_path: Path) -> None:
        """Read, prepare, predict, go back, write: beyond what was in use before (14 MB volume, 64^3 tiles)."""
        image = np.zeros((192, 192, 96), np.float32)
        image[20:-20, 20:-20, 5:-5] = 500.0
        fine = np.diag([-0.6, 0.6, 1.0, 1.0])
        save(image, tmp_path / "t1.nii", fine)
        save(image[:40, :40, :40], tmp_path / "small.nii", fine)
        code = """
import sys
from dataclasses import replace
from pathlib import Path
from mean_model import make_model
model = make_model()
model.cascade = replace(model.cascade, patch=(64, 64, 64))
folder = Path(sys.argv[1])
model.predict_file(folder / "small.nii", folder / "small_ct.nii")
def value(name):
    return int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1]) / 1024
before = value("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
model.predict_file(folder / "t1.nii", folder / "ct.nii")
print(value("VmHWM") - before)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, str(tmp_path)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert float(run.stdout) < 6 * image.nbytes / 2**20 + 30

    def test_result_is_the_same_after_stepping_down(self, tmp_path: Path) -> None:
        path = save(head((40, 41, 42)), tmp_path / "t1.nii.gz")
        expected = make_model().predict(path)
        model = make_model()
        real = model.stages[0].predict

        def starved(image: torch.Tensor, generator: None) -> torch.Tensor:
            if len(image) > 1 or max(image.shape) > 14:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(image)

        model.stages[0].predict = starved
        model.cascade = replace(model.cascade, settings=InferenceConfig(overlap=0.0, batch=3))
        result = model.predict(path)
        np.testing.assert_allclose(result.data, expected.data, atol=1e-3)
        assert sum("out of memory" in note for note in result.notes) == 2
