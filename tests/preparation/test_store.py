"""The store: content-keyed, whole or absent, and cheap to read."""

import errno
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case
from medgen.config import build
from medgen.errors import InputError, StorageError
from medgen.files import image_digest
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store, building, open_store
from medgen.volume import Volume, write_volume

ROLES = Roles(inputs=("t1",), target="ct", labels="label", mask="mask")
AFFINE = np.diag([2.0, 2, 2, 1])


def plan(roles=ROLES, **config):
    return Preparation(roles, build(PreparationConfig, {"spacing": None, **config}))


def patient(folder, name, split="train", seed=0, size=16):
    """A cube of half the size, with one lesion voxel of class 2."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((size,) * 3, np.uint8)
    mask[(slice(size // 4, 3 * size // 4),) * 3] = 1
    label = np.zeros_like(mask)
    label[6, 7, 8] = 2
    t1 = mask * 500.0 + np.abs(generator.normal(0, 20, mask.shape))
    arrays = {"t1": t1.astype(np.float32), "ct": mask * 1040.0 - 1000, "mask": mask, "label": label}
    paths = {role: folder / name / f"{name}_{role}.nii.gz" for role in arrays}
    for role, array in arrays.items():
        kind = "scalar" if role == "t1" else "hu" if role == "ct" else "label"
        write_volume(Volume(array[None], AFFINE), paths[role], kind=kind, overwrite=True)
    return Case(name, split, None, paths)


def made(folder):
    return sorted(path.parent.name for path in folder.glob("*/*/case.json"))


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*/image.npy")}


def test_what_is_stored(tmp_path):
    built = build_store([patient(tmp_path, "a")], plan(), tmp_path / "store")
    (case,) = built.cases
    assert (case.name, case.split, case.shape, case.spacing) == ("a", "train", (16, 16, 16), (2.0, 2.0, 2.0))
    assert isinstance(case.image, np.memmap)
    assert not case.image.flags.writeable
    assert case.image.shape == case.target.shape == (1, 16, 16, 16)
    assert case.image.dtype == case.target.dtype == np.float32
    assert case.mask.sum() == 512
    assert len(case.candidates) == 512
    assert np.array_equal(np.flatnonzero(case.mask), case.candidates)
    assert case.classes == (2,)
    assert case.candidates_of(2).tolist() == [6 * 256 + 7 * 16 + 8]
    assert case.label[6, 7, 8] == 2
    assert case.air == (float(case.image.min()),)
    np.testing.assert_array_equal(case.affine, AFFINE)
    assert built.preparation.training["t1"].mean[2] == pytest.approx(0, abs=0.5)
    assert built.select(split="val") == ()
    with pytest.raises(ValueError, match="read-only"):
        case.image[0, 0, 0, 0] = 1


def test_without_a_mask_the_body_is_sampled(tmp_path):
    (case,) = build_store([patient(tmp_path, "a")], plan(Roles(inputs=("t1",))), tmp_path / "store").cases
    assert case.target is None
    assert case.label is None
    assert case.mask.sum() == pytest.approx(14**3, rel=0.05)  # 8 voxels a side, and 6 mm = 3 voxels around


def test_one_more_patient_prepares_only_that_one(tmp_path):
    cases = [patient(tmp_path, "a")]
    build_store(cases, plan(), tmp_path / "store")
    before = times(tmp_path / "store")
    build_store([*cases, patient(tmp_path, "b", seed=1)], plan(), tmp_path / "store")
    after = times(tmp_path / "store")
    assert len(after) == 2
    assert before.items() <= after.items()


def test_changed_bytes_under_the_same_name_are_another_key(tmp_path):
    first = build_store([patient(tmp_path, "a", seed=0)], plan(), tmp_path / "store").cases[0]
    old = np.array(first.image)
    second = build_store([patient(tmp_path, "a", seed=1)], plan(), tmp_path / "store").cases[0]
    assert second.folder != first.folder
    assert not np.array_equal(second.image, old)
    assert np.array_equal(first.image, old)


def test_settings_and_code_version_are_part_of_the_key(tmp_path, monkeypatch):
    cases = [patient(tmp_path, "a")]
    folders = {build_store(cases, plan(), tmp_path / "store").cases[0].folder}
    folders.add(build_store(cases, plan(spacing=[4, 4, 4]), tmp_path / "store").cases[0].folder)
    folders.add(build_store(cases, plan(Roles(inputs=("t1",))), tmp_path / "store").cases[0].folder)
    monkeypatch.setattr(building, "VERSION", building.VERSION + 1)
    folders.add(build_store(cases, plan(), tmp_path / "store").cases[0].folder)
    assert len(folders) == 4


def test_a_damaged_array_is_made_again(tmp_path):
    cases = [patient(tmp_path, "a")]
    case = build_store(cases, plan(), tmp_path / "store").cases[0]
    expected = np.array(case.image)
    os.truncate(case.folder / "image.npy", 1000)
    with pytest.raises(StorageError, match="damaged"):
        _ = case.image
    again = build_store(cases, plan(), tmp_path / "store").cases[0]
    assert np.array_equal(again.image, expected)


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_build_that_is_cut_off_leaves_no_half_case(tmp_path, monkeypatch, writes):
    real, count = os.fsync, []

    def killed(handle):
        count.append(handle)
        if len(count) == writes:
            raise KeyboardInterrupt
        real(handle)

    cases = [patient(tmp_path, "a")]
    monkeypatch.setattr(building.os, "fsync", killed)
    try:
        build_store(cases, plan(), tmp_path / "store")
        finished = True
    except KeyboardInterrupt:
        finished = False
    assert made(tmp_path / "store") == (["a"] if finished else [])
    monkeypatch.setattr(building.os, "fsync", real)
    (tmp_path / "store" / "0" / f"{building._UNFINISHED}left").mkdir(parents=True)
    case = build_store(cases, plan(), tmp_path / "store").cases[0]
    assert case.target.shape == (1, 16, 16, 16)
    if not finished:
        assert not list((tmp_path / "store").glob(f"*/{building._UNFINISHED}*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_fails_is_named_and_the_others_are_done(tmp_path, workers):
    cases = [patient(tmp_path, name, seed=i) for i, name in enumerate("abc")]
    broken = cases[1].images["t1"]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(InputError, match="case 'b'") as caught:
        build_store(cases, plan(), tmp_path / "store", workers=workers)
    assert str(caught.value.where).endswith("b_t1.nii.gz")
    assert made(tmp_path / "store") == ["a", "c"]


def test_any_number_of_processes_gives_the_same_bytes(tmp_path):
    cases = [patient(tmp_path, name, seed=i) for i, name in enumerate("ab")]
    seen = []
    one = build_store(cases, plan(bias_correction="n4"), tmp_path / "one")
    two = build_store(
        cases, plan(bias_correction="n4"), tmp_path / "two", workers=2, progress=lambda *what: seen.append(what)
    )
    for a, b in zip(one.cases, two.cases, strict=True):
        assert (a.folder / "image.npy").read_bytes() == (b.folder / "image.npy").read_bytes()
    assert seen[-1] == (2, 2, "prepared")


def test_missing_images(tmp_path):
    case = patient(tmp_path, "a")
    with pytest.raises(InputError, match="no image for t1"):
        build_store([Case("a", "train", None, {"mask": case.images["mask"]})], plan(), tmp_path / "store")
    partial = Case("a", "test", None, {"t1": case.images["t1"], "mask": case.images["mask"]})
    (stored,) = build_store([partial], plan(), tmp_path / "store").cases
    assert stored.target is None


def test_a_target_that_stands_alone_has_its_own_grid(tmp_path):
    """One side of an unpaired set: nothing is asked of the inputs, and the body is found in the target."""
    case = patient(tmp_path, "a")
    alone = Case("a", "train", None, {"ct": case.images["ct"]})
    (stored,) = build_store([alone], plan(), tmp_path / "store").cases
    (paired,) = build_store([case], plan(), tmp_path / "store").cases
    assert "image" not in stored.files
    assert np.array_equal(stored.target, paired.target)
    assert np.asarray(stored.body).any()


def test_files_that_are_gone(tmp_path):
    case = patient(tmp_path, "a")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(InputError, match="not there"):
        build_store([case], plan(), tmp_path / "store")


def test_a_full_disk_is_said_so(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    cases = [patient(tmp_path, "a")]
    monkeypatch.setattr(building.os, "fsync", full)
    with pytest.raises(StorageError, match="no space"):
        build_store(cases, plan(), tmp_path / "store")
    assert made(tmp_path / "store") == []


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    case = build_store([patient(tmp_path, "a", size=64)], plan(), tmp_path / "store").cases[0]
    copies = []
    for number in range(300):  # more than the maps that stay open
        folder = tmp_path / "many" / str(number)
        folder.mkdir(parents=True)
        for name in ("image.npy", "target.npy", "candidates.npy"):
            os.link(case.folder / name, folder / name)
        copies.append(replace(case, folder=folder))

    def own_memory():
        fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024

    def touch(cases):
        for each in cases:
            assert each.image[0, 10:42, 10:42, 10:42].mean() < 9
            assert each.target[0, 10, 10, 10] <= 1

    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs Linux")
    touch(copies[:50])
    before, open_files = own_memory(), len(os.listdir("/proc/self/fd"))
    touch(copies)
    assert own_memory() - before < 4e6  # 300 cases hold 630 MB
    assert len(os.listdir("/proc/self/fd")) - open_files < 150


def test_a_stored_case_travels_light(tmp_path):
    case = build_store([patient(tmp_path, "a", size=48)], plan(), tmp_path / "store").cases[0]
    assert case.image.nbytes > 400_000
    packed = pickle.dumps(case)
    assert len(packed) < 2000
    assert np.array_equal(pickle.loads(packed).image, case.image)  # noqa: S301


def test_a_process_that_cannot_see_the_store_says_so(tmp_path):
    cases = [patient(tmp_path, "a"), patient(tmp_path, "b", seed=1)]
    places = {case.name: case.folder for case in build_store(cases, plan(), tmp_path / "store").cases}
    assert len(open_store(cases, plan(), places).cases) == 2
    with pytest.raises(StorageError, match="lacks 1 of 2 cases, 'b' first"):
        open_store(cases, plan(), {**places, "b": tmp_path / "elsewhere"})


def test_a_case_that_cannot_be_prepared_is_named_and_the_others_are_prepared(tmp_path):
    """A link without a target, a pipe and a file that may not be read; none of them hangs or hides the others."""
    (tmp_path / "nowhere.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    whole = [patient(tmp_path, name) for name in ("a", "d")]
    odd = [
        replace(whole[0], name=name, images={**whole[0].images, "t1": tmp_path / f"{name}.nii.gz"})
        for name in ("nowhere", "pipe")
    ]
    with pytest.raises(InputError, match=r"case 'nowhere': .*missing file \(and 1 more cases"):
        build_store([whole[0], *odd, whole[1]], plan(), tmp_path / "store")
    assert made(tmp_path / "store") == ["a", "d"]


def test_the_voxels_beside_a_header_are_part_of_the_image(tmp_path):
    """A MetaImage of two files: with the header alone as the key, other voxels would be taken for the same image."""
    header, raw = tmp_path / "t1.mhd", tmp_path / "t1.raw"
    header.write_text("ObjectType = Image\nElementDataFile = t1.raw\n")
    raw.write_bytes(b"voxels")
    before = image_digest(header)
    raw.write_bytes(b"others")
    assert image_digest(header) != before
