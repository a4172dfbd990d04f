"""A study shows real and synthetic images alike, and refuses what cannot be shown alike."""

import json
import math

import numpy as np
import pytest
from small_studies import small_study, write_images
from toy_samplers import NOISE, save_toy

from medgen.errors import InputError, UsageError
from medgen.inference.generation import sample
from medgen.inference.opened import open_model
from medgen.inference.references import reference_patches
from medgen.reader import make_reader_study, read_study
from medgen.volume import Volume, read_volume, write_volume


@pytest.fixture
def both(tmp_path):
    return write_images(tmp_path / "real", 8), write_images(tmp_path / "made", 8, seed=1)


def refused(kind, what, real, made, folder, **options):
    with pytest.raises(kind, match=what):
        make_reader_study(real, made, folder, **{"role": "t1", "count": 8, **options})
    assert not folder.exists()
    assert not [*folder.parent.glob(".unfinished-*"), *folder.parent.glob(".partial-*")]


class TestAlike:
    def test_one_window_one_size_and_names_that_say_nothing(self, tmp_path):
        real = write_images(tmp_path / "real", 4, size=(6, 9, 5))
        made = write_images(tmp_path / "made", 4, size=(7, 8, 5), seed=1)
        folder = make_reader_study(real, made, tmp_path / "study", role="t1", count=8)
        content = json.loads((folder / "study.json").read_text())
        files = sorted(path.stem for path in (folder / "images").iterdir())
        assert files == sorted(content["images"])
        assert sum(image["real"] for image in content["images"].values()) == 4
        low, high = content["window"]
        everything = np.concatenate([read_volume(path).data.ravel() for path in (*real.iterdir(), *made.iterdir())])
        assert (low, high) == pytest.approx(np.percentile(everything, [1, 99]))
        for token, image in content["images"].items():
            shades = np.load(folder / "images" / f"{token}.npy")
            assert (shades.shape, shades.dtype) == ((6, 8, 5), np.uint8)
            side = real if image["real"] else made
            values = read_volume(side / f"{image['from']}_t1.nii.gz").data[0]
            values = values[:, :8] if image["real"] else values[:6]  # the middle: one voxel more at the far end
            assert shades == pytest.approx(255 * np.clip((values - low) / (high - low), 0, 1), abs=0.51)

    def test_the_time_and_order_of_files_do_not_tell(self, tmp_path):
        folder = small_study(tmp_path, count=16)
        content = json.loads((folder / "study.json").read_text())["images"]
        written = sorted((folder / "images").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        kinds = [content[path.stem]["real"] for path in written]
        assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))

    def test_each_image_by_its_own_percentiles(self, tmp_path):
        real = write_images(tmp_path / "real", 4, middle=900.0, noise=200.0)
        made = write_images(tmp_path / "made", 4, middle=0.0, noise=1.0, seed=1)
        folder = make_reader_study(real, made, tmp_path / "study", role="t1", count=8, window="each")
        for path in (folder / "images").iterdir():
            assert 100 < np.load(path).mean() < 155

    def test_axes_are_turned_to_ras(self, tmp_path):
        real, made = write_images(tmp_path / "real", 1), write_images(tmp_path / "made", 1, seed=1)
        (path,) = real.iterdir()
        volume = read_volume(path)
        write_volume(
            Volume(volume.data[:, ::-1].copy(), np.diag([-2.0, 2.0, 3.0, 1.0])), path, kind="scalar", overwrite=True
        )
        study = read_study(make_reader_study(real, made, tmp_path / "study", role="t1", count=2, window="0,200"))
        (token,) = (image for image, is_real in study.real.items() if is_real)
        axial = study.slice(token, 0, 2)
        assert axial == pytest.approx(255 / 200 * np.clip(volume.data[0, ::-1, ::-1, 2].T, 0, 200), abs=0.51)

    def test_the_seed_chooses_images_and_pairs(self, both, tmp_path):
        def pairs(seed, name):
            folder = make_reader_study(*both, tmp_path / name, role="t1", count=4, seed=seed, task="pick-real")
            study = read_study(folder)
            assert all(study.real[real] and not study.real[made] for real, made in study.cases)
            return [tuple(study.origin[image] for image in case) for case in study.cases]

        assert pairs(0, "a") == pairs(0, "b") != pairs(1, "c")


