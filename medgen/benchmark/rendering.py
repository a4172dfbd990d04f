"""The table as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgen.benchmark.regimes import REFERENCES
from medgen.benchmark.table import DICE, Row, Scored
from medgen.benchmark.verdict import verdict
from medgen.errors import UsageError
from medgen.files import atomic_path, plain, require_result, write_json
from medgen.metrics.resampling import FEWEST, finite_means, mean_of
from medgen.run.monitor import LIMITS, RULE

_SHOWN = {"recall": "recall", "precision": "precision", "hd95": "HD95, mm", "lesion_f1": "lesion F1"}
"""Metrics besides the Dice and their headings; all but distances are shown in percent."""
_MILLIMETRES = {"hd95"}
_BESIDE = ("benchmark.md", "benchmark.csv", "benchmark_cases.csv", "benchmark.png", "benchmark.svg")
"""Results beside ``benchmark.json``."""
_NONE = "–"
HEADING = (
    "regime",
    "seeds",
    "DSC on T",
    "95 % interval",
    "gap closed",
    *_SHOWN.values(),
    "DSC on S",
)


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The rows of the table as text, without the heading: mean (standard deviation over cases), in percent."""
    return [
        (
            row.title,
            _seeds(row),
            _mean_sd(row.metrics.get(DICE)),
            _dice_interval(row),
            _gap(row),
            *(_mean_sd(row.metrics.get(name), 1 if name in _MILLIMETRES else 100) for name in _SHOWN),
            _mean_sd(row.source_metrics.get(DICE)),
        )
        for row in rows
    ]


def difference_cells(rows: Sequence[Row], references: Sequence[str] = REFERENCES) -> list[tuple[str, ...]]:
    """For each row: title, and by reference the difference of the Dice with its interval, and p after Holm."""
    found = []
    for row in rows:
        line = [row.title]
        for reference in _present(references, rows):
            values = row.against.get(reference)
            if values is None:
                line += [_NONE, _NONE]
                continue
            number = f"{100 * values['mean_difference']:+.1f}"
            line += [f"{number} {_interval(values['ci95'], signed=True)}", _p(values["p_holm"])]
        found.append(tuple(line))
    return found


