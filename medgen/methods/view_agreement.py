"""Two networks, two views: with the channel that differs between the domains, and without; both must agree.

On a new scanner, the network with the channel errs because the new contrast is unknown to it; the network without it,
because information is missing. These errors are in different places, so a class is predicted only as far as both
networks agree. No image of the new scanner is used; ``co_training`` learns from those as well.

The rule is medgen's; nothing about it is published. Two networks take twice the time of one.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._segmentation import feature_maps, new_network, supervised, window_of
from medgen.methods._views import Views, ViewsConfig
from medgen.methods.base import HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Labelled


class Config(ViewsConfig):
    """Settings of the two views."""


class ViewAgreement(Method, Predicts, HasFeatures):
    """Both networks learn from the same labels."""

    config_class = Config
    batch_class = Labelled
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.views = Views(config, shape, self.network)
        self.second = self.views.second

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return self.views.optimizers()

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step of each network."""
        for name, network, image in self.views.of(batch.source):
            yield Update(name, supervised(self.config, network, network(image), batch.label))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both networks agree on them."""
        return self.views.probabilities(image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network that sees all channels, in the order of its layers."""
        return feature_maps(self.network, image)


METHOD = ViewAgreement
