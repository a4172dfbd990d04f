"""Adversarial losses on raw logits: what a discriminator and a generator minimise, by the name of the objective.

A discriminator has two terms, of real and of generated images; a generator has one. The gradient penalties that some
objectives add are in :mod:`medgen.losses.penalties`. MONAI's ``PatchAdversarialLoss`` is not used: it puts an
activation before the criterion, which all but removes the gradient of confident logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LOG2 = math.log(2)


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
    logits = _single(logits)
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
    return (_single(logits) - float(real)).square().mean()


def hinge(logits: Tensor, *, real: bool) -> Tensor:
    """Mean over elements of ``max(0, 1 - logits)`` if real, else ``max(0, 1 + logits)``; for a discriminator.

    Args:
        logits: raw discriminator output, any shape.
        real: what the logits should say.

    Returns:
        A scalar, at least 0. Lim & Ye 2017, arXiv 1705.02894, eq. 4; Miyato et al. 2018, arXiv 1802.05957, eq. 16.

    >>> hinge(torch.tensor([0.0, 3.0]), real=True).item()
    0.5
    """
    logits = _single(logits)
    return functional.relu(1 - logits if real else 1 + logits).mean()


def critic_value(logits: Tensor, *, real: bool) -> Tensor:
    """Minus the mean of the logits if real, else their mean: both terms together are minus the critic's distance.

    Args:
        logits: raw output of the critic, any shape.
        real: what the logits should say.

    Returns:
        A scalar of any sign. Arjovsky et al. 2017, arXiv 1701.07875, eq. 2.

    >>> critic_value(torch.tensor([1.0, 3.0]), real=True).item()
    -2.0
    """
    mean = _single(logits).mean()
    return -mean if real else mean


class Objective(NamedTuple):
    """What the two networks minimise.

    Attributes:
        real: of the discriminator's logits of real images, to a scalar.
        fake: of the discriminator's logits of generated images, to a scalar.
        generator: of the discriminator's logits of generated images, to a scalar.
        chance: the sum of ``real`` and ``fake`` while the discriminator cannot tell them apart; None where its scale
            is arbitrary, so that the sum means nothing.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    chance: float | None


def _minimised_by_saturation(logits: Tensor) -> Tensor:
    return -binary_cross_entropy(logits, real=False)


def _halved(logits: Tensor, *, real: bool) -> Tensor:
    return 0.5 * least_squares(logits, real=real)


def _of(loss: Callable[..., Tensor], *, real: bool) -> Callable[[Tensor], Tensor]:
    return partial(loss, real=real)


MINIMAX = Objective(
    _of(binary_cross_entropy, real=True), _of(binary_cross_entropy, real=False), _minimised_by_saturation, 2 * _LOG2
)
"""Goodfellow et al. 2014 (arXiv 1406.2661), eq. 1: the generator minimises ``E log(1 - D(G(z)))``. Where the
discriminator is sure, it gets next to no gradient. (``compare_gan``: minus the term of the discriminator; the same.)"""
NON_SATURATING = MINIMAX._replace(generator=_of(binary_cross_entropy, real=True))
"""Goodfellow et al. 2014, section 3: the generator minimises ``-E log D(G(z))``."""
LEAST_SQUARES = Objective(_of(_halved, real=True), _of(_halved, real=False), _of(_halved, real=True), 0.25)
"""LSGAN, Mao et al. 2017 (arXiv 1611.04076), eq. 9, with its factor of one half: targets 1, 0 and 1."""
WASSERSTEIN = Objective(_of(critic_value, real=True), _of(critic_value, real=False), _of(critic_value, real=True), None)
"""WGAN, Arjovsky et al. 2017 (arXiv 1701.07875): of a critic whose slope is bounded, by clipping or a penalty."""
HINGE = Objective(_of(hinge, real=True), _of(hinge, real=False), _of(critic_value, real=True), 2.0)
"""Lim & Ye 2017 (arXiv 1705.02894), eq. 4: the generator minimises ``-E D(G(z))``."""


def began_discriminator(real_error: Tensor, fake_error: Tensor, balance: float) -> dict[str, Tensor]:
    """BEGAN, Berthelot et al. 2017 (arXiv 1703.10717), section 3.4: ``L(x) - k L(G(z))``.

    Args:
        real_error: reconstruction errors of real images, any shape.
        fake_error: of generated images. The generator minimises the mean of these.
        balance: k, in [0, 1].

    Returns:
        The two terms, ``real`` and ``fake``.
    """
    return {"real": _single(real_error).mean(), "fake": -balance * _single(fake_error).mean()}


def began_balance(balance: float, real_error: float, fake_error: float, *, diversity: float, rate: float) -> float:
    """The next k of BEGAN, in [0, 1]: ``k + rate * (diversity * L(x) - L(G(z)))``, section 3.4.

    ``compare_gan`` does not keep it within [0, 1]; the paper does, and so does this.

    Args:
        balance: k.
        real_error: mean error of real images.
        fake_error: mean error of generated images.
        diversity: gamma, the ratio of the two errors that is aimed at.
        rate: lambda_k.

    >>> round(began_balance(0.5, 1.0, 0.25, diversity=0.75, rate=0.1), 3)
    0.55
    """
    return min(1.0, max(0.0, balance + rate * (diversity * real_error - fake_error)))


def began_convergence(real_error: float, fake_error: float, *, diversity: float) -> float:
    """BEGAN's measure of convergence, ``L(x) + |diversity * L(x) - L(G(z))|`` (section 3.4.1); less is better.

    >>> began_convergence(1.0, 0.25, diversity=0.75)
    1.5
    """
    return real_error + abs(diversity * real_error - fake_error)


def _single(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
