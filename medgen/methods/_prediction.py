"""A segmentation network as prediction uses it: with a teacher's weights, or the statistics of one domain."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from medgen.cases import TARGET
from medgen.methods._domains import DomainStatistics
from medgen.methods._segmentation import Network, probabilities
from medgen.methods._teacher import Teacher
from medgen.methods.base import HasFeatures
from medgen.networks.shadow_weights import without_shadow_statistics


class Predictor:
    """Prediction with the parts of a method; the method itself holds them, since their names are those of its weights.

    Args:
        network: that is trained.
        statistics: of both domains.
        teacher: whose weights predict; without one those of ``network`` do, with the statistics kept for it.
    """

    def __init__(self, network: Network, statistics: DomainStatistics, teacher: Teacher | None = None) -> None:
        self.network, self.statistics, self.teacher = network, statistics, teacher

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the method whose weights prediction needs."""
        if self.teacher is not None:
            return ("teacher",)
        return ("network", "statistics") if self.statistics.mode == "target" else ("network",)

    def probabilities(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        with self._weights():
            return probabilities(self.network, image)

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps ``(B, C, x, y, z)`` by name."""
        with self._weights():
            return self.network.features(image, self.network.layers)

    def on_domain(self, domain: str | None) -> AbstractContextManager[None]:
        """Inside the block images of one domain are predicted with the statistics of that domain.

        A model that predicts with the statistics of the target domain is wrong about images of the source. For those
        the statistics of the source replace them; everything else stays as prediction does it.

        Args:
            domain: ``target``; any other is the labelled one.
        """
        if self.statistics.mode != "target" or domain == TARGET:
            return nullcontext()
        return without_shadow_statistics(self.statistics if self.teacher is None else self.teacher)

    def _weights(self) -> AbstractContextManager[None]:
        if self.teacher is not None:
            return self.teacher.used_by(self.network)
        return self.statistics.for_prediction(self.network)


class Monitored(HasFeatures):
    """Ability: the monitor of an adaptation sees its feature maps, and predictions for images of either domain."""

    predictor: Predictor

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Predictor.named_maps`."""
        return self.predictor.named_maps(image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network that predicts, in the order of its layers."""
        return tuple(self.named_maps(image)[1].values())

    def on_domain(self, domain: str | None) -> AbstractContextManager[None]:
        """See :meth:`Predictor.on_domain`."""
        return self.predictor.on_domain(domain)