def markdown(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The whole result as Markdown: the table, the differences, every seed, and how to read them."""
    if not rows:
        return f"# {facts['title']}\n\nNo run has scores yet.\n"
    seeds = sorted({seed for row in rows for seed in row.target.seeds})
    parts = [
        f"# {facts['title']}",
        verdict(rows, facts["references"]),
        _summary(rows, facts),
        _grid(HEADING, cells(rows)),
        *_differences(rows, facts["references"]),
        "## Every seed\n\nDSC on T in %, mean over cases.",
        _grid(("regime", *(str(seed) for seed in seeds)), [_by_seed(row, seeds) for row in rows]),
        *_health(rows, seeds),
        "## Runs\n\n" + "\n".join(f"* {line}" for line in _remarks(rows, facts)),
    ]
    return "\n\n".join(parts) + "\n"


def write_results(rows: Sequence[Row], facts: Mapping[str, Any], out: Path) -> None:
    """Write ``benchmark.json``, ``benchmark.csv``, ``benchmark_cases.csv`` and ``benchmark.md``."""
    write_json(
        out / "benchmark.json",
        {**facts, "verdict": verdict(rows, facts["references"]), "rows": [as_dict(row) for row in rows]},
    )
    _write_text(out / "benchmark.md", markdown(rows, facts))
    _write_text(out / "benchmark.csv", _csv(_table_lines(rows)))
    _write_text(out / "benchmark_cases.csv", _csv(_case_lines(rows)))


def require_own_results(out: Path) -> None:
    """Refuse a folder in which :func:`write_results` would replace anything but earlier results.

    Raises:
        UsageError: another file has such a name.
        StorageError: the folder could not be written.
    """
    require_result(out / "benchmark.json", ("verdict", "rows"))
    taken = next((out / name for name in _BESIDE if os.path.lexists(out / name)), None)
    if taken and not (out / "benchmark.json").exists():
        raise UsageError("the benchmark would replace this file", where=taken, fix="choose another folder for --out")


def as_dict(row: Row) -> dict[str, Any]:
    """A row as plain values, including the scores of every case with every seed; nothing is in percent."""
    return {
        "regime": row.name,
        "title": row.title,
        "seeds_wanted": row.wanted,
        "target": {"metrics": dict(row.metrics), **_numbers(row.target)},
        "source": {"metrics": dict(row.source_metrics), **_numbers(row.source)} if row.source else None,
        "gap": row.gap,
        "against": {name: dict(values) for name, values in row.against.items()},
        "health": {seed: list(words) for seed, words in row.health.items()},
    }


def _numbers(scored: Scored) -> dict[str, Any]:
    values = {
        metric: {
            str(seed): dict(zip(scored.cases, table[place].tolist(), strict=True))
            for place, seed in enumerate(scored.seeds)
        }
        for metric, table in scored.values.items()
    }
    return {"seeds": list(scored.seeds), "values": values}


def _table_lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    lines = []
    for row in rows:
        line: dict[str, Any] = {"regime": row.name, "title": row.title, "seeds": len(row.target.seeds)}
        for prefix, metrics in (("", row.metrics), ("source_", row.source_metrics)):
            for name, values in metrics.items():
                low, high = values["ci95"]
                line |= {f"{prefix}{name}": values["mean"], f"{prefix}{name}_sd_cases": values["sd_cases"]}
                line |= {f"{prefix}{name}_sd_seeds": values["sd_seeds"]}
                line |= {f"{prefix}{name}_low": low, f"{prefix}{name}_high": high}
        if row.gap:
            low, high = row.gap["ci95"]
            line |= {"gap_share": row.gap["share"], "gap_share_low": low, "gap_share_high": high}
        for reference, difference in row.against.items():
            low, high = difference["ci95"]
            key = f"dice_less_{reference}"
            line |= {key: difference["mean_difference"], f"{key}_low": low, f"{key}_high": high}
            line |= {f"{key}_p": difference["p"], f"{key}_p_holm": difference["p_holm"]}
        lines.append(line)
    return lines


def _case_lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "regime": row.name,
            "domain": domain,
            "seed": seed,
            "case": case,
            **{metric: table[place, column] for metric, table in scored.values.items()},
        }
        for row in rows
        for domain, scored in (("target", row.target), ("source", row.source))
        if scored is not None
        for place, seed in enumerate(scored.seeds)
        for column, case in enumerate(scored.cases)
    ]


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """CSV of all lines, with the union of their keys as columns; an undefined number is an empty cell."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if plain(value) is None else plain(value) for key, value in line.items()} for line in lines
    )
    return text.getvalue()


