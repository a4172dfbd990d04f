"""Pictures come back as they were, and their length does not tell what is on them."""

import io

import numpy as np
import pytest
from skimage.io import imread

from medgen.reader.png import encoded


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (300, 301)])
def test_another_program_reads_the_same_grey_levels(size):
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    assert np.array_equal(imread(io.BytesIO(encoded(picture)), plugin="pil"), picture)


def test_the_length_depends_on_the_size_alone():
    rough, flat = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    assert len(encoded(rough)) == len(encoded(flat))
