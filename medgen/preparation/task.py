"""What a model makes: an image, a label map, or new samples; each is one value that the whole package asks.

A method's batches say its task (:mod:`medgen.sampling.batches`). Which images it takes, how many channels it makes,
the range of what it returns, how that is written and how a whole volume is scored all follow from here, so no other
file compares the name of a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medgen.errors import ModelError
from medgen.metrics.image import mae
from medgen.metrics.overlap import dice
from medgen.types import Array
from medgen.volume import Kind

if TYPE_CHECKING:
    from medgen.preparation.patient import Preparation
    from medgen.preparation.settings import Roles
    from medgen.preparation.store import StoredCase


@dataclass(frozen=True)
class ValueRange:
    """What the numbers that a network returns mean.

    Attributes:
        low: the smallest value there is.
        high: the largest value there is.
        outside: value outside the body, of the first channel and of every other.
        strict: whether a number beyond the range is an error; else it is clipped and counted.
    """

    low: float
    high: float
    outside: tuple[float, float]
    strict: bool


IMAGE = ValueRange(-1.0, 1.0, outside=(-1.0, -1.0), strict=False)
"""An image target, as preparation maps it; outside the body stands the low end, which is air."""
AIR_BELOW = -0.5
"""Prepared image target below which nothing of a patient is; -268 HU of the window [-1024, 2000]."""
BONE_FROM = -0.19
"""Prepared image target from which a voxel is bone; 201 HU of the window [-1024, 2000]."""
PROBABILITIES = ValueRange(0.0, 1.0, outside=(1.0, 0.0), strict=True)
"""Classes that sum to 1, background first; outside the body background is certain."""
NORMALISED = ValueRange(-math.inf, math.inf, outside=(0.0, 0.0), strict=False)
"""Input images in normalised units, which have no bounds."""


@dataclass(frozen=True)
class Task:
    """One kind of result.

    Attributes:
        name: as in ``model.json``.
        labels: whether the result is a label map, whose channels are classes after the background.
        values: range of what a network returns.
        metric: name of :attr:`error` in the log; empty where no whole volume can be scored.
        error: of a whole-volume estimate (K, X, Y, Z) of a stored case, in the unit of the metric.
        sign: -1 where a larger metric is better.
        result: noun for messages.
    """

    name: str
    labels: bool
    values: ValueRange
    metric: str
    error: Callable[[Array, StoredCase, Preparation], float] | None
    sign: int
    result: str

    def channels(self, roles: Roles, classes: int) -> int:
        """Channels that the network makes, for ``classes`` classes after the background."""
        if self.labels:
            return 1 + classes
        return len(roles.inputs) if self is GENERATION else 1

    def made(self, roles: Roles) -> tuple[str, ...]:
        """Roles of the images that a model makes.

        Raises:
            ModelError: the recipe of the model names none.
        """
        if self is GENERATION:
            return roles.inputs
        role = roles.labels if self.labels else roles.target
        if role is None:
            missing = "labels" if self.labels else "target"
            raise ModelError(
                f"the model makes no {self.result}: its recipe names no {missing}", fix="use another model"
            )
        return (role,)

    def kind(self, preparation: Preparation, role: str) -> Kind:
        """How a result is written: ``label`` as uint8, ``hu`` as int16, anything without a unit as float32."""
        if self.labels:
            return "label"
        return "hu" if preparation.intensity(role).hounsfield else "scalar"

    def scored(self, cases: Sequence[StoredCase]) -> tuple[StoredCase, ...]:
        """The cases that have the truth that :attr:`error` needs."""
        if self.error is None:
            return ()
        array = "label" if self.labels else "target"
        return tuple(case for case in cases if {array, "image"} <= case.files)


def _absolute_error(estimate: Array, case: StoredCase, preparation: Preparation) -> float:
    """Mean absolute error inside the mask, in the unit of the target."""
    found, true = (preparation.target_from_network(np.asarray(array))[0] for array in (estimate, case.target))
    return float(mae(found, true, np.asarray(case.mask) > 0))


def _dice(estimate: Array, case: StoredCase, preparation: Preparation) -> float:
    """Mean over the classes that the subject has, or that were found by mistake; NaN where there is neither."""
    found, true = estimate.argmax(axis=0), np.asarray(case.label)
    present = [number for number in range(1, len(estimate)) if (true == number).any() or (found == number).any()]
    return float(np.mean([dice(found == number, true == number) for number in present])) if present else math.nan


SYNTHESIS = Task("synthesis", False, IMAGE, "mae", _absolute_error, 1, "image")
SEGMENTATION = Task("segmentation", True, PROBABILITIES, "dice", _dice, -1, "label map")
GENERATION = Task("generation", False, NORMALISED, "", None, 1, "image")
TASKS = {task.name: task for task in (SYNTHESIS, SEGMENTATION, GENERATION)}
"""By name, as in ``model.json``."""
