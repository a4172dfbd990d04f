"""From the scores of all jobs to one table: means over cases and seeds, intervals, paired tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgen.metrics.statistics import compare, holm, summarise_runs

from study import ROWS

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
REFERENCE = "fcn_mse"
UNTRAINED = ("constant", "voxelwise")


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
    """Each row against the FCN with MSE, in pairs of case and seed; Wilcoxon over cases, Holm over the rows."""
    if REFERENCE not in values:
        return {}
    reference = values[REFERENCE]
    tests = {}
    for row, found in values.items():
        if row == REFERENCE:
            continue
        if row in UNTRAINED:  # the same whatever the seed of the reference
            pairs = [(next(iter(found.values()))["mae"], other["mae"]) for other in reference.values()]
        else:
            pairs = [(found[seed]["mae"], reference[seed]["mae"]) for seed in found if seed in reference]
        first, second = np.array(pairs).swapaxes(0, 1)
        tests[row] = dict(compare(first.mean(0), second.mean(0)))
        tests[row]["ci95_two_level"] = summarise_runs(first - second)["ci95"]
    adjusted = holm({row: test["p"] for row, test in tests.items()})
    return {row: {**test, "p_holm": adjusted[row]} for row, test in tests.items()}


def markdown(results: dict[str, Any]) -> str:
    """The table as Markdown: mean (sd over cases), then MAE with its interval and the test."""
    heading = ["method", "seeds", *(label for label, _ in METRICS.values())]
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    for row, found in results["rows"].items():
        cells = [f"{found[m]['mean']:.{d}f} ({found[m]['sd_cases']:.{d}f})" for m, (_, d) in METRICS.items()]
        lines.append(f"| {ROWS[row]} | {found['seeds']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| method | MAE, 95 % interval | minus FCN MSE, 95 % interval | p (Holm) | MAE of each seed |",
        "|---|---|---|---|---|",
    ]
    for row, found in results["rows"].items():
        low, high = found["mae"]["ci95"]
        test = results["tests"].get(row)
        difference = "reference | "
        if test:
            a, b = test["ci95_two_level"]
            difference = f"{test['mean_difference']:+.1f} ({a:+.1f} to {b:+.1f}) | {test['p_holm']:.3f}"
        seeds = ", ".join(f"{value:.1f}" for value in results["every_seed"][row].values())
        lines.append(f"| {ROWS[row]} | {found['mae']['mean']:.1f} ({low:.1f} to {high:.1f}) | {difference} | {seeds} |")
    return "\n".join(lines) + "\n"
