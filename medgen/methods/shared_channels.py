"""Labels from the channels that both scanners have teach a network that sees all of them.

On a new scanner a network that was trained with a shifted channel fails, and one that never saw that channel does not.
The second one labels the unlabelled images of the target; a network with all channels learns from those labels on the
target's images alone. So it learns what the channel shows there, and its batch normalisation knows no other domain.
Both networks are trained together. From ``together`` on the mean of both makes the labels.

The rule is medgen's. That one view of an image can teach the other is co-training (Blum & Mitchell 1998). Target
patches are drawn without labels; of those drawn, the ones in which the labels have a lesion are preferred.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._domains import Share, never_begun, require_order
from medgen.methods._segmentation import (
    feature_maps,
    label_losses,
    new_network,
    penalties,
    probabilities,
    supervised,
    window_of,
)
from medgen.methods._teacher import detached_probabilities
from medgen.methods._views import Views, ViewsConfig, preferred
from medgen.methods.base import Adapts, HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation, Batch, MatchedAdaptation
from medgen.sampling.parts import centre, split


class Config(ViewsConfig):
    """Settings of the two networks."""

    begin: Share = 0.5
    """Share of the training from which the network with all channels learns from the labels on the target."""
    first: Literal["source", "nothing"] = "source"
    """What that network learns before: the labels of the source, and so what the channel shows there; or nothing."""
    together: Share = 1.0
    """Share of the training from which the labels are those of the mean of both; at 1 the one without the channel
    labels alone."""
    draws: PositiveInt = 2
    """Target patches that are labelled for each that is learnt."""
    foreground: Share = 0.5
    """Least share of the patches learnt in which the labels have a lesion, as far as there are such."""
    images: Literal["target", "source"] = "target"
    """``source`` is a control: everything is the same, but the images that are labelled are those of the source."""
    predict_with: Literal["both", "all_channels", "shared_channels"] = "both"
    """Whose probabilities are predicted: the mean of both, or those of one of the two networks."""

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        require_order(begin=self.begin, together=self.together)
        return self

    def warnings(self, steps: int) -> tuple[str, ...]:
        """On a network with all channels that never learns."""
        return never_begun(steps, begin=self.begin) if self.first == "nothing" else ()


class SharedChannels(Method, Predicts, Adapts, HasFeatures):
    """The network without the shifted channel learns the source's labels, the other one its labels on the target."""

    config_class = Config
    batch_class = Adaptation
    learns = "second/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.views = Views(config, shape, self.network)
        self.second = self.views.second

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """The control has source patches that are drawn like those of the target in their place."""
        return Adaptation if config.images == "target" else MatchedAdaptation

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def draws(self) -> int:
        """As many as the target patches need."""
        return self.config.draws

    @property
    def target_begins(self) -> float:
        """When labels of the target are first learnt; the control never does."""
        return self.config.begin if self.config.images == "target" else 1.0

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return self.views.optimizers()

    def updates(self, batch: Adaptation | MatchedAdaptation, progress: float) -> Iterator[Update]:
        """A step of the network with all channels, later on what the other one labelled; then one of that other one."""
        config, second = self.config, self.second
        labelled = split(batch, self.draws)[0]
        if progress >= config.begin:
            image, label, mask = self._labelled(batch, len(labelled.source), together=progress >= config.together)
            losses = label_losses(config, self.network(image), label, mask)
            yield Update("segmenter", losses | penalties(config, self.network))
        elif config.first == "source":
            yield Update("segmenter", supervised(config, self.network, self.network(labelled.source), labelled.label))
        logits = second(labelled.source[:, self.views.kept])
        yield Update("second", supervised(config, second, logits, labelled.label))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        chosen = {"all_channels": ("segmenter",), "shared_channels": ("second",), "both": ("segmenter", "second")}
        wanted = chosen[self.config.predict_with]
        found = [probabilities(network, seen) for name, network, seen in self.views.of(image) if name in wanted]
        return torch.stack(found).mean(0)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network with all channels, in the order of its layers."""
        return feature_maps(self.network, image)

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps of that network by name, for the monitor."""
        return self.network.features(image, self.network.layers)

    def _labelled(
        self, batch: Adaptation | MatchedAdaptation, count: int, *, together: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` of the patches drawn, their labels and masks (B, 1, x, y, z)."""
        images, masks = batch.target, batch.target_mask
        if isinstance(batch, MatchedAdaptation):
            images, masks = batch.matched, batch.matched_mask
        views = [(network, seen) for name, network, seen in self.views.of(images) if together or name == "second"]
        found = torch.stack([detached_probabilities(network, seen) for network, seen in views]).mean(0)
        label, mask = found.argmax(1, keepdim=True), centre(masks, found)
        lesion = ((label > 0) & (mask > 0)).flatten(1).any(1)
        chosen = preferred(lesion, count, self.config.foreground)
        return images[chosen], label[chosen], mask[chosen]


METHOD = SharedChannels
