"""Losses that compare two domains of images."""

from __future__ import annotations

import torch
from torch import Tensor

SOURCE, TARGET = 1, 0
"""Classes of a domain discriminator."""


def domain_cross_entropy(logits: Tensor, sources: int, share: Tensor | None = None) -> dict[str, Tensor]:
    """``L_adv`` of Kamnitsas et al. 2017: the cross-entropy of the domain, half of it for each.

    Args:
        logits: (B, 2 K, X, Y, Z), raw, two for each of K classes; the first ``sources`` of the batch are of the source
            domain.
        sources: 1 to B - 1.
        share: (B, K, X, Y, Z) in [0, 1], how much of a voxel belongs to each class. Every class then counts alike in
            each domain, however few voxels it has; one with less than a voxel counts less. Without it K is 1.

    Returns:
        ``domain_source`` and ``domain_target``, scalars in nats that sum to log 2 for equal logits.
    """
    return _halves(logits, sources, share, (1.0, 0.0))


def domain_confusion(logits: Tensor, sources: int, share: Tensor | None = None) -> dict[str, Tensor]:
    """The cross-entropy of the discriminator to "either domain" (Tzeng et al. 2015, arXiv 1510.02192, eq. 3).

    It is least, log 2 in all, where the discriminator cannot tell: features that were pushed past each other, which the
    negative cross-entropy rewards, cost as much as features that were left apart. Arguments and result as for
    :func:`domain_cross_entropy`.
    """
    return _halves(logits, sources, share, (0.5, 0.5))


def _halves(logits: Tensor, sources: int, share: Tensor | None, wanted: tuple[float, float]) -> dict[str, Tensor]:
    """The cross-entropy of both domains to the shares ``wanted``: of the right domain, and of the other one."""
    if share is None:
        share = torch.ones_like(logits[:, :1])
    likely = logits.float().reshape(len(logits), -1, 2, *logits.shape[2:]).log_softmax(2)
    parts = {"domain_source": (slice(sources), SOURCE), "domain_target": (slice(sources, None), TARGET)}
    losses = {}
    for name, (part, domain) in parts.items():
        right, wrong = likely[part, :, domain], likely[part, :, 1 - domain]
        entropy, weight = -(wanted[0] * right + wanted[1] * wrong), share[part].float()
        axes = (0, *range(2, weight.dim()))
        losses[name] = 0.5 * ((weight * entropy).sum(axes) / weight.sum(axes).clamp_min(1.0)).mean()
    return losses
