"""From the scores of all jobs to one table: means over cases and seeds, intervals, paired tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgen.metrics.statistics import compare, holm, summarise_runs

from study import ROWS, UNTRAINED

METRICS = {
    "mae": ("MAE (HU)", 1),
    "psnr": ("PSNR (dB)", 2),
    "ms_ssim": ("MS-SSIM", 3),
    "mae_air": ("air (HU)", 1),
    "mae_soft": ("soft (HU)", 1),
    "mae_bone": ("bone (HU)", 1),
    "dice_bone": ("bone Dice", 3),
    "edge_error_bone": ("bone edge (HU)", 1),
    "gradient_ratio": ("sharpness", 3),
}
REFERENCE = "neighbourhood"
"""The baseline that rows are tested against."""
BEFORE = {"context": "unet", "trees": "context", "gradient": "trees", "gan": "gradient", "stage2": "gan"}
"""By row, the one that it differs from in one thing."""


Values = dict[int, dict[str, np.ndarray]]
"""By training seed and metric: one number a case."""


def collect(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Statistics of every row that has scores under ``out/seed<n>/scores``."""
    values = {row: found for row in ROWS if (found := _values(out, row, seeds))}
    rows = {
        row: {metric: dict(summarise_runs([each[metric] for each in found.values()])) for metric in METRICS}
        | {"seeds": len(found)}
        for row, found in values.items()
    }
    every_seed = {
        row: {seed: float(np.nanmean(each["mae"])) for seed, each in found.items()} for row, found in values.items()
    }
    return {"rows": rows, "tests": _tests(values), "every_seed": every_seed}


def _values(out: Path, row: str, seeds: Sequence[int]) -> Values:
    files = {seed: path for seed in seeds if (path := out / f"seed{seed}" / "scores" / f"{row}.json").is_file()}
    contents = {seed: json.loads(path.read_text())["cases"] for seed, path in files.items()}
    return {
        seed: {metric: np.array([np.nan if c[metric] is None else c[metric] for c in cases]) for metric in METRICS}
        for seed, cases in contents.items()
    }


def _tests(values: dict[str, Values]) -> dict[str, Any]:
    """Each row against the reference and the row before, in pairs of case and seed; Holm over all tests."""
    pairs = [(row, REFERENCE) for row in values if row != REFERENCE]
    pairs += [(row, other) for row, other in BEFORE.items() if row in values]
    tests = {}
    for row, other in pairs:
        if other in values and (found := _paired(row, other, values)):
            first, second = np.array(found).swapaxes(0, 1)
            tests[f"{row} - {other}"] = dict(compare(first.mean(0), second.mean(0)))
            tests[f"{row} - {other}"]["ci95_two_level"] = summarise_runs(first - second)["ci95"]
    adjusted = holm({row: test["p"] for row, test in tests.items()})
    return {row: {**test, "p_holm": adjusted[row]} for row, test in tests.items()}


def _paired(row: str, other: str, values: dict[str, Values]) -> list[tuple[np.ndarray, np.ndarray]]:
    """MAE of both by common seed; what is not trained is the same whatever the seed of the other."""
    one, two = values[row], values[other]
    if row in UNTRAINED or other in UNTRAINED:
        first, second = (next(iter(each.values()))["mae"] for each in (one, two))
        seeds = two if row in UNTRAINED else one
        return [
            (first if row in UNTRAINED else one[seed]["mae"], second if other in UNTRAINED else two[seed]["mae"])
            for seed in seeds
        ]
    return [(one[seed]["mae"], two[seed]["mae"]) for seed in one if seed in two]


def markdown(results: dict[str, Any]) -> str:
    """The table as Markdown: mean (sd over cases), then MAE with its interval and the test."""
    heading = ["method", "seeds", *(label for label, _ in METRICS.values())]
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    for row, found in results["rows"].items():
        cells = [f"{found[m]['mean']:.{d}f} ({found[m]['sd_cases']:.{d}f})" for m, (_, d) in METRICS.items()]
        lines.append(f"| {ROWS[row]} | {found['seeds']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| method | MAE, 95 % interval | minus neighbourhood boosting | p (Holm) | minus the row before | p (Holm) "
        "| each seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, found in results["rows"].items():
        low, high = found["mae"]["ci95"]
        cells = [_difference(results["tests"].get(f"{row} - {other}")) for other in (REFERENCE, BEFORE.get(row))]
        seeds = ", ".join(f"{value:.1f}" for value in results["every_seed"][row].values())
        shown = f"{found['mae']['mean']:.1f} ({low:.1f} to {high:.1f})"
        lines.append(f"| {ROWS[row]} | {shown} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(lines) + "\n"


def _difference(test: dict[str, Any] | None) -> str:
    if test is None:
        return "- | -"
    low, high = test["ci95_two_level"]
    return f"{test['mean_difference']:+.1f} ({low:+.1f} to {high:+.1f}) | {test['p_holm']:.3f}"
