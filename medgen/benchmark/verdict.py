"""One sentence on a benchmark: which regimes are better than the reference without adaptation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.benchmark.table import Row
from medgen.metrics.resampling import FEWEST


def verdict(rows: Sequence[Row], references: Sequence[str]) -> str:
    """Every regime against the first reference that has scores, by the Dice on the target domain.

    Args:
        rows: of the table.
        references: names of the regimes to compare with, the first one preferred.

    Returns:
        The sentence. A regime is better where the 95 % interval of its difference lies above 0.
    """
    titles = {row.name: row.title for row in rows}
    reference = next((name for name in references if name in titles), None)
    if reference is None:
        return (
            f"No reference has scores yet, so no regime is compared; 'medgen benchmark ... --regimes {references[0]}' "
            "trains one."
            if references
            else "No reference is named, so no regime is compared."
        )
    found = [(row.title, row.against[reference]) for row in rows if reference in row.against]
    if not found:
        return f"No regime beside “{titles[reference]}” has scores yet."
    better = [_told(*each) for each in found if each[1]["ci95"][0] > 0]
    few = [_told(*each) for each in found if math.isnan(each[1]["ci95"][0])]
    others = [_told(*each) for each in found if each[1]["ci95"][0] <= 0]
    parts = [
        f"Better than “{titles[reference]}” in DSC on T, in percentage points: {'; '.join(better) or 'no regime'}.",
        f"Not better, or not shown to be: {'; '.join(others)}." if others else "",
        f"Fewer than {FEWEST} cases, so not decided: {'; '.join(few)}." if few else "",
    ]
    return " ".join(part for part in parts if part)


def _told(title: str, difference: Mapping[str, Any]) -> str:
    low, high = difference["ci95"]
    interval = "" if math.isnan(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{title} {100 * difference['mean_difference']:+.1f}{interval}"
