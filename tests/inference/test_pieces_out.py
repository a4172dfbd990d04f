"""Which connected pieces of a class stay in a label map, beside MONAI's transforms, and what is said of the rest."""

import numpy as np
import pytest
import torch

from medgen.errors import UsageError
from medgen.inference.labels import chosen_pieces
from medgen.recipe.prediction import InferenceConfig
from medgen.recipe.settings import load_recipe
from medgen.volume import Volume

CLASSES = ("gland", "tumour")


def blobs(seed: int = 0) -> Volume:
    """Random pieces of two classes; voxels of 8 mm3."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(2, 24, 24, 24)), (0, 1.2, 1.2, 1.2))
    values = np.where(noise[0] > 0.2, 1, np.where(noise[1] > 0.2, 2, 0)).astype(np.uint8)
    return Volume(values[None], np.diag([2.0, 2.0, 2.0, 1.0]))


def settings(**pieces) -> InferenceConfig:
    return InferenceConfig(pieces=pieces)


def test_the_largest_piece_is_that_of_monai():
    from monai.transforms import KeepLargestConnectedComponent

    label = blobs()
    found, _ = chosen_pieces(label, CLASSES, settings(gland={"keep": "largest"}, tumour={"keep": "largest"}))
    expected = KeepLargestConnectedComponent(applied_labels=[1, 2], is_onehot=False, connectivity=3)(
        torch.from_numpy(label.data.copy())  # MONAI writes into its input
    )
    assert np.array_equal(found.data, expected.numpy())
    assert 100 < np.count_nonzero(found.data) < np.count_nonzero(label.data)


def test_small_pieces_are_those_of_monai():
    """MONAI counts voxels: what has fewer than 6 goes, as what has less than 0.048 ml does."""
    from monai.transforms import RemoveSmallObjects

    label = blobs(1)
    found, _ = chosen_pieces(label, CLASSES, settings(tumour={"minimum_ml": 0.048}))
    tumour = torch.from_numpy((label.data == 2).astype(np.uint8))
    expected = RemoveSmallObjects(min_size=5, connectivity=3)(tumour)  # removes what has exactly 5, too
    assert np.array_equal(found.data == 2, expected.numpy() > 0)
    assert np.array_equal(found.data == 1, label.data == 1)
    assert np.count_nonzero(found.data == 2) < np.count_nonzero(label.data == 2)


def test_holes_are_those_of_monai():
    from monai.transforms import FillHoles

    label = blobs(2)
    label = label.with_data(np.where(label.data == 2, 0, 1).astype(np.uint8))
    found, (note,) = chosen_pieces(label, CLASSES, settings(gland={"fill": "holes"}))
    expected = FillHoles(applied_labels=[1], connectivity=1)(torch.from_numpy(label.data.copy()))
    assert np.array_equal(found.data, np.asarray(expected))
    filled = np.count_nonzero(found.data) - np.count_nonzero(label.data)
    assert filled > 0
    assert note == f"gland: {filled * 0.008:.3g} ml filled that it encloses"


def tube() -> np.ndarray:
    """A tube of 3 x 3 x 4 voxels around a bore of 4, in which the first is another class."""
    values = np.zeros((1, 7, 7, 8), np.uint8)
    values[0, 2:5, 2:5, 2:6] = 1
    values[0, 3, 3, 2:6] = [2, 0, 0, 0]
    return values


@pytest.mark.parametrize("turned", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_a_ring_encloses_in_a_slice_what_is_open_at_the_end(turned):
    label = Volume(np.ascontiguousarray(tube().transpose(0, *turned)), np.diag([10.0, 10.0, 10.0, 1.0]))
    untouched, notes = chosen_pieces(label, CLASSES, settings(gland={"fill": "holes"}))
    assert (np.array_equal(untouched.data, label.data), notes) == (True, ())
    found, notes = chosen_pieces(label, CLASSES, settings(gland={"fill": "rings"}))
    assert notes == ("gland: 3 ml filled that it encloses",)
    assert (np.count_nonzero(found.data == 1), np.count_nonzero(found.data == 2)) == (35, 1)


def test_a_hole_of_a_piece_that_goes_is_not_filled():
    values = np.zeros((1, 12, 5, 5), np.uint8)
    values[0, :3, :3, :3] = 1
    values[0, 1, 1, 1] = 0
    values[0, 6:11] = 1
    label = Volume(values, np.diag([10.0, 10.0, 10.0, 1.0]))
    found, notes = chosen_pieces(label, CLASSES, settings(gland={"keep": "largest", "fill": "rings"}))
    assert not found.data[0, :3].any()
    assert notes == ("gland: 1 of 2 pieces removed, 26 of 151 ml",)


def test_both_rules_and_the_notes():
    values = np.zeros((1, 9, 9, 9), np.uint8)
    values[0, 0, 0, :3] = 1
    values[0, 4, 4, :5] = 1
    values[0, 8, 8, :2] = 1
    values[0, 8, 0, :2] = 2
    label = Volume(values, np.diag([10.0, 10.0, 10.0, 1.0]))  # 1 ml a voxel
    found, notes = chosen_pieces(label, CLASSES, settings(gland={"keep": "largest"}, tumour={"minimum_ml": 3}))
    assert notes == (
        "gland: 2 of 3 pieces removed, 5 of 10 ml",
        "tumour: 1 of 1 pieces removed, 2 of 2 ml",
    )
    assert np.count_nonzero(found.data) == 5
    assert np.count_nonzero(label.data) == 12  # the input is left alone
    all_gone, _ = chosen_pieces(label, CLASSES, settings(gland={"keep": "largest", "minimum_ml": 6}))
    assert not (all_gone.data == 1).any()


def test_a_class_without_a_rule_has_that_of_minimum_ml():
    config = InferenceConfig(minimum_ml=0.5, pieces={"gland": {"keep": "largest"}})
    assert config.pieces_of("tumour").minimum_ml == 0.5
    assert config.pieces_of("gland").minimum_ml == 0.0


def test_without_rules_nothing_changes():
    label = blobs()
    assert chosen_pieces(label, CLASSES, InferenceConfig()) == (label, ())


def test_a_rule_for_a_class_that_is_not_there_is_refused():
    recipe = {
        "method": "segmentation",
        "data": {"inputs": ["t1"], "labels": "label", "classes": {"gland": [1]}},
        "inference": {"pieces": {"glnd": {"keep": "largest"}}},
    }
    with pytest.raises(UsageError, match=r"inference\.pieces names the class 'glnd', and data.classes has: gland"):
        load_recipe(recipe)