def _summary(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """A paragraph that defines the numbers of the table."""
    cases = len(rows[0].target.cases)
    source = len(rows[0].source.cases) if rows[0].source else 0
    kind = "virtual patients (phantom)" if facts.get("phantom") else "patients"
    folds = f", each tested once in {facts['folds']} folds" if facts["folds"] > 1 else ""
    on_source = f" S: {source} {kind} (split {facts['source_split']})." if source else ""
    return (
        f"T: {cases} {kind}{folds}.{on_source} DSC, recall, precision and lesion F1 in %. Mean over cases, then over "
        "seeds; in brackets the standard deviation over cases, after averaging each case over its seeds. Intervals: "
        "95 %, bootstrap over seeds and cases; of fewer than six cases their values, and no test. Gap closed, in %: "
        "(DSC − DSC of training on S) / (DSC of training on T "
        "− DSC of training on S)."
    )


def _remarks(rows: Sequence[Row], facts: Mapping[str, Any]) -> list[str]:
    """Remarks on the runs."""
    lines = [f"{key}: {value}" for key, value in facts["budget"].items()]
    for row in rows:
        changes = facts["regimes"][row.name]
        if seconds := sorted(each["training"] for each in changes["seconds"]):
            lines.append(f"{row.title}: {seconds[len(seconds) // 2] / 60:.1f} minutes of training each (median)")
        if cases := changes.get("cases"):
            lines.append(f"{row.title}: training cases of {cases['name']}")
        if start := changes.get("start"):
            lines.append(f"{row.title}: begins with the weights of {start}; its steps come on top of that row's")
        if changes["overrides"]:
            lines.append(f"{row.title}: {'; '.join(changes['overrides'])}")
        if len(row.target.seeds) < row.wanted:
            lines.append(f"{row.title}: only {len(row.target.seeds)} of {row.wanted} seeds")
        if len(row.target.seeds) == 1:
            lines.append(f"{row.title}: one seed, so its interval covers the variation over cases only")
        if failed := row.metrics[DICE]["n_failed"]:
            lines.append(f"{row.title}: {failed} predictions have no DSC and are left out of the means")
    lines += [f"failed: {each['run']}: {each['reason']}" for each in facts["failed"]]
    if facts["runs"]["done"] < facts["runs"]["all"]:
        lines.append(f"{facts['runs']['done']} of {facts['runs']['all']} runs are finished")
    if facts["stopped"]:
        lines.append(f"stopped by {facts['stopped']}: run the same command again to continue")
    return lines


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _health(rows: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    """The section of health verdicts; empty if there are none."""
    looked_at = [row for row in rows if row.health]
    if not looked_at:
        return []
    lines = [
        (row.title, *(", ".join(dict.fromkeys(row.health.get(seed, ()))) or _NONE for seed in seeds))
        for row in looked_at
    ]
    words = f"## Health\n\nVerdicts at the end of training, made without labels of T. {LIMITS} {RULE}"
    return [words, _grid(("regime", *(str(seed) for seed in seeds)), lines)]


def _by_seed(row: Row, seeds: Sequence[int]) -> tuple[str, ...]:
    means = {seed: mean_of(row.target.values[DICE][place]) for place, seed in enumerate(row.target.seeds)}
    return (row.title, *(f"{100 * means[seed]:.1f}" if seed in means else _NONE for seed in seeds))


def _differences(rows: Sequence[Row], references: Sequence[str]) -> list[str]:
    """The section of differences from the references; empty if there are none."""
    titles = {row.name: row.title for row in rows}
    present = _present(references, rows)
    if not present or len(rows) == 1:
        return []
    words = (
        "## Differences of the DSC on T\n\nPercentage points with the 95 % interval; p of the paired Wilcoxon test "
        "over cases (each averaged over its seeds), corrected by Holm within a column. The interval covers the "
        "variation over cases and seeds, p over cases only. So p can be small although the interval includes 0; other "
        "seeds might then reverse the difference."
    )
    heading = [text for name in present for text in (f"against “{titles[name]}”", "p")]
    return [words, _grid(("regime", *heading), difference_cells(rows, references))]


def _present(references: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [name for name in references if any(row.name == name for row in rows)]


def _seeds(row: Row) -> str:
    return (
        f"{len(row.target.seeds)}" if len(row.target.seeds) == row.wanted else f"{len(row.target.seeds)}/{row.wanted}"
    )


def _mean_sd(values: Mapping[str, Any] | None, factor: float = 100) -> str:
    if values is None or math.isnan(values["mean"]):
        return _NONE
    deviation = values["sd_cases"]
    return f"{factor * values['mean']:.1f}" + ("" if math.isnan(deviation) else f" ({factor * deviation:.1f})")


def _interval(edges: tuple[float, float], *, signed: bool = False) -> str:
    if any(math.isnan(edge) for edge in edges):
        return _NONE
    low, high = (f"{100 * edge:+.1f}" if signed else f"{100 * edge:.1f}" for edge in edges)
    return f"[{low}, {high}]"


def _dice_interval(row: Row) -> str:
    """The interval of the Dice; of fewer than six cases their values, each averaged over seeds."""
    if DICE not in row.metrics:
        return _NONE
    if len(row.target.cases) >= FEWEST:
        return _interval(row.metrics[DICE]["ci95"])
    known = finite_means(row.target.values[DICE], axis=0)
    return ", ".join(f"{100 * value:.1f}" for value in known[np.isfinite(known)]) or _NONE


def _gap(row: Row) -> str:
    if row.gap is None or math.isnan(row.gap["share"]):
        return _NONE
    low, high = row.gap["ci95"]
    return f"{100 * row.gap['share']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _p(value: float) -> str:
    """A p-value as text.

    >>> _p(0.00003), _p(0.0312), _p(0.5)
    ('< 0.001', '0.031', '0.50')
    """
    if math.isnan(value):
        return _NONE
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
