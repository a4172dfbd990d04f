"""Slices of prepared volumes: what is cut, in which order the axes stand, and what is refused."""

import numpy as np
import pytest
from test_patches import config, stored

from medgen.errors import UsageError
from medgen.sampling.batches import Images
from medgen.sampling.loading import patch_batches
from medgen.sampling.patches import PatchSource
from medgen.sampling.streams import StreamSource


@pytest.fixture
def case(tmp_path):
    return stored(tmp_path, "a", (20, 18, 16))


@pytest.mark.parametrize(("plane", "across"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_a_slice_is_the_plane_of_the_volume_around_its_centre(case, plane, across):
    source = PatchSource([case], config((6, 4), plane=plane), seed=1)
    volume = np.asarray(case.image)
    for n in range(20):
        _, centre = source.describe(n)
        low = [middle - edge // 2 for middle, edge in zip(np.delete(centre, across), (6, 4), strict=True)]
        if min(low) < 0:
            continue
        slab = volume.take(centre[across], 1 + across)
        expected = slab[:, low[0] : low[0] + 6, low[1] : low[1] + 4]
        found = source[n]["source"]
        assert np.array_equal(found[:, : expected.shape[1], : expected.shape[2]], expected)
        assert found.shape == (1, 6, 4)
        assert source[n]["mask"].shape == (1, 6, 4)


def test_centred_slices_differ_in_their_height_alone(case):
    source = PatchSource([case], config((20, 18), sampling="centred"), seed=0)
    centres = np.array([source.describe(n)[1] for n in range(50)])
    assert set(centres[:, 0]) == {10}
    assert set(centres[:, 1]) == {9}
    assert len(set(centres[:, 2])) > 5
    n = 3
    assert np.array_equal(source[n]["source"][0], case.image[0, :, :, centres[n, 2]])


def test_centred_boxes_are_the_middle_of_the_volume(case):
    source = PatchSource([case], config((4, 4, 4), sampling="centred"), seed=0)
    assert np.array_equal(source[7]["source"], case.image[:, 8:12, 7:11, 6:10])


def test_a_batch_of_slices_has_no_axis_across(case):
    source = StreamSource(Images, [case], config((8, 8), augmentation={"flip": ["x"], "noise": 0.1}), 0)
    (batch,) = patch_batches(source, Images, batch=3, start=0, stop=1)
    assert batch.image.shape == (3, 1, 8, 8)
    assert batch.mask.shape == (3, 1, 8, 8)


def test_slices_turn_within_their_plane(case):
    turned = config((8, 8), augmentation={"rotation": [0, 0, 30], "probability": 1.0})
    patch = PatchSource([case], turned, seed=0)[0]["source"]
    assert patch.shape == (1, 8, 8)
    with pytest.raises(UsageError, match=r"rotation must be about z alone"):
        config((8, 8), augmentation={"rotation": [10, 0, 0]})
    assert config((8, 8), plane="sagittal", augmentation={"rotation": [10, 0, 0]}).across == 0


def test_dimensions_and_size_must_agree():
    assert config((8, 8), dimensions=2).box == (8, 8, 1)
    assert config((8, 8), plane="coronal").box == (8, 1, 8)
    with pytest.raises(UsageError, match=r"dimensions is 2, and size has 3 edges"):
        config((8, 8, 8), dimensions=2)
