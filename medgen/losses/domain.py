"""Losses that compare two domains of images."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

SOURCE, TARGET = 1, 0
"""Classes of a domain discriminator."""


def domain_cross_entropy(logits: Tensor, sources: int) -> dict[str, Tensor]:
    """``L_adv`` of Kamnitsas et al. 2017: the cross-entropy of the domain, half of it for each.

    Args:
        logits: (B, 2, X, Y, Z), raw; the first ``sources`` of the batch are of the source domain.
        sources: 1 to B - 1.

    Returns:
        ``domain_source`` and ``domain_target``, scalars in nats that sum to log 2 for equal logits.
    """
    parts = {"domain_source": (logits[:sources], SOURCE), "domain_target": (logits[sources:], TARGET)}
    return {
        name: -0.5 * functional.log_softmax(part.float(), 1)[:, domain].mean() for name, (part, domain) in parts.items()
    }
