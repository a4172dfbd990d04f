"""What several networks are built from: normalisation by name, a fast PReLU, and the initialisation for rectifiers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

NormName = Literal["batch", "instance", "none"]

SLOPE = 0.01
"""Start of a PReLU's slope for negative values, as in DeepMedic (torch starts at 0.25)."""


class Bias(nn.Module):
    """A learnt constant for each channel, which stands where a normalisation would."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the constants to (B, C, X, Y, Z)."""
        return x + self.bias.to(x.dtype)[:, None, None, None]


def build_norm(name: NormName, channels: int, *, momentum: float = 0.1) -> nn.Module:
    """A normalisation layer with a learnt scale and shift, or a learnt shift alone for ``"none"``.

    Args:
        name: ``batch``, ``instance`` or ``none``.
        channels: of the map.
        momentum: of the running statistics of batch normalisation.
    """
    if name == "batch":
        return nn.BatchNorm3d(channels, momentum=momentum)
    if name == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return Bias(channels)


class PReLU(nn.Module):
    """``max(x, 0) + slope * min(x, 0)`` with one learnt slope a channel; values and gradients as ``nn.PReLU``.

    torch's own gradient on a processor takes up to four times as long as the convolution before it (bfloat16, 16
    channels); there it is computed by vectorised operations instead, in about half the time.

    Shape:
        ``(B, C, X, Y, Z)`` to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """Rectify."""
        if x.device.type != "cpu":
            return functional.prelu(x, self.slope.to(x.dtype))
        result: Tensor = _Rectify.apply(x, self.slope)  # type: ignore[no-untyped-call]
        return result


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        if x.dtype != torch.bfloat16:
            return functional.prelu(x, slope.to(x.dtype))
        # torch's own is slow here, channels last. The two halves are kept apart because x + (slope - 1) * min(x, 0)
        # would round the small slope away.
        return x.clamp(min=0).add_(x.clamp(max=0).mul_(slope.to(x.dtype)[:, None, None, None]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, x, 0)  # where(x > 0, ...), ten times as fast
        of_slope = (x.clamp(max=0) * gradient).sum((0, 2, 3, 4)).to(slope.dtype)
        return above.lerp(gradient, slope.to(x.dtype)[:, None, None, None]), of_slope


def traced() -> bool:
    """Whether a network is being written down for another program, which knows torch's own operators alone."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_exporting()


class Convolution(nn.Conv3d):
    """``nn.Conv3d``, by the fastest code that torch has for it on a processor.

    torch itself takes its slow code (up to ten times the time, and channels first in memory) for one small image
    (channels x X x Y below 20,481) and, on one thread, for a 1^3 kernel, which is a matrix product.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        if traced():
            return super().forward(x)
        one = self.kernel_size == self.stride == (1, 1, 1) and self.groups == 1 and self.padding in ((0, 0, 0), "valid")
        if x.device.type == "cpu" and one:
            values = functional.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
            return values.permute(0, 4, 1, 2, 3)
        plain = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        present: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        if plain and present and not torch.is_autocast_enabled("cpu") and not isinstance(self.padding, str):
            weights = self.weight, self.bias
            return torch.mkldnn_convolution(x, *weights, self.padding, self.stride, self.dilation, self.groups)
        return super().forward(x)


class Dropout(nn.Module):
    """``nn.Dropout``, with a faster source of random numbers on a processor.

    Args:
        rate: probability that a value is set to 0, below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop values while training, and scale the rest up."""
        if not self.training or self.rate == 0 or x.device.type != "cpu":
            return functional.dropout(x, self.rate, self.training)
        kept = torch.rand_like(x, dtype=torch.float32) >= self.rate
        return x * kept.to(x.dtype).mul_(1 / (1 - self.rate))


class ChannelDropout(nn.Module):
    """Sets whole channels of an image to 0 while training, of any rank, and scales the rest up.

    Args:
        rate: probability that a channel is set to 0, below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` in and out."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(*x.shape[:2], *[1] * (x.dim() - 2), device=x.device) >= self.rate
        return x * kept.to(x.dtype).mul_(1 / (1 - self.rate))


@contextmanager
def active_dropout(module: nn.Module, seed: int) -> Iterator[None]:
    """Inside the block the dropout layers of a network in evaluation mode drop, as they do in training.

    Nothing else of the network is in training mode, and torch's own random state is as before afterwards.

    Args:
        module: its dropout layers are switched.
        seed: of what is dropped.
    """
    layers = [layer for layer in dropout_layers(module) if not layer.training]
    devices = {each.device for each in module.parameters() if each.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        try:
            for layer in layers:
                layer.training = True
            yield
        finally:
            for layer in layers:
                layer.training = False


def dropout_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a network that drop something in training."""
    rates = {each: getattr(each, "rate", getattr(each, "p", 0.0)) for each in module.modules()}
    kinds = (Dropout, ChannelDropout, _DropoutNd)
    return [each for each, rate in rates.items() if isinstance(each, kinds) and rate > 0]


def initialise_fan_in(module: nn.Module) -> None:
    """Draw every convolution's weights from N(0, sqrt(2 / fan in)) (He et al. 2015); biases are 0.

    Args:
        module: its convolutions are changed in place.
    """
    for each in module.modules():
        if isinstance(each, nn.Conv3d):
            nn.init.normal_(each.weight, std=math.sqrt(2 / each.weight[0].numel()))
            if each.bias is not None:
                nn.init.zeros_(each.bias)
