"""Adversarial losses on raw logits.

The generator asks for ``real=True`` on the logits of its own output (the non-saturating form). MONAI's
``PatchAdversarialLoss`` is not used: it puts an activation before the criterion, which all but removes the
gradient of confident logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    """Mean over elements of ``-log sigmoid(logits)`` if real, else ``-log(1 - sigmoid(logits))``, in nats.

    Args:
        logits: raw discriminator output, any shape; no sigmoid has been applied.
        real: what the logits should say.

    Returns:
        A scalar, at least 0; log 2 for logits of 0. Nie et al. 2017, arXiv 1612.05362 (L_D and L_ADV).

    >>> round(binary_cross_entropy(torch.zeros(4), real=True).item(), 4)
    0.6931
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.softplus(-logits if real else logits).mean()


def least_squares(logits: Tensor, *, real: bool) -> Tensor:
    """Mean over elements of the squared distance of the logits to 1 if real, else to 0.

    Args:
        logits: raw discriminator output, any shape.
        real: what the logits should say.

    Returns:
        A scalar, at least 0. Mao et al. 2017, arXiv 1611.04076, eq. 9 without its factor of one half.

    >>> least_squares(torch.tensor([1.0, 3.0]), real=True).item()
    2.0
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (logits - float(real)).square().mean()
