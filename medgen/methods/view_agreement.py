"""One network, two views: with the channel that differs between the domains, and without; both must agree.

The network learns on the source with that channel hidden from half of the patches. With the channel it makes the errors
of a contrast it does not know; without, those of who cannot see what the channel shows. On a new scanner these are
errors in different places, so a class is predicted only as far as both views see it. That is the idea of co-training
(Blum & Mitchell 1998), and what both views agree on may also be learnt from: labels of the unlabelled target images.

The combination is medgen's; nothing about it is published. Labels that two networks give each other on unlabelled
images: cross pseudo supervision (Chen et al. 2021, arXiv 2106.01226).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor

from medgen.batches import Adaptation
from medgen.errors import UsageError
from medgen.method import Channels, Update
from medgen.methods._domains import Share, ramp, require_order
from medgen.methods._perturbation import PerturbationConfig, perturb
from medgen.methods._segmentation import SegmentationConfig, Segmenter, centre
from medgen.methods._teacher import labelled_by_another, probabilities


class Config(SegmentationConfig):
    """Settings of the two views."""

    hidden: tuple[NonNegativeInt, ...] = ()
    """Numbers of the input channels that the second view lacks; by default the last one."""
    perturbation: PerturbationConfig = PerturbationConfig()
    """What is done to the patches of both domains."""
    agreement_weight: NonNegativeFloat = 0.0
    """Of the losses on target patches, with what both views agree on as labels; 0 looks at no target image."""
    begin: Share = 0.4
    """Share of the training until which that weight is 0."""
    full: Share = 0.7
    """Share of the training from which it is at its largest."""

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        require_order(begin=self.begin, full=self.full)
        return self


class ViewAgreement(Segmenter):
    """Supervised on the source under both views; on the target each view learns what both agree on."""

    config_class = Config
    batch_class: ClassVar[type[Any]] = Adaptation
    config: Config

    def __init__(self, config: Config, channels: Channels) -> None:
        super().__init__(config, channels)
        hidden = config.hidden or (channels.inputs - 1,)
        if max(hidden) >= channels.inputs or len(set(hidden)) >= channels.inputs:
            raise UsageError(
                f"one view lacks the channels {', '.join(map(str, hidden))} of {channels.inputs}",
                fix=f"name some, not all, of 0 to {channels.inputs - 1} in config.hidden",
            )
        self.hidden = sorted(set(hidden))

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the segmenter."""
        config = self.config
        weight = config.agreement_weight * ramp(progress, config.begin, config.full)
        source = self._some_hidden(perturb(batch.source, batch.mask, config.perturbation))
        if not weight:
            yield Update("segmenter", self.supervised(self.network(source), batch.label))
            return
        agreed = self._agreed(batch.target)
        target = self._some_hidden(perturb(batch.target, batch.target_mask, config.perturbation))
        logits = self.network(torch.cat([source, target]))
        losses = self.supervised(logits[: len(source)], batch.label)
        label = agreed.argmax(dim=1, keepdim=True)
        losses["agreement"] = weight * labelled_by_another(
            config, logits[len(source) :], label, centre(batch.target_mask, label)
        )
        yield Update("segmenter", losses)

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both views agree on them."""
        return agreement(super().predict(image), super().predict(self._without(image)))

    def _agreed(self, image: Tensor) -> Tensor:
        views = (probabilities(self.network, view) for view in (image, self._without(image)))
        return agreement(*views)

    def _without(self, image: Tensor) -> Tensor:
        """The second view: its hidden channels are at their mean, 0."""
        return image.index_fill(1, torch.tensor(self.hidden, device=image.device), 0.0)

    def _some_hidden(self, image: Tensor) -> Tensor:
        """The second view of half of the patches, drawn by torch's generator."""
        chosen = torch.rand(len(image), 1, 1, 1, 1, device=image.device) < 0.5
        return torch.where(chosen, self._without(image), image)


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Each class after the background as probable as the view that doubts it more says; the background gets the rest.

    >>> views = [torch.tensor([0.2, 0.8]), torch.tensor([0.9, 0.1])]
    >>> agreement(*[view.reshape(1, 2, 1, 1, 1) for view in views]).flatten().tolist()
    [0.8999999761581421, 0.10000000149011612]

    Args:
        first: probabilities (B, K, x, y, z) of one view, background first.
        second: of the other.
    """
    classes = torch.minimum(first, second)[:, 1:]
    return torch.cat([1 - classes.sum(dim=1, keepdim=True), classes], dim=1)


METHOD = ViewAgreement
