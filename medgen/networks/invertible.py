"""Invertible layers without a network: each maps ``x`` to ``z`` and the log-determinant ``(B,)``, and ``z`` back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_SPREAD = 1e-3
"""Standard deviation below which a channel counts as constant: it is not blown up any further."""


class Invertible(nn.Module, ABC):
    """A map of images, or codes, that can be undone exactly."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinants ``(B,)``."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""


class Chain(Invertible):
    """Several maps, one after the other."""

    def __init__(self, layers: Sequence[Invertible]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinants ``(B,)``."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, change = layer(x)
            total = total + change
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""
        for layer in reversed(self.layers):
            z = layer.inverse(z)  # type: ignore[operator]
        return z


class ActNorm(Invertible):
    """``z = (x - m) / d * exp(s) + t`` by channel (Kingma & Dhariwal 2018, arXiv 1807.03039, section 3.1).

    ``m`` and ``d``, mean and standard deviation of the first training batch, are buffers: so they are saved, averaged
    over processes and by the moving average as statistics are. ``s`` and ``t`` are learnt and start at 0.
    """

    mean: Tensor
    log_spread: Tensor
    initialised: Tensor

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        shape = channels, *[1] * dimensions
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("log_spread", torch.zeros(shape))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinants ``(B,)``; the first call in training takes the statistics."""
        if self.training and not self.initialised:
            self._initialise(x.detach())
        scale = self.log_scale - self.log_spread
        z = (x - self.mean) * scale.exp() + self.shift
        return z, _of_channels(scale, x)

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""
        return (z - self.shift) * (self.log_spread - self.log_scale).exp() + self.mean

    def _initialise(self, x: Tensor) -> None:
        variance, mean = _statistics(x)
        self.mean.copy_(mean)
        self.log_spread.copy_(variance.sqrt().clamp(min=LEAST_SPREAD).log())
        self.initialised.fill_(1)


class BatchNorm(Invertible):
    """``z = (x - m) / sqrt(v + eps)`` by channel (Dinh et al. 2017, section 3.7 and appendix E).

    In training m and v are of the batch, and after it running means of them; :meth:`inverse` takes the running ones, so
    it undoes :meth:`forward` in evaluation mode alone.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dimensions: int, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.register_buffer("running_mean", torch.zeros(channels, *[1] * dimensions))
        self.register_buffer("running_var", torch.ones(channels, *[1] * dimensions))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinants ``(B,)``."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            variance, mean = _statistics(x)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance, self.momentum)
        scale = -0.5 * (variance + self.eps).log()
        return (x - mean) * scale.exp(), _of_channels(scale, x)

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z`` in evaluation mode."""
        return z * (self.running_var + self.eps).sqrt() + self.running_mean


class Diagonal(Invertible):
    """``z = x exp(s) + t`` with a scale and a shift of each number of a code ``(B, numbers)``.

    The diagonal scaling of NICE (section 3.3), there without a shift.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(numbers))
        self.shift = nn.Parameter(torch.zeros(numbers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled code, and the log-determinants ``(B,)``."""
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """The code before scaling."""
        return (z - self.shift) * (-self.log_scale).exp()


class Logit(Invertible):
    """``z = logit(a + (1 - 2 a) u)``, where ``u`` in [0, 1] is the image between two limits (Dinh et al. 2017, 4.1).

    Args:
        low: value of the image that is 0.
        high: value that is 1.
        alpha: a; published 0.05. Images may leave the limits by less than ``a / (1 - 2 a)`` of their distance.
    """

    def __init__(self, low: float, high: float, alpha: float) -> None:
        super().__init__()
        self.low, self.high, self.alpha = low, high, alpha
        self.slope = (1 - 2 * alpha) / (high - low)

    def inside(self, x: Tensor) -> bool:
        """Whether the logarithms of all voxels are finite."""
        u = self.alpha + self.slope * (x - self.low)
        return bool(((u > 0) & (u < 1)).all())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image without limits, and the log-determinants ``(B,)``."""
        u = self.alpha + self.slope * (x - self.low)
        z = u.log() - (-u).log1p()
        each = functional.softplus(z) + functional.softplus(-z)  # -log u - log(1 - u)
        return z, each.flatten(1).sum(dim=1) + x[0].numel() * math.log(self.slope)

    def inverse(self, z: Tensor) -> Tensor:
        """The image between its limits, and at most ``a / (1 - 2 a)`` of their distance beyond."""
        return (z.sigmoid() - self.alpha) / self.slope + self.low


class Squeeze(Invertible):
    """``(B, C, 2a, 2b[, 2c])`` to ``(B, 2 ** d C, a, b[, c])``: space to depth."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Half of the grid, 4 or 8 times the channels, and zeros ``(B,)``."""
        return squeezed(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """The grid before."""
        return unsqueezed(z)


def squeezed(x: Tensor) -> Tensor:
    """``(B, C, 2a, 2b[, 2c])`` to ``(B, 2 ** d C, a, b[, c])``: space to depth."""
    batch, channels, *size = x.shape
    d = len(size)
    split = x.reshape(batch, channels, *(edge for side in size for edge in (side // 2, 2)))
    order = [0, 1, *range(3, 3 + 2 * d, 2), *range(2, 2 + 2 * d, 2)]
    return split.permute(order).reshape(batch, channels * 2**d, *(side // 2 for side in size))


def unsqueezed(x: Tensor) -> Tensor:
    """The inverse of :func:`squeezed`."""
    batch, channels, *size = x.shape
    d = len(size)
    split = x.reshape(batch, channels // 2**d, *[2] * d, *size)
    order = [0, 1, *(axis for pair in zip(range(2 + d, 2 + 2 * d), range(2, 2 + d), strict=True) for axis in pair)]
    return split.permute(order).reshape(batch, channels // 2**d, *(2 * side for side in size))


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean by channel, of the shape ``(C, 1, ...)``."""
    axes = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    return variance[0], mean[0]


def _of_channels(log_scale: Tensor, x: Tensor) -> Tensor:
    """The log-determinants ``(B,)`` of scales ``(C, 1, ...)`` that every voxel of an image has."""
    return (log_scale.sum() * (x[0].numel() // len(log_scale))).expand(len(x))
