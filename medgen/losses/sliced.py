"""The sliced Wasserstein distance of two sets of images (Rabin et al. 2011; Bonneel et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor


def sliced_wasserstein(real: Tensor, fake: Tensor, *, directions: int = 256, seed: int = 0) -> Tensor:
    """Mean over random directions of the Wasserstein-1 distance between the projections of both sets.

    It grows with the distance of the sets and shrinks with their size, so compare sets of one size alone.

    Args:
        real: (N, ...) images.
        fake: (N, ...), as many.
        directions: unit vectors, the same for every call with one seed and size of image.
        seed: of the directions.

    Returns:
        A scalar in the unit of the images, times the number of voxels to one half of its power so that it does not
        fall with the size of the image.

    >>> zero = torch.zeros(4, 2, 8)
    >>> sliced_wasserstein(zero, zero).item()
    0.0
    """
    flat_real, flat_fake = real.flatten(1).float(), fake.flatten(1).float()
    noise = torch.randn(directions, flat_real.shape[1], generator=torch.Generator().manual_seed(seed))
    unit = torch.nn.functional.normalize(noise, dim=1).to(flat_real.device)
    one, two = ((flat @ unit.T).sort(dim=0).values for flat in (flat_real, flat_fake))
    return (one - two).abs().mean()
