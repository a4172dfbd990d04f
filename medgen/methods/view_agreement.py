"""Two networks, two views: with the channel that differs between the domains, and without; both must agree.

With the channel a network makes, on a new scanner, the errors of a contrast that it does not know; without it, those
of who cannot see what the channel shows. These are errors in different places, so a class is predicted only as far
as both networks see it. That two views err independently is the idea of co-training (Blum & Mitchell 1998), and what
they agree on may also be learnt from: labels of the unlabelled target images, as in cross pseudo supervision (Chen et
al. 2021, arXiv 2106.01226).

The combination is medgen's; nothing about it is published. Two networks take twice the time of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.batches import Adaptation
from medgen.errors import UsageError
from medgen.method import Channels, Update
from medgen.methods._domains import Share, ramp, require_order
from medgen.methods._segmentation import SegmentationConfig, Segmenter, centre, new_network
from medgen.methods._teacher import labelled_by_another, probabilities


class Config(SegmentationConfig):
    """Settings of the two views."""

    hidden: tuple[NonNegativeInt, ...] = ()
    """Numbers of the input channels that the second view lacks; by default the last one."""
    agreement_weight: NonNegativeFloat = 0.0
    """Of the losses on target patches, with what both views agree on as labels; 0 looks at no target image."""
    begin: Share = 0.4
    """Share of the training until which that weight is 0."""
    full: Share = 0.7
    """Share of the training from which it is at its largest."""

    @model_validator(mode="after")
    def _views_in_order(self) -> Config:
        require_order(begin=self.begin, full=self.full)
        return self


class ViewAgreement(Segmenter):
    """Both networks learn from the labels of the source, and on the target from what they agree on."""

    config_class = Config
    batch_class: ClassVar[type[Any]] = Adaptation
    config: Config

    def __init__(self, config: Config, channels: Channels) -> None:
        super().__init__(config, channels)
        hidden = config.hidden or (channels.inputs - 1,)
        kept = [number for number in range(channels.inputs) if number not in hidden]
        if max(hidden) >= channels.inputs or not kept:
            raise UsageError(
                f"one view lacks the channels {', '.join(map(str, hidden))} of {channels.inputs}",
                fix=f"name some, not all, of 0 to {channels.inputs - 1} in config.hidden",
            )
        self.kept = kept
        self.second = new_network(config, Channels(len(kept), channels.outputs))

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return {**super().optimizers(), "second": self.optimizer_of(self.second)}

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of each network."""
        weight = self.config.agreement_weight * ramp(progress, self.config.begin, self.config.full)
        agreed = self._agreed(batch.target) if weight else None
        for name, network in (("segmenter", self.network), ("second", self.second)):
            source, target = (self._seen(name, image) for image in (batch.source, batch.target))
            losses = self.supervised(network(source), batch.label, network)
            if agreed is not None:
                mask = centre(batch.target_mask, agreed)
                losses["agreement"] = weight * labelled_by_another(self.config, network(target), agreed, mask)
            yield Update(name, losses)

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both networks agree on them."""
        second: Tensor = self.second(self._seen("second", image))
        return agreement(super().predict(image), second.float().softmax(dim=1))

    def _agreed(self, image: Tensor) -> Tensor:
        """The class of each voxel that both networks see, (B, 1, x, y, z)."""
        first = probabilities(self.network, image)
        second = probabilities(self.second, self._seen("second", image))
        return agreement(first, second).argmax(dim=1, keepdim=True)

    def _seen(self, name: str, image: Tensor) -> Tensor:
        return image if name == "segmenter" else image[:, self.kept]


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Each class after the background as probable as the view that doubts it more says; the background gets the rest.

    >>> views = [torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])]
    >>> agreement(*[view.reshape(1, 2, 1, 1, 1) for view in views]).flatten().tolist()
    [0.5, 0.5]

    Args:
        first: probabilities (B, K, x, y, z) of one view, background first.
        second: of the other.
    """
    classes = torch.minimum(first, second)[:, 1:]
    return torch.cat([1 - classes.sum(dim=1, keepdim=True), classes], dim=1)


METHOD = ViewAgreement
