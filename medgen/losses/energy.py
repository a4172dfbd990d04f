"""The energy distance of two sets of images: small sets, no features, no assumption about their distribution."""

from __future__ import annotations

import torch
from torch import Tensor


def energy_distance(real: Tensor, generated: Tensor) -> Tensor:
    """``2 E|x - y| - E|x - x'| - E|y - y'|`` (Székely & Rizzo 2013, eq. 1) over all pairs of images.

    Args:
        real: ``(N, ...)``; the distance of two images is the root of their mean squared difference.
        generated: ``(M, ...)``.

    Returns:
        A scalar, 0 for equal sets. Samples that are all alike lack their last term, so that it is large.

    >>> two = torch.tensor([[[0.0]], [[1.0]]])
    >>> energy_distance(two, two[:1].expand(2, 1, 1)).item()
    0.5
    """
    one, two = (each.float().flatten(1) / each[0].numel() ** 0.5 for each in (real, generated))
    return 2 * torch.cdist(one, two).mean() - torch.cdist(one, one).mean() - torch.cdist(two, two).mean()
