"""Patch n is a pure function of (seed, n), whoever asks for it and however many ask."""

import json
import os
import signal
import time
import tracemalloc
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.preparation import StoredCase
from medgen.sampling.augmentation import enlarged
from medgen.sampling.batches import Paired
from medgen.sampling.loading import patch_batches
from medgen.sampling.patches import PatchConfig, PatchSource, cut
from medgen.sampling.streams import StreamSource


def stored(folder, name, shape=(20, 18, 16), seed=0):
    """A case whose image codes the voxel's place, with a cube of class 1 and a voxel of class 2."""
    place = folder / name
    place.mkdir()
    label = np.zeros(shape, np.uint8)
    label[8:10, 8:10, 8:10] = 1
    label[3, 4, 5] = 2
    mask = np.zeros(shape, np.uint8)
    mask[2:-2, 2:-2, 2:-2] = 1
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape) + 1 + seed * 10000
    arrays = {
        "image": image,
        "target": -image / image.max(),
        "mask": mask,
        "body": mask,
        "label": label,
        "candidates": np.flatnonzero(mask).astype(np.int32),
        "candidates_1": np.flatnonzero(label == 1).astype(np.int32),
        "candidates_2": np.flatnonzero(label == 2).astype(np.int32),
    }
    for key, array in arrays.items():
        np.save(place / f"{key}.npy", array)
    (place / "case.json").write_text(json.dumps({"affine": np.eye(4).tolist(), "notes": []}))
    return StoredCase(name, "train", None, place, shape, (1.0, 1.0, 1.0), (-3.0,), (1, 2), frozenset(arrays))


@pytest.fixture
def cases(tmp_path):
    return [stored(tmp_path, name, seed=i) for i, name in enumerate("abc")]


def config(size=(8, 8, 8), **values):
    return build(PatchConfig, {"size": size, **values})


ALL = {"flip": ["x", "z"], "noise": 0.1, "scale": 0.1, "shift": 0.1, "contrast": 0.2, "bias": 0.2, "channel_shift": 0.1}
TURN = {"rotation": [10, 10, 10], "zoom": 0.1}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )


def test_the_recipe_of_the_design():
    settings = build(PatchConfig, {"size": [32, 32, 32], "sampling": "uniform", "augmentation": {"flip": ["x"]}})
    assert build(PatchConfig, settings.model_dump(mode="json")) == settings
    with pytest.raises(UsageError, match="flp"):
        build(PatchConfig, {"augmentation": {"flp": ["x"]}})
    with pytest.raises(UsageError):
        build(PatchConfig, {"size": [0, 1, 1]})


def test_cut_by_hand():
    array = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    result = cut(array, (-1, 0, 1), (2, 2, 2), -9)
    assert result.tolist() == [[[[-9, -9], [-9, -9]], [[1, -9], [3, -9]]]]
    assert (cut(array, (5, 0, 0), (2, 2, 2), -9) == -9).all()
    assert cut(array, (-1, -1, -1), (4, 4, 4), 0)[0, 1:3, 1:3, 1:3].tolist() == array[0].tolist()


def test_a_patch_is_the_volume_around_its_centre(cases):
    source = PatchSource(cases, config(), seed=5)
    for n in range(50):
        name, centre = source.describe(n)
        case = next(each for each in cases if each.name == name)
        patch = source[n]
        assert case.mask[centre] == 1
        assert patch["source"][0, 4, 4, 4] == case.image[(0, *centre)]
        assert patch["target"][0, 4, 4, 4] == case.target[(0, *centre)]
        assert patch["label"][0, 4, 4, 4] == case.label[centre]
        outside = patch["source"] == -3.0
        assert (patch["target"][outside] == -1).all()
        assert (patch["mask"][outside] == 0).all()
        assert {key: value.dtype.name for key, value in patch.items()} == {
            "source": "float32", "target": "float32", "mask": "float32", "body": "float32", "label": "uint8"
        }  # fmt: skip


