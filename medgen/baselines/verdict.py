"""One sentence on a model beside its baselines: better than the strongest of them, by how much, and how sure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from medgen.baselines.scoring import TITLES
from medgen.metrics.statistics import compare


class Measure(NamedTuple):
    """The number that decides.

    Attributes:
        key: name of the metric in the scores.
        name: for people.
        unit: "HU" or nothing.
        digits: after the point.
        sign: -1 where smaller is better.
    """

    key: str
    name: str
    unit: str
    digits: int
    sign: int

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.{self.digits}f}{self.unit and ' '}{self.unit}".replace("-", "−")


MEASURES = {
    "synthesis": (Measure("mae", "mean absolute error", "HU", 1, -1),),
    "segmentation": (Measure("dice", "Dice", "", 3, 1),),
    "detection": (Measure("score", "PI-CAI score", "", 3, 1), Measure("ap", "average precision", "", 3, 1)),
}
"""By task; the first one that there is decides: without a case free of lesions there is no PI-CAI score."""


def measure_of(task: str, means: Mapping[str, float | None]) -> Measure:
    """The number that decides.

    Args:
        task: a key of :data:`MEASURES`.
        means: by metric that of the model; None or NaN where it does not exist.
    """
    for measure in MEASURES[task]:
        mean = means.get(measure.key)
        if mean is not None and math.isfinite(mean):
            return measure
    return MEASURES[task][0]


class Verdict(NamedTuple):
    """The comparison in words.

    Attributes:
        good: whether the model is better than the strongest baseline, beyond chance.
        text: the sentence, without its full stop.
        baseline: name of the strongest baseline; "" where nothing is compared.
        wins: in how many of the cases the model is better, as a sentence; "" of a number over all cases.
    """

    good: bool
    text: str
    baseline: str = ""
    wins: str = ""


class Versus(NamedTuple):
    """A model beside one baseline, in the number that decides.

    Attributes:
        ours: the number of the model.
        theirs: that of the baseline.
        difference: ours less theirs, paired by case.
        interval: of the difference, 95 %; NaN where there is none.
        n: cases.
        cases: the differences of single cases; empty where the number is one over all cases.
    """

    ours: float
    theirs: float
    difference: float
    interval: tuple[float, float]
    n: int
    cases: Sequence[float] = ()

    @classmethod
    def of_cases(cls, ours: Sequence[float], theirs: Sequence[float]) -> Self:
        """From the values of the same cases in the same order; pairs without two numbers are left out."""
        pairs = [pair for pair in zip(ours, theirs, strict=True) if all(map(math.isfinite, pair))]
        result = compare([one for one, _ in pairs], [two for _, two in pairs])
        means = [
            sum(each) / len(pairs) if pairs else math.nan for each in ([p[0] for p in pairs], [p[1] for p in pairs])
        ]
        cases = [one - two for one, two in pairs]
        return cls(means[0], means[1], result["mean_difference"], result["ci95"], len(pairs), cases)

    @classmethod
    def stored(cls, ours: float, theirs: float, difference: Mapping[str, Any]) -> Self:
        """From a difference as the file of scores has it; null is NaN."""
        low, high = (math.nan if each is None else float(each) for each in difference["ci95"])
        return cls(ours, theirs, ours - theirs, (low, high), int(difference["n"]))


def judge(measure: Measure, label: str, versus: Mapping[str, Versus]) -> Verdict | None:
    """Compare with the strongest baseline.

    Args:
        measure: the number that decides.
        label: name of the model for people.
        versus: by name of the baseline.

    Returns:
        "better" where the interval of the difference excludes 0 or, below six cases, where every single one is better;
        None where no number can be compared.
    """
    known = {name: each for name, each in versus.items() if math.isfinite(each.difference)}
    if not known:
        return None
    name = max(known, key=lambda name: measure.sign * known[name].theirs)
    each = known[name]
    good, against = _is_better(each, measure), f"the strongest baseline ({TITLES.get(name, name)})"
    means = f"{measure.text(each.ours)} against {measure.text(each.theirs)}"
    won = sum(measure.sign * case > 0 for case in each.cases)
    wins = f"It is better in {won} of {each.n} cases" if each.cases else ""
    if good:
        text = f"{label} is better than {against} {_by(each, measure, 1)}: {means}"
    elif measure.sign * each.difference > 0:
        text = (
            f"{label} is not shown to be better than {against}: {means}; better {_by(each, measure, 1)} may be chance"
        )
    else:
        text = f"{label} is not better than {against}; it is worse {_by(each, measure, -1)}: {means}"
    return Verdict(good, text, name, wins)


def _is_better(each: Versus, measure: Measure) -> bool:
    if not any(map(math.isnan, each.interval)):
        return min(measure.sign * end for end in each.interval) > 0
    return bool(each.cases) and all(measure.sign * case > 0 for case in each.cases)


def _by(each: Versus, measure: Measure, direction: int) -> str:
    """By how much, with the interval or the few cases, counted in ``direction`` (1: better, -1: worse)."""
    sign = direction * measure.sign
    amount = f"by {measure.text(sign * each.difference)} of {measure.name}"
    low, high = sorted(sign * end for end in each.interval)
    if not math.isnan(low):
        ends = " to ".join(measure._replace(unit="").text(end) for end in (low, high))
        return f"{amount} [{ends}], n = {each.n}"
    if not each.cases:
        return f"{amount} (n = {each.n}, too few for an interval)"
    if each.n == 1:
        return f"{amount} (one case, which says little)"
    listed = ", ".join(measure._replace(unit="").text(sign * case) for case in each.cases)
    return f"{amount} ({listed} in the {each.n} cases, too few for an interval)"
