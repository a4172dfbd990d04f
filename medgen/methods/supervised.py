"""Supervised translation of registered pairs, e.g. MR to CT: a generator, a voxel-wise loss, no adversary.

The baseline that an adversary has to beat: the networks, the losses and the auto-context cascade are those of
:mod:`medgen.methods.context_aware_gan`.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.optim import Optimizer

from medgen.batches import Paired
from medgen.method import Channels, Method, Update
from medgen.methods._paired import PairedConfig, adam, generator_of, reconstruction


class Config(PairedConfig):
    """Settings of the supervised baseline; the losses are means over voxels."""


class Supervised(Method):
    """Minimise the voxel-wise distance and, by its weight, the gradient difference."""

    config_class = Config
    batch_class = Paired
    config: Config

    def __init__(self, config: Config, channels: Channels) -> None:
        super().__init__(config, channels)
        self.generator, self._margin, self._multiple = generator_of(config, channels)

    @property
    def margin(self) -> int:
        """8 for the FCN, 0 for the U-Net."""
        return self._margin

    @property
    def multiple(self) -> int:
        """1 for the FCN, 8 for the U-Net."""
        return self._multiple

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the generator."""
        return {"generator": adam(self.generator, self.config)}

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """One step of the generator."""
        estimate = self.generator(batch.source)
        yield Update("generator", reconstruction(estimate, batch, self.config, "mean"))

    def predict(self, image: Tensor) -> Tensor:
        """The generator's estimate, in the range of the targets."""
        estimate: Tensor = self.generator(image)
        return estimate


METHOD = Supervised
