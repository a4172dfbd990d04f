"""How well a signal that needs no label ranks the checkpoints of a run, where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medgen.metrics.domain import regret, spearman
from medgen.run.monitor.looks import Look
from medgen.run.monitor.verdict import distance, late_layers


class Rank(NamedTuple):
    """What choosing by one signal is worth.

    Attributes:
        spearman: rank correlation of the signal, turned so that larger promises more, with the truth; 1 is perfect.
        regret: the truth of the best checkpoint less that of the chosen one.
        chosen: step of the checkpoint that the signal chooses; None where it was never measured.
        n: checkpoints that have the signal.
    """

    spearman: float
    regret: float
    chosen: int | None
    n: int


def _late_accuracy(look: Look) -> float:
    values = [look[f"domain_accuracy/{layer}"] for layer in late_layers(look)]
    return float(np.mean(values)) if values else math.nan


GOODNESS: Mapping[str, Callable[[Look], float]] = {
    "last step": lambda look: float(look.step),
    "source Dice": lambda look: look["source_dice"],
    "target entropy": lambda look: -look["entropy_target"],
    "entropy gap": lambda look: -distance(look, "entropy"),
    "volume gap": lambda look: -distance(look, "volume"),
    "lesion count gap": lambda look: -distance(look, "lesions"),
    "agreement": lambda look: look["agreement_target"],
    "domain accuracy": lambda look: -_late_accuracy(look),
    "discriminator accuracy": lambda look: -abs(look["discriminator_accuracy"] - 0.5),
}
"""By signal, a number that should be larger the better the checkpoint is on the target. ``last step`` is the choice
without a signal; ``domain accuracy`` is the probes' mean over the late layers, by which the verdict goes too: the early
ones see the scanner whatever is adapted."""
TOGETHER = "all together"
"""The mean rank by these: what one look alone may get wrong, several seldom do."""
JOINED = ("source Dice", "entropy gap", "volume gap", "agreement", "domain accuracy")
"""The signals of :data:`TOGETHER`."""


def rank_checkpoints(looks: Sequence[Look], truth: Mapping[int, float]) -> dict[str, Rank]:
    """How each signal ranks the checkpoints of one run.

    Args:
        looks: of the run. Leave out those of the warming up, where a choice among them is not the question: an
            untrained network is uncertain on both domains alike, and agrees with itself.
        truth: by step of the look, the true score on the target, larger is better, e.g. the mean Dice. Looks without
            a finite truth are left out.

    Returns:
        By signal (:data:`GOODNESS`, and :data:`TOGETHER`), its rank correlation and regret.

    Raises:
        ValueError: no look has a truth.
    """
    scored = [look for look in looks if math.isfinite(truth.get(look.step, math.nan))]
    if not scored:
        raise ValueError("no checkpoint has both a look and a true score")
    true = [truth[look.step] for look in scored]
    steps = [look.step for look in scored]
    goodness = {name: [good(look) for look in scored] for name, good in GOODNESS.items()}
    goodness[TOGETHER] = mean_rank(scored)
    return {name: _rank(values, true, steps) for name, values in goodness.items()}


def mean_rank(looks: Sequence[Look]) -> list[float]:
    """The mean over :data:`JOINED` of the rank of each look among ``looks``, 1 for the worst.

    A signal that was not measured at every look is left out; NaN for all where none is left.
    """
    from scipy.stats import rankdata

    columns = [[GOODNESS[name](look) for look in looks] for name in JOINED]
    usable = [column for column in columns if np.isfinite(column).all()]
    if not usable:
        return [math.nan] * len(looks)
    mean: list[float] = np.mean([rankdata(column) for column in usable], axis=0).tolist()
    return mean


def _rank(values: Sequence[float], truth: Sequence[float], steps: Sequence[int]) -> Rank:
    finite = [number for number, value in enumerate(values) if math.isfinite(value)]
    # Of equals the last, as regret() takes it.
    chosen = max(finite, key=lambda number: (values[number], number), default=None)
    return Rank(spearman(values, truth), regret(values, truth), None if chosen is None else steps[chosen], len(finite))
