"""Normalising flows of vectors, such as the codes of an autoencoder: coupling flows of zuko (the extra ``flows``)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from medgen.errors import UsageError

Kind = Literal["spline", "affine", "additive"]

BINS = 8
"""Of a rational-quadratic spline; Durkan et al. 2019, https://arxiv.org/abs/1906.04032."""


def require_zuko() -> None:
    """Refuse a flow of vectors where zuko is not installed.

    Raises:
        UsageError: it is not.
    """
    try:
        import zuko  # noqa: F401
    except ImportError:
        raise UsageError(
            "a flow of vectors needs zuko, which is not installed",
            where="this Python environment",
            fix="pip install 'medgen[flows]'",
        ) from None


class VectorFlow(nn.Module):
    """A density of vectors: a map of them to standard normal ones, as fast one way as the other.

    Couplings, not autoregressive maps: those need one pass a feature for the way back (1.7 s for four vectors of 512).
    Two couplings share a split of the features, drawn at random but the same in each flow. A learnt scale and shift of
    each feature come first, since splines change nothing beyond +-5; without training they are 1 and 0.

    Args:
        features: numbers of a vector, at least 1.
        transforms: couplings; an even number moves every feature equally often.
        hidden: features of the layers of the network of each coupling.
        kind: ``spline`` (neural spline flow), ``affine`` (RealNVP) or ``additive`` (NICE: only the first scale).

    Raises:
        UsageError: zuko is not installed.
    """

    def __init__(
        self,
        features: int,
        transforms: int = 4,
        hidden: tuple[int, ...] = (64, 64),
        kind: Kind = "spline",
    ) -> None:
        super().__init__()
        require_zuko()
        from zuko.flows.coupling import GeneralCouplingTransform
        from zuko.lazy import LazyComposedTransform

        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        order, options = torch.Generator().manual_seed(0), _univariate(kind)
        couplings: list[nn.Module] = []
        for number in range(transforms):
            if not number % 2:
                odd = torch.randperm(features, generator=order, device="cpu") % 2 == 1
            mask = odd if number % 2 else ~odd
            with torch.device(
                "cpu"
            ):  # zuko counts its mask, and on the meta device, where recipes are checked, it cannot
                coupling = GeneralCouplingTransform(features, mask=mask, hidden_features=hidden, **options)
            couplings.append(coupling.to(self.shift.device))
        self.couplings = LazyComposedTransform(*couplings)

    def normalised(self, x: Tensor) -> Tensor:
        """The vectors ``(B, features)`` mapped to standard normal ones."""
        return self._forward(x)[0]

    def inverse(self, z: Tensor) -> Tensor:
        """The vectors ``(B, features)`` that :meth:`normalised` maps to ``z``."""
        with torch.autocast(z.device.type, enabled=False):
            scaled: Tensor = self.couplings().inv(z)
            return (scaled - self.shift) * (-self.log_scale).exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` in nats of vectors ``(B, features)``."""
        z, determinant = self._forward(x)
        normal: Tensor = Normal(0.0, 1.0).log_prob(z).sum(dim=1)  # type: ignore[no-untyped-call]
        return normal + determinant

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors on the normal side, and log-determinants ``(B,)``."""
        with torch.autocast(x.device.type, enabled=False):  # half precision would not do for a sum of logarithms
            z, determinant = self.couplings().call_and_ladj(x * self.log_scale.exp() + self.shift)
            return z, determinant + self.log_scale.sum()


def _univariate(kind: Kind) -> dict[str, Any]:
    """What a coupling does with one feature, and the shapes of its parameters.

    zuko's NICE is affine unless told (its documentation says so in a note).
    """
    from zuko.transforms import AdditiveTransform, MonotonicAffineTransform, MonotonicRQSTransform

    return {
        "spline": {"univariate": partial(MonotonicRQSTransform, slope=1e-3), "shapes": [(BINS,), (BINS,), (BINS - 1,)]},
        "affine": {"univariate": MonotonicAffineTransform, "shapes": [(), ()]},
        "additive": {"univariate": AdditiveTransform, "shapes": [()]},
    }[kind]
