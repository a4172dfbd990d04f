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
