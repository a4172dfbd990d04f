"""Co-training: the classes that two views agree on become labels of the unlabelled domain (Blum & Mitchell 1998).

The two networks of ``view_agreement`` learn from the labels of the source, and on target patches from those that they
agree on: a class where both predict it, background elsewhere, also where one alone predicts the class. So target
patches remove false positives of one view, and some true positives, too.

That two views of one image err independently, so that each can teach the other, is the idea of co-training; for 3D
segmentation and new domains, with other views: Xia et al. 2020 (arXiv 2006.16806). The losses are the segmenter's own,
as in cross pseudo supervision (Chen et al. 2021, arXiv 2106.01226).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._domains import Share, ramp, require_order
from medgen.methods._segmentation import (
    feature_maps,
    new_network,
    pseudo_label_loss,
    supervised,
    window_of,
)
from medgen.methods._teacher import detached_probabilities
from medgen.methods._views import Views, ViewsConfig, agreement
from medgen.methods.base import Adapts, HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.networks.shadow_weights import statistics_of
from medgen.sampling.batches import Adaptation
from medgen.sampling.parts import centre


class Config(ViewsConfig):
    """Settings of the two views and of their agreement."""

    norm: Literal["batch", "instance"] | None = "instance"
    """Normalisation; batch normalisation is refused, as its statistics would be those of both domains."""
    agreement_weight: NonNegativeFloat = 0.5
    """Of the losses on target patches, with the classes that both views agree on as labels; 0 is ``view_agreement``."""
    begin: Share = 0.4
    """Share of the training until which that weight is 0: the first labels must be good enough."""
    full: Share = 0.7
    """Share of the training from which it is at its largest."""

    @model_validator(mode="after")
    def _agreement_in_order(self) -> Config:
        require_order(begin=self.begin, full=self.full)
        return self


class CoTraining(Method, Predicts, Adapts, HasFeatures):
    """Both networks learn from the labels of the source, and on the target from what they predict together."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.views = Views(config, shape, self.network)
        self.second = self.views.second
        if config.agreement_weight and statistics_of(self.network):
            raise UsageError(
                "co-training does not keep the statistics of two domains apart, which batch normalisation needs",
                fix="set config.norm to instance",
            )

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def target_begins(self) -> float:
        """When the classes that both agree on are first learnt."""
        return self.config.begin if self.config.agreement_weight else 1.0

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return self.views.optimizers()

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of each network; both learn the labels that they agreed on before either stepped."""
        config = self.config
        weight = config.agreement_weight * ramp(progress, config.begin, config.full)
        agreed = self._agreed(batch.target) if weight else None
        views = zip(self.views.of(batch.source), self.views.of(batch.target), strict=True)
        for (name, network, source), (_, _, target) in views:
            losses = supervised(config, network, network(source), batch.label)
            if agreed is not None:
                mask = centre(batch.target_mask, agreed)
                losses["agreement"] = weight * pseudo_label_loss(config, network(target), agreed, mask)
            yield Update(name, losses)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both networks agree on them."""
        return self.views.probabilities(image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the first network, in the order of its layers."""
        return feature_maps(self.network, image)

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps of the first network by name, for the monitor."""
        return self.network.features(image, self.network.layers)

    def _agreed(self, image: Tensor) -> Tensor:
        """The class that the two networks predict together, (B, 1, x, y, z): background where only one sees another."""
        first, second = (detached_probabilities(network, channels) for _, network, channels in self.views.of(image))
        return agreement(first, second).argmax(dim=1, keepdim=True)


METHOD = CoTraining
