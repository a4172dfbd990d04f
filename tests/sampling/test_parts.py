"""What a network that loses voxels is compared with."""

import pytest
import torch

from medgen.sampling.parts import centre


@pytest.mark.parametrize(
    ("sides", "kept"),
    [
        ((6, 6, 6), (slice(0, 6), slice(0, 6), slice(0, 6))),
        ((2, 4, 6), (slice(2, 4), slice(1, 5), slice(0, 6))),
        ((3, 5, 1), (slice(1, 4), slice(0, 5), slice(2, 3))),  # an odd voxel more is lost at the far side
    ],
)
def test_the_centre_is_where_the_output_lies(sides, kept):
    volume = torch.arange(2 * 3 * 6**3).reshape(2, 3, 6, 6, 6)
    assert torch.equal(centre(volume, torch.zeros(2, 1, *sides)), volume[(..., *kept)])


def test_nothing_is_made_up_around_a_volume():
    with pytest.raises((RuntimeError, IndexError)):
        centre(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 6, 4, 4))
