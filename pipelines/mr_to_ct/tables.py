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


def collect(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Statistics of every row that has scores under ``out/seed<n>/scores``."""
    values = {row: found for row in ROWS if (found := _values(out, row, seeds))}
    rows = {
        row: {metric: dict(summarise_runs(found[metric])) for metric in METRICS} | {"seeds": len(found["mae"])}
        for row, found in values.items()
    }
    return {"rows": rows, "tests": _tests(values), "every_seed": _every_seed(values)}


def _values(out: Path, row: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Metric to a table ``(seeds, cases)``; rows that need no training have the one seed that they have."""
    files = [path for seed in seeds if (path := out / f"seed{seed}" / "scores" / f"{row}.json").is_file()]
    contents = [json.loads(path.read_text())["cases"] for path in files]
    if not contents:
        return {}
    return {
        metric: np.array([[np.nan if case[metric] is None else case[metric] for case in cases] for cases in contents])
        for metric in METRICS
    }


def _tests(values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each row against the FCN with MSE: per-case MAE averaged over seeds, Wilcoxon, Holm over the family."""
    if REFERENCE not in values:
        return {}
    reference = values[REFERENCE]["mae"]
    tests = {
        row: dict(compare(found["mae"].mean(0), reference.mean(0))) for row, found in values.items() if row != REFERENCE
    }
    adjusted = holm({row: test["p"] for row, test in tests.items()})
    for row, test in tests.items():
        test["p_holm"] = adjusted[row]
        # A row without training has one seed: it is the same under every seed of the reference.
        test["ci95_two_level"] = summarise_runs(values[row]["mae"] - reference)["ci95"]
    return tests


def _every_seed(values: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    return {row: [float(mean) for mean in np.nanmean(found["mae"], axis=1)] for row, found in values.items()}


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
        seeds = ", ".join(f"{value:.1f}" for value in results["every_seed"][row])
        lines.append(f"| {ROWS[row]} | {found['mae']['mean']:.1f} ({low:.1f} to {high:.1f}) | {difference} | {seeds} |")
    return "\n".join(lines) + "\n"
