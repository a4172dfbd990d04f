"""Copies of a patient whose tumour looks different: the head, the grid and the labels stay."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from medgen.cases import Case
from medgen.volume import Volume, read_volume, write_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"
SPACING = (2.0, 2.0, 2.0)


def patient():
    """A brain with a round tumour, bright in FLAIR, whose middle is a part of its own."""
    axes = np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij")
    brain = sum(axis**2 for axis in axes) < 18**2
    away = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(axes, (4, 0, 2), strict=True)))
    noise = np.random.default_rng(0).normal(0, 10, (2, *brain.shape))
    flair, t1c = 100 * brain + 60 * (away < 10) + noise[0] * brain, 200 * brain + noise[1] * brain
    label = np.where(away < 4, 1, np.where(away < 10, 2, 0))
    roles = ("flair", "t1c", "label", "mask")
    return {role: each.astype(np.float32) for role, each in zip(roles, (flair, t1c, label, brain), strict=True)}


def test_only_the_tumour_changes():
    from appearance import another_look

    arrays = patient()
    far = ~np.isin(arrays["label"], (1, 2))
    far[far] = np.linalg.norm(np.argwhere(far) - (23.5, 19.5, 21.5), axis=1) > 14
    for number in range(4):
        found = another_look(arrays, SPACING, np.random.default_rng(number))
        again = another_look(arrays, SPACING, np.random.default_rng(number))
        assert found.keys() == {"flair", "t1c"}
        for role, image in found.items():
            assert np.array_equal(image, again[role])
            assert np.allclose(image[far], arrays[role][far], atol=1e-3)
            assert not np.allclose(image[~far], arrays[role][~far], atol=2)


def test_some_have_a_cavity_as_dark_as_fluid():
    from appearance import another_look

    arrays = patient()
    inside = arrays["label"] > 0
    shares = []
    for number in range(24):
        t1c = another_look(arrays, SPACING, np.random.default_rng(number))["t1c"]
        shares.append(float((uniform_filter(t1c, 3)[inside] < 200 - 12).mean()))  # 6 standard deviations of the mean
    assert 4 <= sum(share > 0.01 for share in shares) <= 20


def test_the_copies_are_cases_on_the_same_grid_with_the_same_labels(tmp_path):
    from appearance import copies_of

    grid = np.diag([*SPACING, 1.0])
    images = {role: tmp_path / f"{role}.nii.gz" for role in patient()}
    for role, data in patient().items():
        kind = "label" if role in ("label", "mask") else "scalar"
        write_volume(Volume(data[None], grid), images[role], kind=kind)
    first, second = copies_of(Case("ann", "train", None, images), 2, tmp_path / "copies", seed=3)
    assert (first.name, second.name, first.split) == ("ann_0", "ann_1", "train")
    for case in (first, second):
        assert (case.path("label"), case.path("mask")) == (images["label"], images["mask"])
    again, _ = copies_of(Case("ann", "train", None, images), 2, tmp_path / "copies", seed=3)  # a fold that goes on
    assert again == first
    one, two = (read_volume(case.path("flair")) for case in (first, second))
    assert np.array_equal(one.affine, grid)
    assert not np.allclose(one.data, two.data, atol=5)


def test_a_patient_without_a_tumour_is_refused_by_name(tmp_path):
    from appearance import copies_of

    images = {role: tmp_path / f"{role}.nii.gz" for role in patient()}
    for path in images.values():
        write_volume(Volume(np.zeros((1, 8, 8, 8), np.float32), np.diag([*SPACING, 1.0])), path, kind="scalar")
    with pytest.raises(SystemExit, match=r"label\.nii\.gz: there is no tumour"):
        copies_of(Case("ann", "train", None, images), 1, tmp_path / "copies", seed=0)
