"""An encoder and a decoder that are linear, so that traversals can be checked by hand."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medgen.config import Config
from medgen.methods.base import Encodes, Method, Samples, Shape, Update
from medgen.sampling.batches import Images


class LinearConfig(Config):
    largest: ClassVar[float] = math.inf

    offset: float = 0.0
    """Of every voxel of a decoded image."""


class Linear(Method, Samples, Encodes):
    """Number n of the code is the mean of part n of 4 of the first axis; decoded, it fills that part, n + 1 times."""

    config_class = LinearConfig
    batch_class = Images
    dimensions = (2, 3)

    def __init__(self, config: LinearConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.gain = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.gain.weight.copy_(torch.diag(torch.arange(1.0, 5.0)))

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (4,)

    def encode(self, image: Tensor) -> Tensor:
        parts = torch.stack([part.flatten(1).mean(dim=1) for part in image.chunk(4, dim=2)], dim=1)
        return (parts - self.config.offset) / self.gain.weight.diagonal()

    def decode(self, code: Tensor) -> Tensor:
        parts = self.gain(code) + self.config.offset
        edge, *others = self.shape.size
        filled = parts.repeat_interleave(edge // 4, dim=1).reshape(len(code), 1, edge, *[1] * len(others))
        return filled.expand(len(code), 1, *self.shape.size)


METHOD = Linear
