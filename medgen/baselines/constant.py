"""The constant that every method has to beat, as it is scored beside a validation: no voxel differs from another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.classifiers import ConstantClass
from medgen.baselines.regressors import ConstantBaseline
from medgen.errors import InputError
from medgen.preparation import Preparation, StoredCase
from medgen.preparation.task import Task


def constant_of(task: Task, training: Sequence[StoredCase], channels: int) -> tuple[float, ...]:
    """The best constant inside the mask, by the training cases alone.

    Of an image it is the median of the targets, which no constant beats in mean absolute error. Of a label map it is
    the most frequent class after the background: a map of nothing has a Dice of 0.

    Args:
        task: what is made.
        training: cases with the truth.
        channels: that a network makes for it.

    Returns:
        One value a channel, in the range of the task.

    Raises:
        InputError: no voxel in the masks has a class.
    """
    if not task.labels:
        return (float(ConstantBaseline().fit(training).value or 0.0),) * channels
    chosen = ConstantClass.fit(training, channels - 1).chosen
    return tuple(float(number == chosen) for number in range(channels))


def constant_error(
    task: Task,
    training: Sequence[StoredCase],
    held_out: Sequence[StoredCase],
    preparation: Preparation,
    channels: int,
) -> float | None:
    """The mean of the task's metric over held-out cases, of :func:`constant_of` the training cases.

    Args:
        task: what is made.
        training: cases to find the constant on; those without the truth do not count.
        held_out: cases to score it on, as the estimates of a network are.
        preparation: of their store.
        channels: that a network makes.

    Returns:
        In the unit of the metric; None where no case, here or there, has the truth.
    """
    truth = "label" if task.labels else "target"
    known = [case for case in training if truth in case.files]  # of unpaired cases, those without the inputs too
    scored, error = task.scored(held_out), task.error
    if error is None or not known or not scored:
        return None
    try:
        values = constant_of(task, known, channels)
    except InputError:  # no voxel of a class in any mask: a network may still learn that there is none
        return None
    errors = [error(_estimate(values, case, task), case, preparation) for case in scored]
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else None


def _estimate(values: Sequence[float], case: StoredCase, task: Task) -> NDArray[np.float32]:
    """``(K, X, Y, Z)``: the constant in the mask, and outside what an estimate is outside the body."""
    first, rest = task.values.outside
    inside = np.asarray(case.mask) > 0
    outside = [first, *(rest for _ in values[1:])]
    return np.stack([np.where(inside, value, out) for value, out in zip(values, outside, strict=True)]).astype(
        np.float32
    )
