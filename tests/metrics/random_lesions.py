"""Random maps of candidates and lesions, for comparisons with picai_eval."""

import numpy as np
from scipy import ndimage

SHAPE = (20, 20, 6)


def random_maps(seed):
    """Blobs of truth, and candidates that cover, shift, split, join or invent them; few distinct confidences."""
    generator = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(generator.normal(size=SHAPE), 1.2) > generator.uniform(0.12, 0.5)
    moved = np.roll(truth, generator.integers(-1, 2, 3), axis=(0, 1, 2))
    other = ndimage.gaussian_filter(generator.normal(size=SHAPE), 1.0) > generator.uniform(0.2, 0.4)
    found = (moved & (generator.random(SHAPE) < generator.uniform(0.5, 1))) | other
    pieces, count = ndimage.label(found, np.ones((3, 3, 3)))
    sure = np.concatenate([[0], generator.integers(1, 10, count) / 10]).astype(np.float32)
    return sure[pieces], truth.astype(np.uint8)