class TestSamples:
    """Real cases are cut as the model saw them: 3D patches, and slices."""

    @pytest.fixture
    def table(self, tmp_path):
        write_images(tmp_path / "heads", 3, size=(12, 12, 12), spacing=(2.0, 2.0, 2.0))
        rows = [
            f"h{number},{split},heads/h{number}_t1.nii.gz" for number, split in enumerate(["train", "test", "test"])
        ]
        (tmp_path / "cases.csv").write_text("\n".join(["case,split,t1", *rows]) + "\n")
        return tmp_path / "cases.csv"

    @staticmethod
    def draw(tmp_path, count, **options):
        run = save_toy(tmp_path / "run", NOISE, **options)
        return run, sample(run, tmp_path / "samples", count=count, device="cpu", allow_modules=[NOISE])

    @pytest.mark.parametrize("size", [(8, 10, 6), (8, 10)])
    def test_real_patches_are_those_of_the_model(self, table, tmp_path, size):
        run, samples = self.draw(tmp_path, 4, size=size, spacing=[2, 2, 2])
        folder = make_reader_study(table, samples, tmp_path / "study", count=8, window="-3,3", seed=5)
        study = read_study(folder)
        assert study.size == (8, 10, 6) if len(size) == 3 else (8, 10, 1)
        assert study.spacing == (2, 2, 2)
        assert [plane.name for plane in study.planes] == ["axial", "coronal", "sagittal"][: 3 if len(size) == 3 else 1]
        expected = reference_patches(open_model(run, "cpu", [NOISE]), table, split="test", count=4, seed=5)
        shown = {study.origin[token]: np.load(folder / "images" / f"{token}.npy") for token in study.real}
        for number, (case, image) in enumerate(zip(expected.cases, expected.images, strict=True)):
            assert case != "h0"
            wanted = 255 * np.clip((image[0].reshape(study.size) + 3) / 6, 0, 1)
            assert shown[f"{case}, patch {number}"] == pytest.approx(wanted, abs=0.51)

    def test_units_of_a_window_on_both_sides(self, tmp_path, table):
        """0 and 200 are -1 and 1 of the model."""
        run, samples = self.draw(tmp_path, 2, spacing=[2, 2, 2], intensity={"t1": {"window": [0, 200]}})
        study = read_study(make_reader_study(table, samples, tmp_path / "study", count=4, window="0,200"))
        shades = {token: np.load(study.folder / "images" / f"{token}.npy") for token in study.real}
        real, made = (
            np.mean([shades[token] for token in shades if study.real[token] is kind]) for kind in (True, False)
        )
        patches = reference_patches(open_model(run, "cpu", [NOISE]), table, split="test", count=2, seed=0).images
        assert real == pytest.approx(np.mean(255 * (patches + 1) / 2), abs=0.5)
        assert patches.max() > 0  # heads, not only what lies around them
        values = np.stack([read_volume(path).data[0] for path in samples.glob("*.nii.gz")])
        assert made == pytest.approx(np.mean(255 * np.clip(values / 200, 0, 1)), abs=0.1)

    def test_hu_are_whole_numbers_on_both_sides(self, tmp_path):
        """As samples in HU are written. In a window of 51 HU, 40.4 HU would be shade 202, and 40 HU are shade 200."""
        data = np.full((1, 12, 12, 12), 40.4, np.float32)
        data[:, ::2] = -1000
        write_volume(Volume(data, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "a.nii.gz", kind="scalar")
        (tmp_path / "cases.csv").write_text("case,split,t1\na,test,a.nii.gz\n")
        _, samples = self.draw(tmp_path, 1, spacing=[2, 2, 2], intensity={"t1": {"window": [-1000, 1000]}})
        table = tmp_path / "cases.csv"
        study = read_study(make_reader_study(table, samples, tmp_path / "study", count=2, window="0,51"))
        (token,) = (token for token, is_real in study.real.items() if is_real)
        assert np.unique(np.load(study.folder / "images" / f"{token}.npy")).tolist() == [0, 200]

    def test_samples_that_do_not_say_how(self, table, tmp_path):
        _, samples = self.draw(tmp_path, 1, spacing=[2, 2, 2])
        manifest = json.loads((samples / "samples.json").read_text())
        for kept in ({}, {"preparation": {}, "patches": {}}):
            changed = {key: value for key, value in manifest.items() if key not in ("preparation", "patches")} | kept
            (samples / "samples.json").write_text(json.dumps(changed))
            refused(InputError, "do not say how", table, samples, tmp_path / "study", count=2, role=None)

    def test_slices_beside_volumes(self, both, tmp_path):
        _, samples = self.draw(tmp_path, 2, size=(8, 10))
        refused(InputError, "volumes.*axial slices", both[0], samples, tmp_path / "study", count=2, role=None)

    def test_damaged_samples(self, table, tmp_path):
        _, samples = self.draw(tmp_path, 2, size=(8, 10))
        refused(UsageError, "are the same", samples, samples, tmp_path / "study", role=None)
        (samples / "samples.npz").write_bytes(b"PK")
        refused(InputError, "missing or damaged", table, samples, tmp_path / "study", count=2, role=None)
        (samples / "samples.json").write_text("{}")
        refused(InputError, "list of the samples is damaged", table, samples, tmp_path / "study", role=None)


class TestRefused:
    def test_another_voxel_size(self, both, tmp_path):
        made = write_images(tmp_path / "coarse", 8, spacing=(2.0, 2.0, 4.0))
        refused(InputError, r"2 x 2 x 3 mm of '.*2 x 2 x 4 mm of '", both[0], made, tmp_path / "study")

    def test_another_unit(self, both, tmp_path):
        made = write_images(tmp_path / "z", 8, middle=0.0, noise=1.0)
        refused(InputError, "do not have one unit", both[0], made, tmp_path / "study")

    def test_too_few(self, both, tmp_path):
        refused(InputError, "needs 9 real images, and there are 8", *both, tmp_path / "study", count=18)
        refused(InputError, "needs 10 real images", *both, tmp_path / "study", count=10, task="pick-real")

    def test_nan(self, both, tmp_path):
        path = both[1] / "m3_t1.nii.gz"
        volume = read_volume(path)
        volume.data[0, 0, 0, 0] = np.nan
        path.unlink()
        import nibabel

        nibabel.save(nibabel.Nifti1Image(volume.data[0], volume.affine), path)
        refused(InputError, "NaN or infinite", *both, tmp_path / "study", count=16)

    def test_no_role(self, both, tmp_path):
        refused(InputError, "no file here is named <case>_ct", *both, tmp_path / "study", role="ct")
        (tmp_path / "cases.csv").write_text("case,split,t1,t2\na,test,real/r0_t1.nii.gz,real/r1_t1.nii.gz\n")
        refused(UsageError, "needs the role to show", tmp_path / "cases.csv", both[1], tmp_path / "study", role=None)
        run = save_toy(tmp_path / "run", NOISE, inputs=("t1", "t2"))
        samples = sample(run, tmp_path / "samples", count=1, device="cpu", allow_modules=[NOISE])
        refused(UsageError, "roles t1, t2: choose", both[0], samples, tmp_path / "study", role=None)
        refused(InputError, "have no role 'ct'", both[0], samples, tmp_path / "study", role="ct")

    def test_every_volume_of_folders_without_roles(self, both, tmp_path):
        study = read_study(make_reader_study(*both, tmp_path / "study", count=16))
        assert len(set(study.origin.values())) == 16

    @pytest.mark.parametrize("window", ["wide", "1", "5,1", "nan,2", "1,inf"])
    def test_a_window_that_is_none(self, both, tmp_path, window):
        refused(UsageError, "--window", *both, tmp_path / "study", window=window)

    def test_the_current_folder_is_refused_before_an_image_is_read(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="this is the current folder"):
            make_reader_study(tmp_path / "nothing", tmp_path / "nothing", ".")

    def test_a_folder_with_answers_is_kept(self, tmp_path):
        folder = small_study(tmp_path)
        before = (folder / "study.json").read_bytes()
        with pytest.raises(UsageError, match="not empty"):
            make_reader_study(tmp_path / "real", tmp_path / "made", folder, role="t1", count=8)
        assert (folder / "study.json").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("key"),
        lambda content: content.update(task="guess"),
        lambda content: content.update(size=[8, 8]),
        lambda content: content.update(plane="oblique"),
        lambda content: content.update(cases=[["../../secret"]]),
        lambda content: content.update(cases=[]),
        lambda content: content.update(size=[math.inf] * 3),
        lambda content: content.update(size=[8, 0, 8]),
        lambda content: content.update(spacing_mm=[0, 1, 1]),
        lambda content: content.update(seed=math.inf),
        lambda content: content.update(repeats=math.nan),
    ],
)
def test_a_damaged_description(tmp_path, change):
    folder = small_study(tmp_path)
    content = json.loads((folder / "study.json").read_text())
    change(content)
    (folder / "study.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        read_study(folder)


def test_no_study(tmp_path):
    with pytest.raises(InputError, match="there is no study here"):
        read_study(tmp_path)
