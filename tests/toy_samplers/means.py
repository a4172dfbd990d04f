"""Codes that are multiples of the mean of each channel."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medgen.config import Config
from medgen.methods.base import Encodes, Method, Shape, Update
from medgen.sampling.batches import Images


class MeansConfig(Config):
    largest: ClassVar[float] = math.inf

    length: int = 2
    """Numbers of the code for each channel."""
    gain: float = 1.0


class Means(Method, Encodes):
    """The mean of each channel times 1, 2, 3, ..."""

    config_class = MeansConfig
    batch_class = Images
    dimensions = (2, 3)

    def __init__(self, config: MeansConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.gain = nn.Parameter(torch.tensor(config.gain))

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def encode(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (self.shape.inputs, *self.shape.size)
        mean = self.gain * image.flatten(2).mean(dim=2, keepdim=True)
        return mean * torch.arange(1, self.config.length + 1)

    def decode(self, code: Tensor) -> Tensor:
        return code[..., :1].expand(*code.shape[:2], *self.shape.size)


METHOD = Means
