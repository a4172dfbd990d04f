"""Surface distances in mm: by hand, against DeepMind's surface-distance, and where MONAI's summary drops a miss."""

import math
import warnings

import numpy as np
import pytest

from medgen.metrics.statistics import summarise
from medgen.metrics.surface import hd95, nsd, surface_distances, surface_scores

THICK = (0.5, 0.5, 3.0)
SHAPE = (60, 60, 14)


def voxel(*place, shape=(8, 8, 8)):
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return mask


def ball(centre, radius):
    x, y, z = ((np.arange(n) - c) * s for n, c, s in zip(SHAPE, centre, THICK, strict=True))
    return x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2 <= radius**2


def test_one_voxel_against_its_neighbour_by_hand():
    """A voxel has eight elements at its corners; a neighbour shares four of them and is a voxel away with four."""
    one, above, beside = voxel(3, 3, 3), voxel(3, 3, 4), voxel(4, 3, 3)
    assert hd95(one, above, THICK) == pytest.approx(3)
    assert nsd(one, above, THICK, tolerance=2) == pytest.approx(0.5)
    assert nsd(one, above, THICK, tolerance=3) == pytest.approx(1)
    assert hd95(one, beside, THICK) == pytest.approx(0.5)
    assert nsd(one, beside, THICK, tolerance=2) == pytest.approx(1)
    assert nsd(one, beside, THICK, tolerance=0.4) == pytest.approx(0.5)


def test_the_area_of_one_voxel_by_hand():
    """Marching cubes cuts each of the eight corners by a triangle with half a voxel along each axis."""
    surfaces = surface_distances(voxel(3, 3, 3), voxel(3, 3, 4), THICK)
    edges = np.array([[-0.25, 0.25, 0], [-0.25, 0, 1.5]])
    triangle = np.linalg.norm(np.cross(*edges)) / 2
    assert surfaces.truth[1].sum() == pytest.approx(8 * triangle)
    assert surfaces.truth[0].tolist() == pytest.approx([0] * 4 + [3] * 4)


def test_elements_count_by_area_and_not_by_number():
    """A needle on a plate: more than 5 % of the border voxels, less than 5 % of the area."""
    plate = np.zeros((40, 40, 20), dtype=bool)
    plate[10:30, 10:30, 3] = True
    needle = plate.copy()
    needle[20, 20, 4:18] = True
    spacing = (2.0, 2.0, 0.25)
    assert hd95(needle, plate, spacing) == 0
    assert hd95(needle, plate, (0.25, 0.25, 2.0)) > 10


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ((30, 30, 7, 9.0), (26, 33, 8, 8.0), (4.031128874149275, 0.5982275790658723, 0.4208752926540571)),
        (None, None, (3.0, 0.8899648443300144, 0.7484405238927249)),
    ],
    ids=["balls", "blocks at the border"],
)
def test_equal_to_deepmind(truth, prediction, expected):
    """Values of surface-distance 0.1 (PyPI), with slices six times as thick as the voxels are wide."""
    if truth is None:
        true, predicted = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
        true[:5, 10:20, :3] = True
        predicted[:9, 12:20, :2] = True
    else:
        true, predicted = (ball(each[:3], each[3]) for each in (truth, prediction))
    assert hd95(predicted, true, THICK) == pytest.approx(expected[0], abs=1e-6)
    assert nsd(predicted, true, THICK, tolerance=2) == pytest.approx(expected[1], abs=1e-6)
    assert nsd(predicted, true, THICK, tolerance=1) == pytest.approx(expected[2], abs=1e-6)


def test_neither_order_nor_the_rest_of_the_image_matters():
    one, other = ball((30, 30, 7), 9.0), ball((26, 33, 8), 8.0)
    scores = surface_scores(one, other, THICK)
    assert surface_scores(other, one, THICK) == pytest.approx(scores)
    larger = [np.pad(mask, 5) for mask in (one, other)]
    assert surface_scores(*larger, THICK) == pytest.approx(scores)
    assert surface_scores(*(np.asfortranarray(mask) for mask in (one, other)), THICK) == pytest.approx(scores)


def test_empty_masks():
    one, empty = voxel(1, 1, 1, shape=(3, 4, 12)), np.zeros((3, 4, 12), dtype=bool)
    for pair in ((one, empty), (empty, one)):
        assert hd95(*pair, (1, 1, 1)) == 13
        assert hd95(*pair, (2, 2, 2)) == 26
        assert nsd(*pair, (1, 1, 1)) == 0
    assert math.isnan(hd95(empty, empty, (1, 1, 1)))
    assert math.isnan(nsd(empty, empty, (1, 1, 1)))
    assert surface_distances(one, empty, (1, 1, 1)) is None


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="bool"):
        hd95(np.full((4, 4, 4), 0.5), np.ones((4, 4, 4), dtype=bool), (1, 1, 1))


def test_monai_drops_a_miss_and_we_do_not():
    """One hit 2 mm off and one miss: MONAI's mean is that of the hit, ours holds the miss."""
    import torch
    from monai.metrics import HausdorffDistanceMetric

    truth = np.zeros((3, 4, 12), dtype=bool)
    truth[1, 1, 2] = True
    hit, miss = np.roll(truth, 2, axis=2), np.zeros_like(truth)
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    for prediction in (hit, miss):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric(*(torch.from_numpy(mask[None, None]) for mask in (prediction, truth)))
    assert metric.aggregate().item() == 2
    ours = [hd95(prediction, truth, (1, 1, 1)) for prediction in (hit, miss)]
    assert ours == [2, 13]
    assert summarise(ours)["mean"] == 7.5
    assert summarise(ours)["n"] == 2
