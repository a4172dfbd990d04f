"""The page of `novelty.py`: tables, numbers and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import numpy as np

from medgen.metrics.separation import separation

PAGE = Path(__file__).parents[2] / "docs" / "results" / "generation"
SCORES = {
    "likelihood": "likelihood",
    "complexity": "less complexity",
    "reconstruction": "reconstruction",
    "latent": "latent code",
    "combined": "combined",
    "numbers": "43 numbers",
}
TITLES = {
    "vae": "VAE, sagittal slices",
    "realnvp": "RealNVP, sagittal slices",
    "two_channels": "VAE of two channels (T1 and T2), sagittal slices",
}


def write_page(out: Path, machine: str) -> None:
    """Write `docs/results/generation/novelty.{json,md,png}` from the scores of all runs that are there."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*_[0-9]*_scores.json"))]
    real = json.loads(path.read_text()) if (path := out / "real_scores.json").is_file() else []
    numbers = {
        "machine": machine,
        "runs": [_numbers(run) for run in runs],
        "real": _real(real),
        "real_cases": [{**row, "slices": _means(row["slices"])} for row in real],
    }
    PAGE.mkdir(parents=True, exist_ok=True)
    (PAGE / "novelty.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    (PAGE / "novelty.md").write_text(_markdown(numbers, machine))
    _picture([run for run in runs if run["run"] in ("vae", "realnvp")], PAGE / "novelty.png")


def _numbers(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of one run: by change and score the area with its interval over patients, and how often there is a warning."""
    usual = [row for row in run["rows"] if row["what"] == "usual"]
    names = [name for name in SCORES if name in usual[0]]
    found = {}
    for what in dict.fromkeys(row["what"] for row in run["rows"]):
        rows = [row for row in run["rows"] if row["what"] == what]
        known = [name for name in names if rows[0][name] is not None]
        areas = {} if what == "usual" else {name: _area(rows, usual, name) for name in known}
        keys = ("warns", "numbers_warn") if "numbers" in known else ("warns",)
        warned = {key: [sum(row[key] for row in rows), len(rows)] for key in keys}
        found[what] = {"auroc": areas, **warned}
    kept = ("run", "seed", "weights_sha256", "limit", "held_out", "training", "processor_seconds", "score")
    return {**{key: run[key] for key in kept}, "changes": found}


def _area(odd: Sequence[Mapping[str, Any]], usual: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    rows = [*usual, *odd]
    kinds = [False] * len(usual) + [True] * len(odd)
    area = separation([row[name] for row in rows], kinds, patients=[row["case"] for row in rows])
    return [None if np.isnan(each) else round(each, 3) for each in (area["auroc"], *area["ci95"])]


def _markdown(numbers: Mapping[str, Any], machine: str) -> str:
    first = numbers["runs"][0]
    lines = [
        "# Which odd images a generative model tells",
        "",
        "Phantom heads, T1 at 3.5 mm (`medgen phantom head --subjects 40 --spacing 3.5 --seed 7`): "
        f"{first['training']} patients to train on, {first['held_out']} for validation, which set the limit, 10 for "
        "testing. Settings were chosen on other phantoms (seed 412). Every test patient is scored as it is and changed "
        "in each way, by the mean of 16 slices of 64 x 64 in the body. A cell is the area under the ROC curve of "
        "changed against unchanged ones: mean over seeds, and in brackets the 95 % interval over patients "
        "(the widest of the seeds), where it is not a point. *Warned* counts patients beyond the limit that "
        "`medgen novelty fit` stored, over all seeds. *43 numbers* is the description that `medgen predict` compares "
        "without a guard ([odd images](../../explanation/odd-images.md)).",
        "",
        f"`pipelines/generation/novelty.py`, recipe `novelty.yaml`, {machine}. Numbers of each run: `novelty.json`.",
    ]  # fmt: skip
    for name, title in TITLES.items():
        if runs := [run for run in numbers["runs"] if run["run"] == name]:
            lines += ["", *_table(title, runs)]
    lines += ["", *_real_table(numbers)] if numbers["real"] else []
    lines += ["", "![Scores of test patients, unchanged and changed](novelty.png)", ""]
    remarks = PAGE / "novelty_remarks.md"
    return "\n".join(lines) + (remarks.read_text() if remarks.is_file() else "")


def _table(title: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(next(each for each in runs[0]["changes"].values() if each["auroc"])["auroc"])
    limits = ", ".join(f"{run['limit']:.2f}" for run in runs)
    seconds = ", ".join(str(run["processor_seconds"]) for run in runs)
    plural = "s" if len(runs) > 1 else ""
    lines = [
        f"## {title}",
        "",
        f"{len(runs)} seed{plural}; limit{plural} {limits}; processor seconds to score all patients: {seconds}.",
        "",
        "| test patients | " + " | ".join(SCORES[name] for name in names) + " | warned | warned by 43 numbers |",
        "|---" * (len(names) + 3) + "|",
    ]
    for what in runs[0]["changes"]:
        found = [run["changes"][what] for run in runs]
        cells = [_cell([each["auroc"][name] for each in found]) if name in found[0]["auroc"] else "" for name in names]
        counts = [
            f"{sum(each[key][0] for each in found)} of {sum(each[key][1] for each in found)}" if key in found[0] else ""
            for key in ("warns", "numbers_warn")
        ]
        label = "*unchanged (false alarms)*" if what == "usual" else what
        lines.append(f"| {label} | " + " | ".join([*cells, *counts]) + " |")
    return lines


def _cell(areas: Sequence[Sequence[float | None]]) -> str:
    value = mean(each[0] for each in areas if each[0] is not None)
    low, high = ([x for each in areas if (x := each[at]) is not None] for at in (1, 2))
    text = f"{value:.2f}"
    return text if not low or min(low) == max(high) else f"{text} ({min(low):.2f} to {max(high):.2f})"


def _real(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By method and kind: the area of slices against those of the held-out patient, mean of both directions."""
    found = []
    for run in dict.fromkeys(row["run"] for row in rows):
        for what in dict.fromkeys(row["what"] for row in rows if row["what"] != "usual"):
            areas: dict[str, list[float]] = {}
            ranks = []
            for trained in dict.fromkeys(row["trained"] for row in rows):
                mine = [row for row in rows if (row["run"], row["trained"]) == (run, trained)]
                usual = next(row for row in mine if row["what"] == "usual")
                odd = [row for row in mine if row["what"] == what]
                for name in usual["slices"][0]:
                    values = [[each[name] for each in row["slices"]] for row in (usual, *odd)]
                    flat = np.concatenate(values)
                    kinds = [False] * len(values[0]) + [True] * (len(flat) - len(values[0]))
                    areas.setdefault(name, []).append(separation(flat, kinds)["auroc"])
                held_out = _means(usual["slices"])["combined"]
                ranks += [_means(row["slices"])["combined"] > held_out for row in odd]
            cells = {name: round(mean(each), 3) for name, each in areas.items()}
            found.append({"run": run, "what": what, "auroc": cells, "above": [sum(ranks), len(ranks)]})
    return found


def _means(slices: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(mean(each[name] for each in slices), 4) for name in slices[0]}


def _real_table(numbers: Mapping[str, Any]) -> list[str]:
    names = [name for name in SCORES if any(name in row["auroc"] for row in numbers["real"])]
    lines = [
        "## Real images: T2 of a brain, and T2 of pork and of a prostate",
        "",
        "Trained on sagittal T2 slices of one MS patient (`brain_ms`, 300 steps), with the other patient as the usual "
        "case, and the other way round: two patients in all, so this shows that the score works on a scanner's images "
        "and says little about how often it fails. A cell is the area under the ROC curve of the 40 slices of each odd "
        "image against the 40 of the held-out patient, mean of both directions. *Odder* counts images whose mean "
        "combined score is above that of the held-out patient.",
        "",
        "| model | images | " + " | ".join(SCORES[name] for name in names) + " | odder |",
        "|---" * (len(names) + 3) + "|",
    ]  # fmt: skip
    for row in numbers["real"]:
        cells = [f"{row['auroc'][name]:.2f}" if name in row["auroc"] else "" for name in names]
        lines.append(
            f"| {row['run']} | {row['what']} | " + " | ".join(cells) + f" | {row['above'][0]} of {row['above'][1]} |"
        )
    return lines


def _picture(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Likelihood against the likelihood less complexity, of one run of each method: a point a patient."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = ("usual", "T2 given as T1", "FLAIR given as T1", "CT given as T1", "motion of 5 mm", "noise of 10 %")
    shown = list({run["run"]: run for run in runs}.values())
    figure, axes = pyplot.subplots(1, len(shown), figsize=(4.5 * len(shown), 3.6), squeeze=False)
    for axis, run in zip(axes[0], shown, strict=True):
        for what in chosen:
            rows = [row for row in run["rows"] if row["what"] == what]
            axis.scatter([r["likelihood"] for r in rows], [r["complexity"] for r in rows], s=14, label=what)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_title(TITLES[run["run"]], fontsize=9)
        axis.set_xlabel("negative log-likelihood, nats a voxel", fontsize=8)
        axis.set_ylabel("less complexity, bits a voxel", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