@pytest.mark.parametrize("augmentation", [{}, ALL, {**ALL, **TURN}])
def test_a_patch_depends_on_seed_and_number_only(cases, augmentation):
    settings = config(augmentation=augmentation)
    forwards, backwards = PatchSource(cases, settings, seed=1), PatchSource(cases, settings, seed=1)
    first = [forwards[n] for n in range(12)]
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    second = [backwards[n] for n in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    other = PatchSource(cases, settings, seed=2)
    assert sum(same(first[n], other[n]) for n in range(12)) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_batches(cases, workers):
    source = PatchSource(cases, config(augmentation={**ALL, **TURN}), seed=3)
    here = list(patch_batches(source, Paired, batch=4, start=0, stop=5))
    there = list(patch_batches(source, Paired, batch=4, start=0, stop=5, workers=workers))
    assert here[0].source.shape == (4, 1, 8, 8, 8)
    assert equal(here, there)


def test_two_processes_share_one_batch(cases):
    source = PatchSource(cases, config(), seed=3)
    (whole,) = patch_batches(source, Paired, batch=6, start=7, stop=8)
    parts = [next(patch_batches(source, Paired, batch=6, start=7, stop=8, rank=r, world=2)) for r in range(2)]
    for field, joined in enumerate(whole):
        assert torch.equal(joined[0::2], parts[0][field])
        assert torch.equal(joined[1::2], parts[1][field])
    with pytest.raises(UsageError, match="shared by 4"):
        next(patch_batches(source, Paired, batch=6, start=0, stop=1, world=4))


def test_a_resumed_run_sees_the_tail(cases):
    source = PatchSource(cases, config(augmentation=ALL), seed=3)
    whole = list(patch_batches(source, Paired, batch=2, start=0, stop=14))
    tail = list(patch_batches(source, Paired, batch=2, start=10, stop=14, workers=1))
    assert equal(whole[10:], tail)


def test_the_global_random_state_is_left_alone(cases):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    source = PatchSource(cases, config(augmentation={**ALL, **TURN}), seed=3)
    list(patch_batches(source, Paired, batch=2, start=0, stop=3))
    list(patch_batches(source, Paired, batch=2, start=0, stop=3, workers=1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_uniform_sampling_takes_every_voxel_of_the_mask_equally(cases):
    source = PatchSource(cases, config((1, 1, 1)), seed=0)
    drawn = [source.describe(n) for n in range(3000)]
    share = np.mean([name == "a" for name, _ in drawn])
    assert share == pytest.approx(1 / 3, abs=0.03)
    centres = np.array([centre for _, centre in drawn])
    assert centres.min(axis=0).tolist() == [2, 2, 2]
    assert centres.max(axis=0).tolist() == [17, 15, 13]
    np.testing.assert_allclose(centres.mean(axis=0), [9.5, 8.5, 7.5], atol=0.4)


def test_balanced_sampling_takes_each_class_equally(cases):
    source = PatchSource(cases, config(sampling="balanced", foreground=0.6), seed=0)
    labels = []
    for n in range(2000):
        name, centre = source.describe(n)
        labels.append(next(each for each in cases if each.name == name).label[centre])
    assert np.mean(np.array(labels) == 2) == pytest.approx(0.3, abs=0.04)
    assert np.mean(np.array(labels) == 1) == pytest.approx(0.3, abs=0.04)


def test_all_arrays_turn_together(cases):
    """The target is a known function of the source, so it must stay one wherever both are moved."""
    source = PatchSource(cases[:1], config((9, 9, 9), augmentation={"flip": ["x", "y", "z"], **TURN}), seed=0)
    largest = cases[0].image.max()
    for n in range(20):
        patch = source[n]
        assert patch["source"].shape == (1, 9, 9, 9)
        inside = patch["mask"] == 1
        np.testing.assert_allclose(patch["target"][inside], -patch["source"][inside] / largest, atol=2e-3)
        assert set(np.unique(patch["mask"])) <= {0.0, 1.0}
        assert set(np.unique(patch["label"])) <= {0, 1, 2}


def test_a_flip_flips(cases):
    plain, flipping = (PatchSource(cases, config(augmentation={"flip": flip}), seed=0) for flip in ([], ["y"]))
    turned = [not same(plain[n], flipping[n]) for n in range(60)]
    assert 15 < sum(turned) < 45
    for n, is_turned in enumerate(turned):
        expected = np.flip(plain[n]["source"], 2) if is_turned else plain[n]["source"]
        assert np.array_equal(flipping[n]["source"], expected)


def test_a_turned_patch_shows_no_edge(tmp_path):
    case = stored(tmp_path, "a", (60, 60, 60))
    np.save(case.folder / "image.npy", np.full((1, 60, 60, 60), 5, np.float32))
    np.save(case.folder / "candidates.npy", np.array([30 * 3600 + 30 * 60 + 30]))
    settings = config((12, 16, 8), augmentation={"rotation": [15, 15, 15], "zoom": 0.2, "probability": 1})
    source = PatchSource([case], settings, seed=0)
    assert all(size > inner for size, inner in zip(enlarged(settings.size, settings.augmentation), (12, 16, 8)))  # noqa: B905
    for n in range(30):
        np.testing.assert_allclose(source[n]["source"], 5, atol=1e-4)


def test_a_dropped_channel_is_its_mean(cases):
    plain, dropping = (PatchSource(cases, config(augmentation=a), seed=0) for a in ({}, {"channel_dropout": {0: 0.5}}))
    dropped = 0
    for n in range(40):
        before, after = plain[n]["source"], dropping[n]["source"]
        gone = not after[0].any()
        dropped += gone
        assert np.array_equal(after[1:], before[1:])
        assert gone or np.array_equal(after[0], before[0])
    assert 10 <= dropped <= 30


@pytest.mark.parametrize("kind", ["noise", "scale", "shift", "contrast", "bias", "channel_shift", "channel_scale"])
def test_changes_of_intensity_leave_target_and_context_alone(cases, tmp_path, kind):
    contexts = {}
    for case in cases:
        contexts[case.name] = tmp_path / f"{case.name}.npy"
        np.save(contexts[case.name], np.full((2, *case.shape), 0.5, np.float32))
    plain = PatchSource(cases, config(), seed=0, contexts=contexts)
    settings = config(augmentation={kind: 0.3, "probability": 1})
    varied = PatchSource(cases, settings, seed=0, contexts=contexts)
    for n in range(5):
        before, after = plain[n], varied[n]
        assert after["source"].shape == (3, 8, 8, 8)
        assert not np.array_equal(before["source"][0], after["source"][0])
        assert np.array_equal(before["source"][1:], after["source"][1:])
        assert np.array_equal(before["target"], after["target"])
        if kind in ("scale", "bias"):  # what multiplies leaves air where it is
            air = before["source"][0] == -3
            np.testing.assert_allclose(after["source"][0][air], -3, atol=1e-5)


def test_the_published_offset_and_factor_are_drawn_for_every_channel_of_every_patch(tmp_path):
    """DeepMedic: I' = (I + N(0, 0.05)) * N(1, 0.01), channel by channel."""
    case = replace(stored(tmp_path, "a", (8, 8, 8)), air=(-3.0, -3.0))
    image = np.zeros((2, 8, 8, 8), np.float32)
    image[:, 4:] = 1.0
    np.save(case.folder / "image.npy", image)
    np.save(case.folder / "candidates.npy", np.array([4 * 64 + 4 * 8 + 4]))
    source = PatchSource([case], config(augmentation={"channel_shift": 0.05, "channel_scale": 0.01}), seed=0)
    patches = np.stack([source[n]["source"] for n in range(400)])
    assert patches.dtype == np.float32
    dark, bright = patches[:, :, :4], patches[:, :, 4:]  # offset * factor, and factor more
    assert max(np.ptp(part, axis=(2, 3, 4)).max() for part in (dark, bright)) < 1e-6
    factors = bright[:, :, 0, 0, 0] - dark[:, :, 0, 0, 0]
    offsets = dark[:, :, 0, 0, 0] / factors
    for values, mean, sd in ((offsets, 0.0, 0.05), (factors, 1.0, 0.01)):
        np.testing.assert_allclose(values.mean(0), mean, atol=4 * sd / np.sqrt(400))
        np.testing.assert_allclose(values.std(0), sd, rtol=0.15)  # four standard errors
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.2
    assert same(source[7], source[7])


def test_the_coil_profile_leans_no_way(tmp_path):
    """MONAI's default draws positive coefficients only: its images are brighter at the same corner every time."""
    case = stored(tmp_path, "a", (16, 16, 16))
    np.save(case.folder / "image.npy", np.full((1, 16, 16, 16), 97, np.float32))
    np.save(case.folder / "candidates.npy", np.array([8 * 256 + 8 * 16 + 8]))
    source = PatchSource([case], config(augmentation={"bias": 0.1, "probability": 1}), seed=0)
    ratios = [np.log((p[0, -1, -1, -1] + 3) / (p[0, 0, 0, 0] + 3)) for p in (source[n]["source"] for n in range(60))]
    assert abs(np.mean(ratios)) < 3 * np.std(ratios) / np.sqrt(60)
    assert min(ratios) < -0.1 < 0.1 < max(ratios)


def test_contexts_follow_the_image_and_stay_aligned(cases, tmp_path):
    contexts = {case.name: tmp_path / f"{case.name}.npy" for case in cases}
    for case in cases:
        np.save(contexts[case.name], np.asarray(case.image) / 1e5)
    source = PatchSource(cases, config(augmentation={"flip": ["x"]}), seed=0, contexts=contexts)
    for n in range(10):
        image, context = source[n]["source"]
        inside = image != -3
        np.testing.assert_allclose(context[inside], image[inside] / 1e5, rtol=1e-6)
        assert (context[~inside] == -1).all()
    np.save(contexts["b"], np.zeros((1, 2, 2, 2), np.float32))
    with pytest.raises(InputError, match="context of case 'b'"):
        PatchSource(cases, config(), seed=0, contexts=contexts)
    with pytest.raises(InputError, match="'c' has no context"):
        PatchSource(cases, config(), seed=0, contexts={"a": contexts["a"], "b": contexts["a"]})


def test_a_volume_smaller_than_the_patch_is_padded(tmp_path):
    source = PatchSource([stored(tmp_path, "a", (12, 12, 12))], config((32, 16, 40)), seed=0)
    patch = source[0]
    assert patch["source"].shape == (1, 32, 16, 40)
    assert patch["source"].min() == -3
    assert patch["mask"].sum() <= 8**3


def test_without_overhang_patches_lie_inside_and_the_drawn_voxel_in_them(tmp_path):
    case = stored(tmp_path, "a")  # (20, 18, 16), the mask begins at 2
    inside, hanging = (PatchSource([case], config(overhang=allowed), seed=0) for allowed in (False, True))
    starts = set()
    for n in range(200):
        (_, middle), (_, drawn) = inside.describe(n), hanging.describe(n)
        first = np.array(middle) - 4
        assert (first >= 0).all()
        assert (first + 8 <= case.shape).all()
        assert (np.abs(np.array(drawn) - middle) <= 4).all()
        assert inside[n]["source"].min() > 0  # air is -3
        starts |= {tuple(first)}
    assert {first[0] for first in starts} == set(range(13))
    assert any((np.array(hanging.describe(n)[1]) < 4).any() for n in range(200))


def test_without_overhang_a_smaller_volume_lies_in_the_middle_of_its_patch(tmp_path):
    case = stored(tmp_path, "a", shape=(20, 18, 16))
    patch = PatchSource([case], config(size=(8, 8, 20), overhang=False), seed=0)[0]
    filled = (patch["source"] > 0).all(axis=(0, 1, 2))
    assert filled.tolist() == [False] * 2 + [True] * 16 + [False] * 2


def test_a_patch_reads_the_patch_alone(tmp_path):
    """A volume of 0.5 GB that exists as a hole in a file: reading it whole would show in the memory of the process."""
    case = stored(tmp_path, "a")
    side = 500
    header = {"descr": "<f4", "fortran_order": False, "shape": (1, side, side, side)}
    with (case.folder / "image.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * side**3)
    tracemalloc.start()
    box = cut(case.image, (250, 250, 250), (32, 32, 32), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert box.shape == (1, 32, 32, 32)
    assert peak < 1e6


def test_what_a_method_needs_must_be_there(cases):
    lacking = [StoredCase(**{**vars(case), "files": case.files - {"target"}}) for case in cases[:1]]
    with pytest.raises(InputError, match="'target'"):
        StreamSource(Paired, [*cases, *lacking], config(), 0)
    with pytest.raises(InputError, match="no case"):
        PatchSource([], config(), 0)
    unlabelled = [StoredCase(**{**vars(case), "classes": ()}) for case in cases]
    with pytest.raises(InputError, match="labelled"):
        PatchSource(unlabelled, config(sampling="balanced"), 0)


class Slow:
    """A source that tells which process cut a patch, and takes its time."""

    def __init__(self, cases):
        self.cases = cases

    def __getitem__(self, n):
        time.sleep(0.05)
        return {"source": np.array([os.getpid()])}


class Pids(NamedTuple):
    source: torch.Tensor


def test_workers_outlive_the_signals_of_a_preempted_group(cases):
    batches = patch_batches(Slow(cases), Pids, batch=1, start=0, stop=8, workers=2)
    pids = {int(next(batches).source), int(next(batches).source)}
    assert os.getpid() not in pids
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert {int(batch.source) for batch in batches} == pids
    for pid in pids:  # and they end with the loop
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}/cmdline") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{pid}/cmdline")


def test_jitter_moves_the_drawn_voxel_within_the_patch_and_is_off_by_default(cases):
    still = PatchConfig(size=(8, 8, 8), sampling="balanced", foreground=1.0)
    moved = still.model_copy(update={"jitter": 0.5})
    hits = {0.0: 0, 0.5: 0}
    for config in (still, moved):
        source = PatchSource(cases, config, seed=4)
        for n in range(60):
            label = source[n]["label"][0]
            assert label.any() or config.jitter
            hits[config.jitter] += int(label[4, 4, 4] > 0)
    assert hits[0.0] == 60
    assert 0 < hits[0.5] < 60
