"""One sentence on top of a report: is the model better than its strongest baseline?"""

from __future__ import annotations

from math import nan

from medgen.baselines.scoring import BASELINES
from medgen.baselines.verdict import MEASURES, Verdict, Versus, judge, measure_of
from medgen.report.content import MethodScores
from medgen.report.sources import Sources

_PARTS = {"mae_bone": "bone", "mae_soft": "soft tissue", "mae_air": "air inside"}


def verdict(sources: Sources) -> Verdict | None:
    """The model against the baseline that is best in the number that decides.

    Returns:
        Where there is no baseline, or one of other cases, a sentence with the command that makes one. None where
        nothing is scored, or baselines alone are.
    """
    main = sources.main
    if main is None or main.name in BASELINES:
        return None
    task = _task(sources)
    measure = measure_of(task, {name: each.mean for name, each in main.summary.items()})
    baselines = [method for method in sources.methods if method.name in BASELINES]
    command = f"medgen evaluate {task} predictions cases.csv --baselines {sources.run or 'RUN'}"
    if not baselines:
        text = (
            f"No baseline is scored beside {main.label}, so nothing shows what a network adds; '{command}' makes one."
        )
        return Verdict(False, text)
    alike = [method for method in baselines if set(method.cases) == set(main.cases)]
    found = {method.name: each for method in alike if (each := _versus(measure.key, main, method)) is not None}
    judged = judge(measure, main.label, found)
    if judged is None:
        reason = "cannot be compared with it" if alike else "are of other cases"
        return Verdict(False, f"The baselines beside {main.label} {reason}; '{command}' scores them on the same ones.")
    best = next(method for method in alike if method.name == judged.baseline)
    parts = "".join(f"; {part}" for key in _PARTS if (part := _part(key, main, best)))
    wins = f" {judged.wins}." if judged.wins else ""
    return judged._replace(text=f"{judged.text}{parts}.{wins}")


def _task(sources: Sources) -> str:
    """Of the scores, or of an earlier version, by what they hold."""
    main = sources.main
    if main is not None and main.task in MEASURES:
        return main.task
    return "detection" if sources.detects else "segmentation" if sources.segments else "synthesis"


def _versus(key: str, main: MethodScores, baseline: MethodScores) -> Versus | None:
    """Both in the number that decides; None where one of them lacks it."""
    ours, theirs = (method.summary.get(key) for method in (main, baseline))
    if ours is None or theirs is None or ours.mean is None or theirs.mean is None:
        return None
    if key not in main.metrics_of_cases:  # one number over all cases, whose difference the file of scores has
        return Versus.stored(ours.mean, theirs.mean, found) if (found := baseline.difference.get(key)) else None
    names = list(main.cases)
    return Versus.of_cases(*([method.cases[name].get(key, nan) for name in names] for method in (main, baseline)))


def _part(key: str, main: MethodScores, baseline: MethodScores) -> str:
    ours, theirs = (method.summary.get(key) for method in (main, baseline))
    if ours is None or theirs is None or ours.mean is None or not theirs.mean:
        return ""
    change = 100 * (ours.mean / theirs.mean - 1)
    return f"{_PARTS[key]} {ours.mean:.1f} HU against {theirs.mean:.1f} ({change:+.0f} %)".replace("-", "−")
