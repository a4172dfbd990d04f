"""A density and codes to check by hand: independent normal voxels, and the mean of each channel as the code."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medgen.config import Config
from medgen.methods.base import Encodes, HasDensity, Method, Shape, Update
from medgen.sampling.batches import Images


class LikelyConfig(Config):
    largest: ClassVar[float] = math.inf

    scale: float = 1.0
    """Of a voxel."""


class Likely(Method, Encodes, HasDensity):
    """Voxels are normal with mean 0; the reconstruction is the mean of each channel."""

    config_class = LikelyConfig
    batch_class = Images
    dimensions = (2, 3)
    bound = False

    def __init__(self, config: LikelyConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.scale = nn.Parameter(torch.tensor(config.scale))

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def log_prob(self, image: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, self.scale).log_prob(image).flatten(1).sum(dim=1)

    def encode(self, image: Tensor) -> Tensor:
        return image.flatten(2).mean(dim=2)

    def decode(self, code: Tensor) -> Tensor:
        return code[..., *(None for _ in self.shape.size)].expand(*code.shape, *self.shape.size)


METHOD = Likely
