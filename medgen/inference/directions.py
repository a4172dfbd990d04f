"""Ways through code space that are worth a look: single numbers, principal components, and the way of a factor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medgen.errors import UsageError
from medgen.inference.code_table import Codes, codes_of
from medgen.inference.encoding import code_shape_of
from medgen.inference.factor_table import matched
from medgen.inference.opened import Opened
from medgen.methods.base import Encodes
from medgen.metrics.probes import CHANCE, factor_direction, linear_probe
from medgen.types import Array

MOST_NUMBERS = 1024
"""Of a code, up to which the decoder is asked for the response to each of them."""
_FEWEST = 3
"""Codes of which there are principal components."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Direction:
    """One way through code space.

    Attributes:
        name: short, part of file names: ``number12``, ``component1``, or the factor.
        why: what it is, for people.
        codes: (S, *shape) float32 along it.
        labels: one a code: the standard deviations from the base, or the value of the factor.
    """

    name: str
    why: str
    codes: Array
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Walk:
    """How far and how finely a direction is walked.

    Attributes:
        reach: standard deviations on either side of the base.
        steps: images, odd, so that the base is the middle one.
    """

    reach: float
    steps: int

    @property
    def times(self) -> Array:
        """From -reach to reach; the middle one is exactly 0."""
        half = self.steps // 2
        return self.reach * np.arange(-half, half + 1) / half


def base_of(model: Opened, codes: Codes | None, case: str | None) -> Array:
    """The code (*shape) to walk from: of a case, else the mean code, else zeros, which is the mean of the prior."""
    if codes is None:
        return np.zeros(code_shape_of(model), np.float32)
    table = codes_of(model, codes)
    return np.asarray(table.mean(axis=0) if case is None else table[codes.row_of(case)], np.float32)


def numbers(model: Opened, codes: Codes | None, base: Array, count: int, walk: Walk) -> list[Direction]:
    """Single numbers of the code: those that vary most over the codes, else those that the decoder answers most to.

    The standard deviation is that over the codes, or 1, that of the prior.

    Raises:
        UsageError: no codes are given, and the code is too long to try every number.
    """
    if codes is None:
        found, said = _responses(model, base), "RMS change of the image with one standard deviation"
        sd = np.ones(base.size)
    else:
        sd = codes.flat.std(axis=0)
        found, said = sd**2, "variance over the codes"
    order = np.argsort(-found, kind="stable")[:count]
    return [
        _walked(
            f"number{place}", f"number {place} of the code ({said}: {found[place]:.3g})", base, unit * sd[place], walk
        )
        for place, unit in ((int(each), _unit(base.size, int(each))) for each in order)
        if sd[place] > 0
    ]


def components(codes: Codes, base: Array, count: int, walk: Walk) -> list[Direction]:
    """Principal components of the codes, with their shares of the variance.

    Raises:
        UsageError: there are fewer than 3 codes, or they are all equal.
    """
    table = codes.flat
    if len(table) < _FEWEST:
        raise UsageError(f"{len(table)} codes have no principal components", where=codes.path, fix="encode 3 or more")
    _, size, axes = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)
    share = size**2 / max(float((size**2).sum()), 1e-300)
    kept = [place for place in range(min(count, len(size))) if share[place] > 1e-9]
    if not kept:
        raise UsageError(
            "the codes are all equal: no direction leads from one to another",
            where=codes.path,
            fix="encode other cases",
        )
    return [
        _walked(
            f"component{place + 1}",
            f"principal component {place + 1} of the codes ({share[place]:.0%} of their variance)",
            base,
            axes[place] * size[place] / np.sqrt(len(table)),
            walk,
        )
        for place in kept
    ]


def of_factor(
    codes: Codes, column: dict[str, float] | dict[str, str], name: str, base: Array, walk: Walk, seed: int = 0
) -> Direction:
    """The way that codes take with more of a factor, see :func:`~medgen.metrics.probes.factor_direction`.

    Labels are what a linear probe tells of the code: the factor in its unit, or 0 and 1 for the two classes.

    Raises:
        UsageError: the column does not fit the codes: too few cases, one value, more than two classes.
    """
    known, factor = matched(codes.case, column)
    try:
        score = linear_probe(codes.flat[known], factor, codes.case[known], seed)
        found = factor_direction(codes.flat[known], factor, codes.case[known], seed)
    except ValueError as error:
        what = f"'{name}' gives no direction: {error} ({int(known.sum())} of {len(codes)} codes have a value)"
        raise UsageError(what, where=codes.path, fix="choose another column, or encode more cases") from None
    told = found.offset + float(base.ravel() @ found.weights) + found.sd * walk.times
    classes = sorted(set(factor.tolist()))
    scale = f": 0 is {classes[0]}, 1 is {classes[1]}" if len(classes) == 2 else ""
    told_by = f"{'R2' if score.name == 'r2' else 'AUROC'} {score.value:.2f} on other patients"
    if not score.interval[0] > CHANCE[score.name]:
        log.warning("%s: the codes say nothing of it for sure (%s): what changes may be chance", name, told_by)
    steps = walk.times[:, None] * found.sd * found.step
    labels = tuple(f"{value:.3g}" for value in told)
    shape = (len(steps), *base.shape)
    return Direction(name, f"{name}, as a linear probe tells it ({told_by}){scale}", _added(base, steps, shape), labels)


def _walked(name: str, why: str, base: Array, step: Array, walk: Walk) -> Direction:
    steps = walk.times[:, None] * step
    labels = tuple(f"{time:+.1f} SD" if time else "0" for time in walk.times)
    return Direction(name, why, _added(base, steps, (len(steps), *base.shape)), labels)


def _added(base: Array, steps: Array, shape: Sequence[int]) -> Array:
    return np.asarray(base.ravel() + steps, np.float32).reshape(shape)


def _unit(length: int, place: int) -> Array:
    unit = np.zeros(length)
    unit[place] = 1
    return unit


def _responses(model: Opened, base: Array) -> Array:
    """Root mean square of half the change of the image between -1 and 1 in each number of the code, (D,)."""
    if base.size > MOST_NUMBERS:
        raise UsageError(
            f"a code of this model has {base.size} numbers, too many to try each of them",
            where=model.where,
            fix="give --codes, the codes of some cases, to choose by their variance",
        )
    if not isinstance(model.method, Encodes):
        raise model.lacks("encode images")
    found = np.empty(base.size)
    with torch.inference_mode():
        for place in range(base.size):
            pair = _added(base, np.array([[-1.0], [1.0]]) * _unit(base.size, place), (2, *base.shape))
            low, high = model.method.decode(torch.from_numpy(pair).to(model.device))
            found[place] = float((high - low).float().square().mean().sqrt()) / 2
    return found
