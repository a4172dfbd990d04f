"""Samples that are a ramp and noise."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medgen.config import Config
from medgen.methods.base import Method, Samples, Shape, Update
from medgen.sampling.batches import Images


class NoiseConfig(Config):
    largest: ClassVar[float] = math.inf

    level: float = 0.25
    spread: float = 0.1
    fails_from: float = 100.0
    """Samples whose first random number is larger are NaN."""


class Noise(Method, Samples):
    """A constant, plus a ramp along the first axis, plus noise times the temperature."""

    config_class = NoiseConfig
    batch_class = Images
    dimensions = (2, 3)

    def __init__(self, config: NoiseConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.level = nn.Parameter(torch.tensor(config.level))

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    @property
    def code_shape(self) -> tuple[int, ...]:
        return self.shape.outputs, *self.shape.size

    def decode(self, code: Tensor) -> Tensor:
        size = self.shape.size
        ramp = torch.linspace(-0.4, 0.4, size[0]).reshape(-1, *[1] * (len(size) - 1))
        image = self.level + ramp + self.config.spread * code
        return image if code.flatten()[0] <= self.config.fails_from else image / 0.0 * 0.0


METHOD = Noise
