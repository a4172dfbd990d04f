"""Supervised translation of registered pairs, e.g. MR to CT: a generator, a voxel-wise loss, no adversary.

The baseline that an adversary has to beat: the networks, the losses and the auto-context cascade are those of
:mod:`medgen.methods.context_aware_gan`.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.optim import Optimizer

from medgen.methods._paired import PairedConfig, Translator, adam, reconstruction
from medgen.methods.base import Update
from medgen.sampling.batches import Paired


class Config(PairedConfig):
    """Settings of the supervised baseline; the losses are means over voxels."""


class Supervised(Translator):
    """Minimise the voxel-wise distance and, by its weight, the gradient difference."""

    config_class = Config
    learns = "generator/mse"
    config: Config

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the generator."""
        return {"generator": adam(self.generator, self.config)}

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """One step of the generator."""
        estimate = self.generator(batch.source)
        yield Update("generator", reconstruction(estimate, batch, self.config, "mean"))


METHOD = Supervised
