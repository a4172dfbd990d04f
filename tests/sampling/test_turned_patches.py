"""A turned patch is cut from as much of its surroundings as the turn looks at, and is the same as from all of it."""

import numpy as np
import pytest

from medgen.sampling import augmentation
from medgen.sampling.augmentation import Augmentation, AugmentationConfig, enlarged


@pytest.mark.parametrize(
    ("size", "rotation", "zoom"),
    [
        ((20, 20, 20), (20, 20, 20), 0.2),
        ((9, 16, 1), (0, 0, 30), 0.3),
        ((8, 9, 10), (90, 90, 90), 0.5),
        ((7, 7, 7), (0, 0, 0), 0.5),
    ],
)
def test_the_surroundings_that_are_left_out_change_nothing(size, rotation, zoom, monkeypatch):
    config = AugmentationConfig(rotation=rotation, zoom=zoom, probability=1.0)
    large, chance = enlarged(size, config), np.random.default_rng(0)
    crop = {
        "source": chance.normal(size=(2, *large)).astype(np.float32),
        "label": chance.integers(0, 4, (1, *large)).astype(np.uint8),
    }
    air, seen = np.zeros((2, 1, 1, 1), np.float32), []
    of_the_turn = augmentation._seen_by

    def noted(grid, crop):
        found = of_the_turn(grid, crop)
        seen.append(found["source"].size / crop["source"].size)
        return found

    monkeypatch.setattr(augmentation, "_seen_by", noted)
    few = [Augmentation(config, size)(dict(crop), air, np.random.default_rng(n)) for n in range(6)]
    monkeypatch.setattr(augmentation, "_seen_by", lambda grid, crop: crop)
    whole = [Augmentation(config, size)(dict(crop), air, np.random.default_rng(n)) for n in range(6)]
    for one, other in zip(few, whole, strict=True):
        assert one["source"].shape == (2, *size)
        assert np.allclose(one["source"], other["source"], atol=1e-4)
        assert (one["label"] != other["label"]).mean() < 1e-3  # a place between two voxels may be rounded either way
    assert min(seen) < 0.8
    assert not np.allclose(few[0]["source"], few[1]["source"], atol=0.1)
