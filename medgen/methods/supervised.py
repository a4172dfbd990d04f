"""Supervised translation of registered pairs, e.g. MR to CT: a generator, a voxel-wise loss, no adversary.

The baseline that an adversary has to beat: the networks, the losses and the auto-context cascade are those of
:mod:`medgen.methods.context_aware_gan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._monai import MonaiNetworkConfig
from medgen.methods._paired import PairedConfig, adam, estimate, new_generator, reconstruction
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Paired


class Config(PairedConfig):
    """Settings of the supervised baseline; the losses are means over voxels."""

    @model_validator(mode="after")
    def _width_of_its_own(self) -> Self:
        if isinstance(self.generator, MonaiNetworkConfig) and self.width != 1:
            raise ValueError("width is of medgen's own networks: give one of MONAI its own arguments")
        return self


class Supervised(Method, Predicts):
    """Minimise the voxel-wise distance and, by its weight, the gradient difference."""

    config_class = Config
    batch_class = Paired
    learns = "generator/l1"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.generator, self._window = new_generator(config, shape)

    @property
    def window(self) -> Window:
        """That of the generator."""
        return self._window

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the generator."""
        return {"generator": adam(self.generator, self.config)}

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """One step of the generator."""
        yield Update("generator", reconstruction(self.predict(batch.source), batch, self.config))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The generator's estimate, in the range of the targets."""
        return estimate(self.generator, image, self.config, self.shape)


METHOD = Supervised
