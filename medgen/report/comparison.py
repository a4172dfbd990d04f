"""One sentence on top of a report of synthesis: does the model beat its strongest baseline?"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

from medgen.baselines.scoring import BASELINES
from medgen.report.content import MethodScores, readable_name
from medgen.report.sources import Sources

_PARTS = {"mae": "mean absolute error", "mae_bone": "bone", "mae_soft": "soft tissue", "mae_air": "air inside"}


class Verdict(NamedTuple):
    """The comparison in words.

    Attributes:
        good: whether the model has the lower mean absolute error.
        text: the sentence.
    """

    good: bool
    text: str


def verdict(sources: Sources) -> Verdict | None:
    """The model against the baseline with the lowest mean absolute error; None without one, or of other cases."""
    known = [(value, method) for method in sources.methods if (value := _mean(method, "mae")) is not None]
    baselines = [(value, method) for value, method in known if method.name in BASELINES]
    main = sources.main
    own = _mean(main, "mae") if main is not None and main.name not in BASELINES else None
    if main is None or own is None or not baselines:
        return None
    best, baseline = min(baselines, key=lambda pair: pair[0])
    if set(main.cases) != set(baseline.cases):
        return None  # means over other cases say nothing
    shared = list(main.cases)
    better = sum(main.cases[name].get("mae", nan) < baseline.cases[name].get("mae", nan) for name in shared)
    parts = [part for key in _PARTS if (part := _part(key, main, baseline))]
    return Verdict(
        own < best,
        f"{main.label} {'beats' if own < best else 'does not beat'} the strongest baseline "
        f"({readable_name(baseline.name)}): {'; '.join(parts)}. It is better in {better} of {len(shared)} cases.",
    )


def _part(key: str, main: MethodScores, baseline: MethodScores) -> str:
    ours, theirs = _mean(main, key), _mean(baseline, key)
    if ours is None or theirs is None or not theirs:
        return ""
    change = 100 * (ours / theirs - 1)
    return f"{_PARTS[key]} {ours:.1f} HU against {theirs:.1f} ({change:+.0f} %)"


def _mean(method: MethodScores, key: str) -> float | None:
    summary = method.summary.get(key)
    return None if summary is None else summary.mean
