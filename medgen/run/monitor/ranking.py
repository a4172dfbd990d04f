"""How well a signal that needs no label ranks the checkpoints of a run, where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medgen.metrics.domain import regret, spearman
from medgen.run.monitor.records import MonitorRecord
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


def _late_accuracy(record: MonitorRecord) -> float:
    values = [record[f"domain_accuracy/{layer}"] for layer in late_layers(record)]
    return float(np.mean(values)) if values else math.nan


GOODNESS: Mapping[str, Callable[[MonitorRecord], float]] = {
    "last step": lambda record: float(record.step),
    "source Dice": lambda record: record["source_dice"],
    "target entropy": lambda record: -record["entropy_target"],
    "entropy gap": lambda record: -distance(record, "entropy"),
    "volume gap": lambda record: -distance(record, "volume"),
    "lesion count gap": lambda record: -distance(record, "lesions"),
    "agreement": lambda record: record["agreement_target"],
    "domain accuracy": lambda record: -_late_accuracy(record),
    "discriminator accuracy": lambda record: -abs(record["discriminator_accuracy"] - 0.5),
}
"""By signal, a number that should be larger the better the checkpoint is on the target. ``last step`` is the choice
without a signal; ``domain accuracy`` is the probes' mean over the late layers, by which the verdict goes too: the early
ones see the scanner whatever is adapted."""
TOGETHER = "all together"
"""The mean rank by these: what one signal alone may get wrong, several seldom do."""
JOINED = ("source Dice", "entropy gap", "volume gap", "agreement", "domain accuracy")
"""The signals of :data:`TOGETHER`."""


def rank_checkpoints(records: Sequence[MonitorRecord], truth: Mapping[int, float]) -> dict[str, Rank]:
    """How each signal ranks the checkpoints of one run.

    Args:
        records: of the run. Leave out those of the warm-up, where a choice among them is not the question: an
            untrained network is uncertain on both domains alike, and agrees with itself.
        truth: by step of the record, the true score on the target, larger is better, e.g. the mean Dice. Records
            without a finite truth are left out.

    Returns:
        By signal (:data:`GOODNESS`, and :data:`TOGETHER`), its rank correlation and regret.

    Raises:
        ValueError: no record has a truth.
    """
    scored = [record for record in records if math.isfinite(truth.get(record.step, math.nan))]
    if not scored:
        raise ValueError("no checkpoint has both a record and a true score")
    true = [truth[record.step] for record in scored]
    steps = [record.step for record in scored]
    goodness = {name: [good(record) for record in scored] for name, good in GOODNESS.items()}
    goodness[TOGETHER] = mean_rank(scored)
    return {name: _rank(values, true, steps) for name, values in goodness.items()}


def mean_rank(records: Sequence[MonitorRecord]) -> list[float]:
    """The mean over :data:`JOINED` of the rank of each record among ``records``, 1 for the worst.

    A signal that was not measured in every record is left out; NaN for all where none is left.
    """
    from scipy.stats import rankdata

    columns = [[GOODNESS[name](record) for record in records] for name in JOINED]
    usable = [column for column in columns if np.isfinite(column).all()]
    if not usable:
        return [math.nan] * len(records)
    mean: list[float] = np.mean([rankdata(column) for column in usable], axis=0).tolist()
    return mean


def _rank(values: Sequence[float], truth: Sequence[float], steps: Sequence[int]) -> Rank:
    finite = [number for number, value in enumerate(values) if math.isfinite(value)]
    # Of equals the last, as regret() takes it.
    chosen = max(finite, key=lambda number: (values[number], number), default=None)
    return Rank(spearman(values, truth), regret(values, truth), None if chosen is None else steps[chosen], len(finite))
