"""Layers of flows beside those of torchflows, with the same networks; run by hand: torchflows is no dependency.

    pip install torchflows==1.2.1
    python -m tests.networks.against_torchflows

What it printed (2026-11-29, torch 2.13.0, float64, largest absolute difference of log-densities):

    additive couplings: 0.0e+00
    affine couplings: 3.2e-08
    actnorm: 3.6e-15

torchflows adds 1e-10 to every scale, takes half of the raw number for its logarithm, and the unbiased deviation.
"""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from medgen.networks.couplings import Coupling
from medgen.networks.invertible import ActNorm, Chain

FEATURES, LAYERS = 6, 3


class Borrowed(nn.Module):
    """The network of one of our couplings in place of one of theirs."""

    def __init__(self, coupling: Coupling) -> None:
        super().__init__()
        self.coupling = coupling

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters of each moved feature: raw log-scale, unless additive, and shift."""
        scale, shift = (each[..., 0, 0] for each in self.coupling._affine(kept[:, :, None, None]))
        return shift[..., None] if self.coupling.additive else torch.stack([2 * scale, shift], dim=-1)


def density(z: Tensor, determinant: Tensor) -> Tensor:
    """Of normal codes."""
    return Normal(0, 1).log_prob(z.flatten(1)).sum(dim=1) + determinant


def couplings(*, additive: bool) -> float:
    """Largest difference over a stack that keeps the one half and the other in turn."""
    from torchflows.bijections.base import BijectiveComposition
    from torchflows.bijections.finite.autoregressive.conditioning.coupling_masks import Coupling as Mask
    from torchflows.bijections.finite.autoregressive.layers import AffineCoupling, ShiftCoupling

    first, theirs, ours = torch.arange(FEATURES) < FEATURES // 2, [], []
    for number in range(LAYERS):
        flipped = bool(number % 2)
        layer = Coupling(2, FEATURES, "channels", flipped=flipped, width=5, additive=additive).double()
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)
        mask = Mask((FEATURES,), ~first if flipped else first)
        other = (ShiftCoupling if additive else AffineCoupling)((FEATURES,), coupling=mask)
        other.conditioner_transform = Borrowed(layer)
        ours.append(layer)
        theirs.append(other)
    x = torch.randn(50, FEATURES, dtype=torch.float64)
    told = density(*BijectiveComposition(theirs).double().forward(x))
    return float((density(*Chain(ours)(x[:, :, None, None])) - told).abs().max())


def actnorm() -> float:
    """Largest difference after the first training batch, ours with the unbiased deviation too."""
    from torchflows.bijections.finite.autoregressive.layers import ActNorm as Theirs

    x = 5 + 3 * torch.randn(50, FEATURES, dtype=torch.float64)
    ours, theirs = ActNorm(2, FEATURES).double(), Theirs((FEATURES,)).double()
    ours.train()(x[:, :, None, None])
    ours.log_spread += 0.5 * math.log(len(x) / (len(x) - 1))
    told = density(*theirs.train().forward(x))
    return float((density(*ours(x[:, :, None, None])) - told).abs().max())


def main() -> None:
    """Print the differences."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with torch.no_grad():
        print(f"additive couplings: {couplings(additive=True):.1e}")
        print(f"affine couplings: {couplings(additive=False):.1e}")
        print(f"actnorm: {actnorm():.1e}")


if __name__ == "__main__":
    main()
