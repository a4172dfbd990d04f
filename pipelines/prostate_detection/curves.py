"""From the scores of all jobs to curves over the number of patients, with two-level intervals, and their picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.files import atomic_path, write_json
from medgen.metrics.detection import CaseDetection, Finding, summarise
from medgen.metrics.resampling import interval, ratio, times_drawn
from medgen.report.drawing import LIGHT, new_figure, png

from rows import ROWS, Job

METRICS = {
    "dice": "Dice",
    "voxel_sensitivity": "sensitivity",
    "voxel_specificity": "specificity",
    "auroc": "AUROC",
    "ap": "AP",
}
"""Of tumour voxels (the first three, means over patients), of patients, of lesions."""
REFERENCE = "cross_entropy"
DRAWS = 2000

Numbers = NDArray[np.float64]


class Sample(NamedTuple):
    """One metric of one row: the value of each seed, and (draws, seeds) values on bootstrap samples of the patients."""

    values: Numbers
    drawn: Numbers

    def of(self, places: list[int]) -> Sample:
        """Some of the seeds."""
        return Sample(self.values[places], self.drawn[:, places])


class Scored(NamedTuple):
    """All metrics of one row and size, by seed, and the patients that they are of."""

    seeds: tuple[int, ...]
    metrics: dict[str, Sample]
    patients: tuple[str, ...]


def write_tables(out: Path, jobs: Sequence[Job]) -> str:
    """Write ``study.md``, ``study.json``, ``study.csv`` and ``study.png`` of the jobs that are done; gives the text."""
    done: dict[tuple[str, int], list[Job]] = {}
    for job in jobs:
        if job.scores.is_file():
            done.setdefault((job.row, job.size), []).append(job)
    samples = {key: _samples(group) for key, group in done.items()}
    _require_same_patients({f"{row}, {size} patients": each.patients for (row, size), each in samples.items()})
    rows = [_row(key, samples) for key in sorted(samples, key=lambda key: (key[1], list(ROWS).index(key[0])))]
    write_json(out / "study.json", {"phantom": True, "draws": DRAWS, "rows": rows})
    _write_csv(out / "study.csv", rows)
    text = _markdown(rows)
    with atomic_path(out / "study.md") as temporary:
        temporary.write_text(text)
    if rows:
        with atomic_path(out / "study.png") as temporary:
            temporary.write_bytes(png(_curves(rows)))
    return text


def _samples(group: Sequence[Job]) -> Scored:
    """The same draws of patients for every row and seed, so that differences are paired."""
    contents = [json.loads(job.scores.read_text()) for job in group]
    patients = [tuple(str(case["case"]) for case in content["cases"]) for content in contents]
    for job, content, names in zip(group, contents, patients, strict=True):
        if tuple(content["findings"]) != names:
            raise ValueError(f"{job.scores}: a patient has no findings")
    _require_same_patients({"/".join(job.folder.parts[-3:]): names for job, names in zip(group, patients, strict=True)})
    found: dict[str, Sample] = {}
    for metric in ("dice", "voxel_sensitivity", "voxel_specificity"):
        table = np.array(
            [[np.nan if c[metric] is None else c[metric] for c in content["cases"]] for content in contents]
        )
        times, valid = times_drawn(table.shape[1], DRAWS, np.random.default_rng(0)), np.isfinite(table)
        drawn = ratio(times @ np.where(valid, table, 0.0).T, times @ valid.T.astype(np.float64))
        found[metric] = Sample(np.nanmean(table, axis=1), drawn)
    detections = [summarise(_cases(content)) for content in contents]
    resampled = [each.resampled(seed=0, draws=DRAWS) for each in detections]
    for metric in ("auroc", "ap"):
        values = np.array([each.values[metric] for each in detections])
        found[metric] = Sample(values, np.stack([each[metric] for each in resampled], axis=1))
    return Scored(tuple(job.seed for job in group), found, patients[0])


def _require_same_patients(patients: dict[str, tuple[str, ...]]) -> None:
    """What is drawn by place must be the same patient at each place, or differences would not be paired.

    Raises:
        ValueError: two differ; it names both.
    """
    for name, each in patients.items():
        first = next(iter(patients))
        if each != patients[first]:
            raise ValueError(f"'{first}' and '{name}' were not scored on the same patients in the same order")


def _cases(content: dict[str, Any]) -> dict[str, CaseDetection]:
    confidence = {case["case"]: case["confidence"] for case in content["cases"]}
    return {
        name: CaseDetection(tuple(Finding(bool(f[0]), f[1], f[2]) for f in findings), confidence[name])
        for name, findings in content["findings"].items()
    }


def _over_seeds(drawn: Numbers) -> Numbers:
    """(draws,): the mean over a draw of the seeds, on the patients of that draw.

    Two rows get the same draw of seeds: a seed chooses the training patients, so it is a pair across rows. With three
    seeds the interval of that level is somewhat too narrow.
    """
    times = times_drawn(drawn.shape[1], len(drawn), np.random.default_rng(1))
    return ratio((times * np.nan_to_num(drawn)).sum(1), (times * np.isfinite(drawn)).sum(1))


def _row(key: tuple[str, int], samples: dict[tuple[str, int], Scored]) -> dict[str, Any]:
    row, size = key
    mine, reference = samples[key], samples.get((REFERENCE, size))
    common = [seed for seed in mine.seeds if reference and seed in reference.seeds]
    metrics: dict[str, Any] = {}
    for metric in METRICS:
        values, drawn = mine.metrics[metric]
        metrics[metric] = {
            "mean": float(values.mean()),
            "ci95": interval(_over_seeds(drawn), len(mine.patients)),
            "seeds": values.tolist(),
        }
        if reference and common and row != REFERENCE:
            ours, theirs = (
                each.metrics[metric].of([each.seeds.index(seed) for seed in common]) for each in (mine, reference)
            )
            metrics[metric]["difference"] = float(ours.values.mean() - theirs.values.mean())
            metrics[metric]["difference_ci95"] = interval(
                _over_seeds(ours.drawn) - _over_seeds(theirs.drawn), len(mine.patients)
            )
    return {"row": row, "size": size, "seeds": len(mine.seeds), "common_seeds": len(common), "metrics": metrics}


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    heading = [
        "| patients | training | seeds | " + " | ".join(METRICS.values()) + " |",
        "| ---: | --- | ---: |" + " --- |" * len(METRICS),
    ]
    lines = [*heading]
    for row in rows:
        cells = [_cell(row["metrics"][metric]) for metric in METRICS]
        lines.append(f"| {row['size']} | {ROWS[row['row']][0]} | {row['seeds']} | " + " | ".join(cells) + " |")
    lines += ["", f"Less {ROWS[REFERENCE][0]}, on the same patients:", "", *heading]
    for row in rows:
        if all("difference" in row["metrics"][metric] for metric in METRICS):
            cells = [_difference(row["metrics"][metric]) for metric in METRICS]
            lines.append(
                f"| {row['size']} | {ROWS[row['row']][0]} | {row['common_seeds']} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines) + "\n"


def _cell(values: dict[str, Any]) -> str:
    low, high = values["ci95"]
    return f"{values['mean']:.3f} [{low:.3f}, {high:.3f}]"


def _difference(values: dict[str, Any]) -> str:
    low, high = values["difference_ci95"]
    return f"{values['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patients", "training", "metric", "mean", "low", "high", "each_seed"])
        for row in rows:
            for metric, values in row["metrics"].items():
                each = " ".join(f"{value:.4f}" for value in values["seeds"])
                numbers = [f"{value:.4f}" for value in (values["mean"], *values["ci95"])]
                writer.writerow([row["size"], row["row"], metric, *numbers, each])


def _curves(rows: Sequence[dict[str, Any]]) -> Any:
    """One panel a metric: mean and interval of each training over the number of patients, and a tick a seed."""
    figure = new_figure(13.5, 3.4, background=LIGHT.background)
    panels = figure.subplots(1, len(METRICS))
    sizes = sorted({row["size"] for row in rows})
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for number, (name, (label, _)) in enumerate(ROWS.items()):
            mine = [row for row in rows if row["row"] == name]
            if not mine:
                continue
            places = np.array([sizes.index(row["size"]) for row in mine]) + 0.08 * (number - 1.5)
            means = np.array([row["metrics"][metric]["mean"] for row in mine])
            ends = np.array([row["metrics"][metric]["ci95"] for row in mine]).reshape(-1, 2)
            colour = LIGHT.series[number]
            axes.plot(places, means, "o-", color=colour, markersize=4, linewidth=1.4, label=label)
            axes.vlines(places, ends[:, 0], ends[:, 1], color=colour, alpha=0.45, linewidth=2)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("patients to learn from", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", color=LIGHT.grid)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(ROWS), fontsize=8.5, frameon=False)
    footer = "Phantom; mean over seeds, 95 % interval over seeds and test patients: of few seeds somewhat too narrow"
    figure.text(0.005, 0.01, footer, fontsize=7.5)
    figure.tight_layout(rect=(0, 0.03, 1, 0.93))
    return figure
