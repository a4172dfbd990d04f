"""Baselines beside the scores of predictions, as a table of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medgen.baselines.scoring import TITLES
from medgen.evaluation.scores import NOTHING, Scores, number_text, titled
from medgen.metrics.resampling import FEWEST

_SHOWN = ("mae", "mae_soft", "mae_bone", "mae_air", "psnr", "ssim", "dice", "hd95", "nsd", "lesion_f1")
_OF_LESIONS = ("auroc", "ap", "score")
"""The file has every metric."""


def difference_table(scores: Scores) -> list[tuple[str, ...]]:
    """Rows of text, the heading first: for each baseline the metrics that say most, and the paired difference.

    Args:
        scores: with ``details["baselines"]``.
    """
    few, rows = False, []
    for name, each in scores.details["baselines"].items():
        for metric, found in each["difference"].items():
            if not found["n"] or not _is_shown(metric, scores.task):
                continue
            heading, digits = titled(metric)
            theirs, difference, p = each["summary"][metric]["mean"], found["mean_difference"], found["p"]
            between = _interval(found["ci95"], digits)
            if between == NOTHING and (cases := _differences(metric, scores, each)):
                few, between = True, "  ".join(number_text(value, digits) for value in cases)
            numbers = (number_text(theirs, digits), number_text(difference, digits), between, number_text(p))
            rows.append((TITLES[name], heading, *numbers, str(found["n"])))
    interval = "95 % interval" + (" or the cases" if few else "")
    return [("baseline", "metric", "its mean", "difference", interval, "p", "n"), *rows]


def _is_shown(metric: str, task: str) -> bool:
    """Whether a metric says most; of several classes also the Dice of each."""
    return metric in (_OF_LESIONS if task == "detection" else _SHOWN) or (
        task == "segmentation" and metric.startswith("dice_")
    )


def _interval(ends: tuple[float, float], digits: int) -> str:
    return NOTHING if math.isnan(ends[0]) else " to ".join(number_text(end, digits) for end in ends)


def _differences(metric: str, scores: Scores, baseline: Mapping[str, Any]) -> list[float]:
    """The differences of single cases, where they are too few for an interval."""
    theirs = {row["case"]: row.get(metric, math.nan) for row in baseline["cases"]}
    each = [row.get(metric, math.nan) - theirs.get(row["case"], math.nan) for row in scores.cases]
    finite = [value for value in each if math.isfinite(value)]
    return finite if len(finite) < FEWEST else []
