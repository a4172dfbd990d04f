"""Co-training: what two views predict together becomes the label of the unlabelled domain (Blum & Mitchell 1998).

The two networks of ``view_agreement`` learn from the labels of the source, and on target patches from what they predict
together there: a class where both see it, background elsewhere, also where one alone sees something. So the target's
patches unteach what one view imagines, and some of what is there, too.

That two views of one image err independently, so that each can teach the other, is the idea of co-training; for 3D
segmentation and new domains, with other views: Xia et al. 2020 (arXiv 2006.16806). The losses are the segmenter's own,
as in cross pseudo supervision (Chen et al. 2021, arXiv 2106.01226).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from medgen.errors import UsageError
from medgen.methods._domains import Share, ramp, require_order
from medgen.methods._teacher import labelled_by_another, probabilities
from medgen.methods._views import TwoViews, ViewsConfig, agreement
from medgen.methods.base import Adapts, Shape, Update
from medgen.networks.shadow_weights import statistics_of
from medgen.sampling.batches import Adaptation, Batch, centre


class Config(ViewsConfig):
    """Settings of the two views and of what they teach each other."""

    norm: Literal["batch", "instance"] | None = "instance"
    """Normalisation; batch normalisation is refused, as its statistics would be those of both domains."""
    agreement_weight: NonNegativeFloat = 0.5
    """Of the losses on target patches, with what both views predict together as labels; 0 is ``view_agreement``."""
    begin: Share = 0.4
    """Share of the training until which that weight is 0: the first labels must be worth something."""
    full: Share = 0.7
    """Share of the training from which it is at its largest."""

    @model_validator(mode="after")
    def _agreement_in_order(self) -> Config:
        require_order(begin=self.begin, full=self.full)
        return self


class CoTraining(TwoViews, Adapts):
    """Both networks learn from the labels of the source, and on the target from what they predict together."""

    config_class = Config
    batch_class: ClassVar[type[Batch]] = Adaptation
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        if config.agreement_weight and statistics_of(self.network):
            raise UsageError(
                "co-training does not keep the statistics of two domains apart, which batch normalisation needs",
                fix="set config.norm to instance",
            )

    @property
    def target_begins(self) -> float:
        """When what both agree on is first learnt."""
        return self.config.begin if self.config.agreement_weight else 1.0

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of each network; both learn what they agreed on before either stepped."""
        weight = self.config.agreement_weight * ramp(progress, self.config.begin, self.config.full)
        agreed = self._agreed(batch.target) if weight else None
        for name, network in self.views:
            losses = self.supervised(network(self.seen_by(name, batch.source)), batch.label, network)
            if agreed is not None:
                logits, mask = network(self.seen_by(name, batch.target)), centre(batch.target_mask, agreed)
                losses["agreement"] = weight * labelled_by_another(self.config, logits, agreed, mask)
            yield Update(name, losses)

    def _agreed(self, image: Tensor) -> Tensor:
        """What the two networks predict together, (B, 1, x, y, z): background where only one sees a class."""
        first, second = (probabilities(network, self.seen_by(name, image)) for name, network in self.views)
        return agreement(first, second).argmax(dim=1, keepdim=True)


METHOD = CoTraining
