"""Statistics of the regimes from the scores of all runs: means, intervals, paired tests, share of the gap closed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.benchmark.regimes import REFERENCES, SOURCE_ONLY, TARGET_ONLY
from medgen.benchmark.runs import SCORES, Run
from medgen.cases import SOURCE, TARGET
from medgen.metrics.resampling import mean_of
from medgen.metrics.statistics import (
    GapShare,
    RunComparison,
    RunSummary,
    compare_runs,
    gap_share,
    holm,
    summarise_runs,
)
from medgen.run.monitor import find_stop, judge, kept_records, read_records, stop_setting

Numbers = NDArray[np.float64]
DICE = "dice"


@dataclass(frozen=True)
class Scored:
    """The scores of one regime on the test cases of one domain.

    Attributes:
        seeds: seeds that have scores for all cases.
        cases: names of the cases.
        values: by metric ``(seeds, cases)``; NaN if a case failed or the metric does not apply.
    """

    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    values: Mapping[str, Numbers]


@dataclass(frozen=True)
class Row:
    """One regime in the table.

    Attributes:
        name: name of the regime.
        title: readable title.
        wanted: planned number of seeds.
        target: scores on the target domain.
        source: scores on the source domain, if it has test cases.
        metrics: summaries on the target domain, by metric.
        source_metrics: summaries on the source domain, by metric.
        gap: share of the gap between training on S and on T that is closed; None for these two regimes, and if one of
            them has no scores.
        against: by reference the difference in Dice, with ``p_holm``.
        health: by seed the health verdict of each fold, made without labels of T; only for methods that adapt.
    """

    name: str
    title: str
    wanted: int
    target: Scored
    source: Scored | None
    metrics: Mapping[str, RunSummary]
    source_metrics: Mapping[str, RunSummary]
    gap: GapShare | None = None
    against: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    health: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def tabulate(
    runs: Sequence[Run],
    titles: Mapping[str, str],
    *,
    references: Sequence[str] = REFERENCES,
    seed: int = 0,
    draws: int = 2000,
) -> tuple[Row, ...]:
    """The rows of all regimes that have scores, in the order of ``titles``.

    A seed is included when all its folds are scored. All means are over cases first, then over seeds.

    Args:
        runs: runs of the benchmark, finished or not.
        titles: titles by regime.
        references: regimes that every other one is tested against, with Holm's correction within each reference. A
            reference without scores is left out.
        seed: random seed of the bootstrap.
        draws: number of bootstrap samples.
    """
    rows: list[Row] = []
    for name, title in titles.items():
        own = [run for run in runs if run.regime.name == name]
        target = collect(own, TARGET)
        if target is None:
            continue
        source = collect(own, SOURCE)
        rows.append(
            Row(
                name,
                title,
                len({run.seed for run in own}),
                target,
                source,
                summaries(target, seed, draws),
                summaries(source, seed, draws) if source else {},
                health=verdicts([run for run in own if run.seed in target.seeds]),
            )
        )
    return completed(rows, references, seed, draws)


def collect(runs: Sequence[Run], domain: str) -> Scored | None:
    """The scores of one regime; None if no seed has scores of all folds.

    Args:
        runs: runs of the regime.
        domain: domain of the test cases. Source cases are tested in every fold, and their scores are averaged.
    """
    tables: dict[int, dict[str, dict[str, float]]] = {}
    for number in sorted({run.seed for run in runs}):
        folds = [run for run in runs if run.seed == number]
        if all(run.done and domain in run.tested for run in folds):
            tables[number] = _averaged([_cases(run.folder / SCORES[domain]) for run in folds])
    if not tables:
        return None
    first = next(iter(tables.values()))
    cases = tuple(first)
    metrics = dict.fromkeys(metric for table in tables.values() for row in table.values() for metric in row)
    values = {
        metric: np.array([[table[case].get(metric, np.nan) for case in cases] for table in tables.values()])
        for metric in metrics
    }
    return Scored(tuple(tables), cases, values)


def verdicts(runs: Sequence[Run]) -> dict[int, tuple[str, ...]]:
    """Health verdicts of the kept weights, and why a training ended early, by seed; none without a monitor."""
    found: dict[int, tuple[str, ...]] = {}
    for run in runs:
        if looks := read_records(run.folder / "metrics.jsonl"):
            schedule = run.recipe.schedule
            stop = stop_setting(schedule)
            word, end = judge(kept_records(looks, schedule.keep, stop)).word, find_stop(looks, stop)
            told = f"{word} (ended: {end.cause})" if end else word
            found[run.seed] = (*found.get(run.seed, ()), told)
    return found


def _cases(path: Path) -> dict[str, dict[str, float]]:
    """Scores by case and metric; null becomes NaN."""
    rows = json.loads(path.read_text())["cases"]
    return {
        row["case"]: {name: np.nan if value is None else float(value) for name, value in row.items() if name != "case"}
        for row in rows
    }


def _averaged(folds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Scores of the cases of all folds; a case in several folds gets the mean of its finite scores."""
    found: dict[str, dict[str, list[float]]] = {}
    for fold in folds:
        for case, row in fold.items():
            for metric, value in row.items():
                found.setdefault(case, {}).setdefault(metric, []).append(value)
    return {case: {name: mean_of(np.array(values)) for name, values in row.items()} for case, row in found.items()}


def summaries(scored: Scored, seed: int = 0, draws: int = 2000) -> dict[str, RunSummary]:
    """Mean, deviations and interval of each metric; arguments are those of :func:`tabulate`."""
    return {name: summarise_runs(list(table), seed=seed, draws=draws) for name, table in scored.values.items()}


def completed(rows: Sequence[Row], references: Sequence[str], seed: int = 0, draws: int = 2000) -> tuple[Row, ...]:
    """The rows with the share of the gap that each closes and its differences from the references.

    Args are those of :func:`tabulate`; the rows have no differences yet.
    """
    by_name = {row.name: row for row in rows}
    against: dict[str, dict[str, dict[str, Any]]] = {row.name: {} for row in rows}
    for reference in references:
        if reference not in by_name:
            continue
        found: dict[str, RunComparison] = {
            row.name: compare_runs(*_dice(row, by_name[reference]), seed=seed, draws=draws)
            for row in rows
            if row.name != reference
        }
        corrected = holm({name: comparison["p"] for name, comparison in found.items()})
        for name, comparison in found.items():
            against[name][reference] = {**comparison, "p_holm": corrected[name]}
    low, high = by_name.get(SOURCE_ONLY), by_name.get(TARGET_ONLY)
    return tuple(
        replace(
            row,
            gap=gap_share(*_dice(low, row, high), seed=seed, draws=draws)
            if low and high and row not in (low, high)
            else None,
            against=against[row.name],
        )
        for row in rows
    )


def _dice(*rows: Row) -> list[list[Numbers]]:
    """The Dice of several regimes on the cases of the first regime, in its order."""
    cases = rows[0].target.cases
    tables = []
    for row in rows:
        order = [row.target.cases.index(case) for case in cases]
        tables.append(list(row.target.values[DICE][:, order]))
    return tables
