"""Where they overlap, medgen's flows and zuko's have the same log-density with the same weights."""

import pytest
import torch
from torch import nn
from torch.distributions import AffineTransform, Normal

from medgen.networks.couplings import BOUND, Coupling
from medgen.networks.flows import DenseFlow
from medgen.networks.invertible import Chain

coupling = pytest.importorskip("zuko.flows.coupling")
zuko_transforms = pytest.importorskip("zuko.transforms")

FEATURES, WIDTH = 6, 5


def copied(source: list[nn.Module], target: nn.Module, order: torch.Tensor | None = None) -> None:
    """Dense weights, or the middle of the kernels of convolutions, which is all of them on one voxel."""
    linear = [layer for layer in target.modules() if hasattr(layer, "weight")]
    with torch.no_grad():
        for number, (one, other) in enumerate(zip(source, linear, strict=True)):
            weight = one.weight
            if weight.dim() == 4:
                weight = weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
            last = order is not None and number + 1 == len(linear)
            other.weight.copy_(weight[order] if last else weight)
            other.bias.copy_(one.bias[order] if last else one.bias)


def log_prob(z: torch.Tensor, determinant: torch.Tensor) -> torch.Tensor:
    return Normal(0, 1).log_prob(z.flatten(1)).sum(dim=1) + determinant


def test_nice():
    """zuko's class ``NICE`` is affine; these are its additive transforms."""
    torch.manual_seed(0)
    ours = DenseFlow(1, (2, FEATURES // 2), couplings=3, width=WIDTH, hidden=2).double()
    theirs = coupling.NICE(
        FEATURES, transforms=3, univariate=zuko_transforms.AdditiveTransform, shapes=[()], hidden_features=(WIDTH,) * 2
    ).double()
    for number, layer in enumerate(list(ours.chain.layers)[:3]):
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)
        dense = [each for each in layer.network if isinstance(each, nn.Linear)]
        transform = theirs.transform.transforms[number]
        transform.mask.copy_(torch.arange(FEATURES) % 2 == number % 2)  # ours keeps the even ones first
        copied(dense, transform.hyper)
    x = torch.randn(4, FEATURES, dtype=torch.float64)
    told = log_prob(*ours(x.reshape(4, 1, 2, -1)))
    assert torch.allclose(told, theirs().log_prob(x), atol=1e-10)


def test_realnvp():
    torch.manual_seed(0)
    layers = [Coupling(2, FEATURES, "channels", flipped=bool(n % 2), width=WIDTH) for n in range(3)]
    ours = Chain(layers).double()

    def affine(shift: torch.Tensor, raw: torch.Tensor) -> torch.distributions.Transform:
        return AffineTransform(shift, (BOUND * torch.tanh(raw / BOUND)).exp())

    theirs = coupling.RealNVP(FEATURES, transforms=3, univariate=affine, hidden_features=(WIDTH,) * 2).double()
    half = FEATURES // 2
    interleaved = torch.stack([torch.arange(half) + half, torch.arange(half)], dim=1).flatten()  # zuko: shift, scale
    for number, layer in enumerate(layers):
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)
        first = torch.arange(FEATURES) < half
        theirs.transform.transforms[number].mask.copy_(~first if number % 2 else first)
        convolutions = [each for each in layer.network if isinstance(each, nn.Conv2d)]
        copied(convolutions, theirs.transform.transforms[number].hyper, interleaved)
    x = torch.randn(4, FEATURES, dtype=torch.float64)
    told = log_prob(*ours(x[:, :, None, None]))
    assert torch.allclose(told, theirs().log_prob(x), atol=1e-10)
    assert (theirs().transform(x) - ours(x[:, :, None, None])[0].flatten(1)).abs().max() < 1e-12
