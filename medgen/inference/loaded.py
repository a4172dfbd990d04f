"""A trained model as prediction has it: its networks, what it reads and makes, and its calibrations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self

import torch

from medgen.cases.phantoms import phantom_notice
from medgen.files import plain
from medgen.inference.boosting import BoostedEstimator
from medgen.inference.channels import dropped_in_training
from medgen.inference.description import Description, require_alike, settings_of_model
from medgen.inference.ensemble import count_estimates
from medgen.inference.guard import Guard
from medgen.inference.intervals import Calibration, Scale, Settings, gaussian, matching
from medgen.inference.options import PredictOptions
from medgen.inference.route import Route, route_of
from medgen.inference.stages import Cascade
from medgen.methods.base import Method
from medgen.volume import Kind
from medgen.volume.notebook import table


class Loaded:
    """A cascade of networks with everything that prediction needs besides an image.

    Args:
        stages: networks in their order, in evaluation mode on ``device``.
        description: the content of ``model.json``.
        device: where they are.
        source: where the model came from, for messages.
        first: makes the context of the first network, where that has one.

    Attributes:
        cascade: the networks, and how a prepared volume goes through them.
        task: what the model makes.
        classes: names of the classes of a segmentation, without the background: label n is ``classes[n - 1]``.
        known: the checked part of the description.
        members: the models whose results are averaged: this one, and those of :meth:`joined`.
        guard: warns of odd patients; None where there is none.
        calibrations: of its intervals, by ``medgen calibrate``.

    Raises:
        ModelError: the description lacks something or contradicts the networks.
    """

    def __init__(
        self,
        stages: Sequence[Method],
        description: Mapping[str, Any],
        device: torch.device,
        *,
        source: str = "",
        first: BoostedEstimator | None = None,
    ) -> None:
        self.description = dict(description)
        self.source = source
        self.members: tuple[Loaded, ...] = (self,)
        self.guard: Guard | None = None
        self.calibrations: tuple[Calibration, ...] = ()
        self.known = known = Description.parse(description, stages[0].shape, source)
        self.cascade = Cascade(tuple(stages), known.settings, known.patch, device, known.across, first)
        with settings_of_model(source):
            self.cascade.plan()  # a tile that no network can take is found before an image is read
        self.task, self.classes, self.preparation = known.task, known.classes, known.preparation

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(f'{name}: {text}' for name, text in self._facts())})"

    def _repr_html_(self) -> str:
        """For a notebook."""
        return table(self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        spacing = self.preparation.config.spacing
        facts = [
            ("method", str(self.description["method"]) + (f", {len(self.members)} members" * (len(self.members) > 1))),
            ("reads", ", ".join(self.inputs)),
            ("makes", ", ".join(self.classes or self.task.made(self.preparation.roles))),
            ("voxels", " x ".join(f"{step:g}" for step in spacing) + " mm" if spacing else "those of the image"),
            ("device", str(self.device)),
            ("weights", ", ".join(str(each)[:12] for each in self.hashes)),
            ("use", "research only, not for clinical use"),
        ]
        return [*facts, *(("note", notice) for notice in self.notices.values())]

    def joined(self, others: Sequence[Self]) -> Self:
        """This model and others as one: the voxel-wise mean of their images or probabilities, before the arg-max.

        Everything else, such as how lesions are found, is this model's.

        Raises:
            UsageError: they differ in what they read, make or prepare, or one is there twice.
        """
        model = copy(self)
        model.members = (self, *others)
        require_alike([member.known for member in model.members])
        return model

    @property
    def stages(self) -> tuple[Method, ...]:
        """The networks in their order."""
        return self.cascade.stages

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.cascade.device

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """SHA-256 of the weights of every member."""
        return tuple(member.known.weights for member in self.members)

    @property
    def notices(self) -> dict[str, str]:
        """What every file about a prediction says of the model: ``phantoms``, where it learnt from phantoms."""
        notices = (phantom_notice(member.description) for member in self.members)
        return {"phantoms": notice} if (notice := max(notices)) else {}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the images that the model was trained to read, e.g. ``("t1", "ge|swi")``."""
        return self.preparation.roles.inputs

    @property
    def target(self) -> str:
        """Role of what the model makes, e.g. ``"ct"``, or ``"label"`` for a segmentation; the first of several."""
        return self.task.made(self.preparation.roles)[0]

    def kind_of(self, role: str) -> Kind:
        """How a result is written: ``label`` as uint8, ``hu`` as int16, anything without a unit as float32."""
        residual = role in self.preparation.config.residual
        return "scalar" if residual else self.task.kind(self.preparation, role)

    @property
    def dropped(self) -> dict[str, float]:
        """By role, inputs that may be missing: the share of training patches without them, least of the members."""
        shares = [dropped_in_training(member.description, self.inputs) for member in self.members]
        return {role: min(each[role] for each in shares) for role in shares[0] if all(role in each for each in shares)}

    @property
    def estimates(self) -> int:
        """Estimates that a prediction averages: one for each flip of each member."""
        return count_estimates(self.cascades)

    @property
    def cascades(self) -> list[Cascade]:
        """Of the members."""
        return [member.cascade for member in self.members]

    @property
    def reads_slices(self) -> bool:
        """Whether a network for volumes was made for slices across Z, which are thick or apart."""
        stages = [stage for member in self.members for stage in member.stages if stage.shape.dimensions == 3]
        return any(z < x for x, _, z in (stage.window.smallest() for stage in stages))

    def route(self, direction: str | None = None) -> Route:
        """Which images a prediction reads and makes, see :meth:`~medgen.inference.model.LoadedModel.predict`.

        Raises:
            UsageError: the model makes no prediction, or none in this direction.
        """
        routes = [
            route_of(each.stages, each.task, each.preparation.roles, direction, each.source) for each in self.members
        ]
        return routes[0]

    def scale(self, options: PredictOptions) -> Scale | None:
        """How an interval follows from the standard deviation; None where none is wanted.

        Raises:
            UsageError: the model is calibrated for other settings alone.
            ModelError: the model is calibrated with other weights alone.
        """
        coverage = options.coverage
        if coverage is None or self.task.labels:
            return None
        calibration = self.calibration(options)
        return calibration.scale if calibration else gaussian(coverage)

    def calibration(self, options: PredictOptions) -> Calibration | None:
        """That of the interval of a prediction, or of its gate alone; None where there is none.

        Calibrations are made forward, of the target; none holds for the inputs.

        Raises:
            UsageError, ModelError: as for :meth:`scale`.
        """
        if self.task.labels or not options.spreads or options.direction == "backward":
            return None
        return matching(self.calibrations, self.settings_of(options), options.coverage, self.source)

    def settings_of(self, options: PredictOptions) -> Settings:
        """What a calibration must share with a prediction."""
        inference = (json.dumps(plain(member.description.get("inference")), sort_keys=True) for member in self.members)
        return Settings(self.hashes, options.samples, options.dropout, tuple(inference))
