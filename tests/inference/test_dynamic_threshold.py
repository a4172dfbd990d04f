"""The dynamic threshold against its definition, written without regard to time, and its cost on a map of noise."""

import numpy as np
import pytest
from scipy import ndimage

from medgen.inference.candidates import find_candidates
from medgen.inference.dynamic_threshold import dynamic_pieces
from medgen.recipe.prediction import DetectionConfig

CUBE = np.ones((3, 3, 3), bool)


def by_definition(work: np.ndarray, least: float, settings: DetectionConfig) -> list[np.ndarray]:
    """The highest value left, all connected above a fraction of it, and again: one label of the whole map for each."""
    found: list[np.ndarray] = []
    taken = np.zeros(work.shape, bool)
    while len(found) < settings.most and (peak := work.max()) >= settings.floor:
        above = work >= peak / np.float32(settings.factor)
        labels, _ = ndimage.label(above, CUBE)
        large = 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= least)
        if not large.size:
            work[above] = 0
            continue
        piece = labels == large[int(np.argmax(ndimage.maximum(work, labels, large)))]
        work[piece] = 0
        if not (ndimage.binary_dilation(piece, CUBE) & taken).any():
            taken |= piece
            found.append(piece)
    return found


def noise(seed: int, shape: tuple[int, int, int], sigma: float) -> np.ndarray:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (1 / (1 + np.exp(-(values / values.std() * 2 - 3)))).astype(np.float32)


@pytest.mark.parametrize("levels", [None, 40, 6])  # few levels: many voxels are equally high
@pytest.mark.parametrize("least", [1.0, 4.0, 11.0, 40.0])
def test_equal_to_the_definition(least: float, levels: int | None) -> None:
    settings = [
        DetectionConfig.model_validate({"class": "tumour", "factor": factor, "most": most, "floor": floor})
        for factor, most, floor in ((2.5, 5, 0.01), (1.2, 50, 0.01), (4.0, 3, 0.1))
    ]
    for seed in range(6):
        image = noise(seed, (18, 20, 7), (0.4, 0.7, 1.2)[seed % 3])
        image = image if levels is None else (np.round(image * levels) / np.float32(levels)).astype(np.float32)
        for each in settings:
            expected = by_definition(image.copy(), least, each)
            pieces = dynamic_pieces(image.copy(), least, each)
            assert len(pieces) == len(expected)
            for piece, other in zip(pieces, expected, strict=True):
                np.testing.assert_array_equal(piece, other)


@pytest.mark.parametrize("sigma", [0, 0.6, (2, 2, 0.5)])
def test_a_map_of_noise_is_labelled_a_few_times_and_not_once_for_each_piece(
    monkeypatch: pytest.MonkeyPatch, sigma: float
) -> None:
    image = noise(0, (192, 192, 19), sigma)
    voxels, label = [], ndimage.label
    monkeypatch.setattr(ndimage, "label", lambda mask, *rest: (voxels.append(mask.size), label(mask, *rest))[1])
    find_candidates(image, (0.5, 0.5, 3.0), DetectionConfig.model_validate({"class": "tumour"}))
    assert sum(voxels) < 40 * image.size
