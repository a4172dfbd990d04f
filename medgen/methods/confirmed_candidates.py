"""Lesion candidates of the channels that both scanners have, each confirmed by the shifted channel alone.

A network with all channels learns to trust the shifted one everywhere, and fails on a new scanner wherever that
channel looks odd. Here one network sees only the channels that both scanners have and says where a lesion may be. A
second one sees only the shifted channel, and learns from the labels of the source to tell true candidates from false
ones, at the candidates and nowhere else: what an artefact looks like elsewhere never comes up. The probability of a
class is the smaller one of two: that of the first network at the voxel, and the mean of the second one over the
candidate around it.

With ``teach`` below 1 both then stand still and label images of the target, and a third network, with all channels,
learns from those labels on the target alone: there it may trust the shifted channel where that is right on the new
scanner. The prediction is the mean of the teachers and of their student. A run that starts from a model of the source
with ``begin`` and ``teach`` at 0 trains only the student. On the phantom the student has not beaten its teachers.

The rule is medgen's. Detectors of lesions have long had a second stage that tells true candidates from false ones; that
one view of an image can teach another is co-training (Blum & Mitchell 1998).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._domains import Share, never_begun, require_order
from medgen.methods._segmentation import (
    Network,
    feature_maps,
    label_losses,
    new_network,
    new_optimizer,
    penalties,
    probabilities,
    supervised,
    window_of,
)
from medgen.methods._teacher import detached_probabilities
from medgen.methods._views import Views, ViewsConfig, agreement, preferred
from medgen.methods.base import Adapts, HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation, Batch, LabelledSource
from medgen.sampling.parts import centre, split

REACH = 3
"""Voxels of the grid on each side over which the second network's answer is averaged: 9 mm at the 3 mm that it was
chosen at."""


class Config(ViewsConfig):
    """Settings of the three networks."""

    begin: Share = 0.2
    """Share of the training from which the second network learns: there must be candidates first."""
    threshold: float = Field(default=0.2, gt=0, lt=1)
    """Probability that the first network must give to any lesion for a voxel to belong to a candidate in training."""
    teach: Share = 1.0
    """Share of the training from which both networks stand still and teach a third one on images of the target; at 1
    never: then no image of the target is needed."""
    draws: PositiveInt = 2
    """Target patches that are drawn for each that is learnt."""
    foreground: Share = 0.5
    """Least share of the target patches learnt in which there is a candidate, as far as there are such."""

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        require_order(begin=self.begin, teach=self.teach)
        if self.teach == self.begin and self.begin:
            raise ValueError("'teach' must come after 'begin', or both be 0 in a run that starts from a trained model")
        return self

    def warnings(self, steps: int) -> tuple[str, ...]:
        """On a network that never learns; ``teach`` at 1 asks for no student."""
        return never_begun(steps, begin=self.begin, **({"teach": self.teach} if self.teach < 1 else {}))


class ConfirmedCandidates(Method, Predicts, Adapts, HasFeatures):
    """One network proposes by the shared channels, another confirms by the shifted one, a third learns from both."""

    config_class = Config
    batch_class = Adaptation
    learns = "second/cross_entropy"
    config: Config
    learnt: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.hidden = config.hidden_of(shape.inputs)
        self.network = new_network(config, shape._replace(inputs=len(self.hidden)))
        self.views = Views(config, shape, self.network)
        self.second = self.views.second
        self.student = new_network(config, shape) if config.teach < 1 else None
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """Without a student, labelled patches alone."""
        return LabelledSource if config.teach == 1 else Adaptation

    @property
    def window(self) -> Window:
        """That of the networks, and the reach of the average."""
        return window_of(self.config, self.network, reach=self._reach)

    @property
    def draws(self) -> int:
        """As many as the target patches need."""
        return self.config.draws if self.student is not None else 1

    @property
    def target_begins(self) -> float:
        """When images of the target are first looked at."""
        return self.config.teach

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        student = {"student": new_optimizer(self.config, self.student)} if self.student is not None else {}
        return {**self.views.optimizers(), **student}

    def updates(self, batch: LabelledSource | Adaptation, progress: float) -> Iterator[Update]:
        """A step of the network that proposes, and one of the network that confirms; later only the student's.

        Raises:
            UsageError: the student is to be taught by networks that have learnt nothing.
        """
        config, second = self.config, self.second
        labelled = split(batch, self.draws)[0]
        if isinstance(batch, Adaptation) and self.student is not None and progress >= config.teach:
            image, label, mask = self._labelled(batch, len(labelled.source))
            losses = label_losses(config, self._inside(self.student(image)), label, mask)
            yield Update("student", losses | penalties(config, self.student))
            return
        proposed = second(labelled.source[:, self.views.kept])
        candidates = 1 - proposed.detach().float().softmax(dim=1)[:, :1]
        yield Update("second", supervised(config, second, proposed, labelled.label))
        if progress >= config.begin:
            logits = self.network(labelled.source[:, self.hidden])
            around = functional.max_pool3d(candidates, 3, stride=1, padding=1) > config.threshold
            label = centre(labelled.label, logits)
            weight = balanced(around * centre(labelled.mask, logits), label > 0)
            yield Update("segmenter", label_losses(config, logits, label, weight) | penalties(config, self.network))
            self.learnt += 1

    def _labelled(self, batch: Adaptation, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` of the target patches, and their labels and masks (B, 1, x, y, z) for the student."""
        if not self.learnt:
            raise UsageError(
                "the networks that are to teach have learnt nothing",
                fix="let config.teach come after config.begin, or start from a run of this method with --init-from",
            )
        proposed = detached_probabilities(self.second, batch.target[:, self.views.kept])
        mask = centre(batch.target_mask, proposed)
        candidate = ((proposed[:, :1] < 0.5) & (mask > 0)).flatten(1).any(1)
        chosen = preferred(candidate, count, self.config.foreground)
        image, proposed, mask = batch.target[chosen], proposed[chosen], mask[chosen]
        found = detached_probabilities(self.network, image[:, self.hidden])
        return image, self._taught(proposed, found).argmax(1, keepdim=True), self._inside(mask)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        proposed = probabilities(self.second, image[:, self.views.kept])
        found = probabilities(self.network, image[:, self.hidden])
        taught = self._taught(proposed, found)
        if self.student is None:
            return taught
        return (taught + self._inside(probabilities(self.student, image))) / 2

    def _taught(self, proposed: Tensor, found: Tensor) -> Tensor:
        """What both networks say together, where the whole cube of the average is known."""
        confirmed = averaged(found, 1 - proposed[:, :1])
        return agreement(self._inside(proposed), self._inside(confirmed))

    def _inside(self, found: Tensor) -> Tensor:
        """Without the voxels around which the average does not know the whole cube."""
        sides = [side - 2 * self._reach for side in found.shape[2:]]
        return centre(found, found.new_empty(1, 1, *sides)) if self._reach else found

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the student, or of the network that confirms, layer by layer."""
        return feature_maps(*self._last(image))

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps of that network by name, for the monitor."""
        network, seen = self._last(image)
        return network.features(seen, network.layers)

    def _last(self, image: Tensor) -> tuple[Network, Tensor]:
        return (self.network, image[:, self.hidden]) if self.student is None else (self.student, image)

    @property
    def _reach(self) -> int:
        """Voxels lost on each side: the reach of the average, or more, so that sides stay those that DeepMedic takes.

        0 for a network that keeps the size of its input.
        """
        align = self.network.align
        return -(-REACH // align) * align if self.network.margin else 0


def balanced(weight: Tensor, lesion: Tensor) -> Tensor:
    """``weight`` in which lesion and background have the same sum, where there is some of both.

    Patches are drawn so that they show lesions, so how many candidates in them are true says nothing.

    >>> balanced(torch.ones(4), torch.tensor([True, False, False, False])).tolist()
    [2.0, 0.6666666865348816, 0.6666666865348816, 0.6666666865348816]

    Args:
        weight: at least 0, of any shape.
        lesion: of the same shape.
    """
    true, false = (weight * lesion).sum(), (weight * ~lesion).sum()
    if not true or not false:
        return weight
    return weight * torch.where(lesion, (true + false) / (2 * true), (true + false) / (2 * false))


def averaged(found: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of ``found`` over the cube of :data:`REACH` voxels around each voxel.

    Args:
        found: (B, K, X, Y, Z).
        weight: (B, 1, X, Y, Z), at least 0.

    Returns:
        (B, K, X, Y, Z); outside the volume there is nothing.
    """
    size = 2 * REACH + 1
    weight = weight + 1e-4
    parts = [functional.avg_pool3d(each, size, stride=1, padding=REACH) for each in (found * weight, weight)]
    mean: Tensor = parts[0] / parts[1]
    return mean


METHOD = ConfirmedCandidates
