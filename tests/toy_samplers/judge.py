"""A GAN to check by hand: smooth samples, and a discriminator that is not part of the model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from medgen.config import Config
from medgen.methods.base import HasFeatures, Method, Samples, Shape, Update
from medgen.sampling.batches import Images


class JudgeConfig(Config):
    largest: ClassVar[float] = math.inf

    gain: float = 2.0
    """Of the discriminator."""
    level: float = 0.0
    """Of the samples."""


class Judge(Method, Samples, HasFeatures):
    """Samples of 2 numbers a side; layers are the image times the gain, and its means over 2 parts of each side."""

    config_class = JudgeConfig
    batch_class = Images
    dimensions = (2, 3)

    def __init__(self, config: JudgeConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.generator = nn.Linear(1, 1)
        nn.init.constant_(self.generator.weight, 0.3)
        nn.init.constant_(self.generator.bias, config.level)
        self.discriminator = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.discriminator.weight, config.gain)

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def exported(self) -> Sequence[str]:
        return ("generator",)

    @property
    def code_shape(self) -> tuple[int, ...]:
        return self.shape.outputs, *[2] * self.shape.dimensions

    def decode(self, code: Tensor) -> Tensor:
        mode = "trilinear" if self.shape.dimensions == 3 else "bilinear"
        return functional.interpolate(self.generator(code[..., None])[..., 0], self.shape.size, mode=mode)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        scaled = image * self.discriminator.weight.flatten()
        pool = functional.adaptive_avg_pool3d if self.shape.dimensions == 3 else functional.adaptive_avg_pool2d
        return scaled, pool(scaled, 2).flatten(1)


METHOD = Judge
