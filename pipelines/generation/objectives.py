"""Every objective of the GAN on axial slices of phantom heads, at one budget: a small echo of Lucic et al. 2018.

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    medgen phantom head encoder_heads --subjects 40 --spacing 3.5 --seed 412 --lesions
    medgen train pipelines/generation/encoder2d.yaml --cases encoder_heads/cases.csv --out encoder2d
    python pipelines/generation/objectives.py tune --cases encoder_heads/cases.csv --out objectives --features encoder2d
    python pipelines/generation/objectives.py train --cases heads/cases.csv --out objectives
    python pipelines/generation/objectives.py score --cases heads/cases.csv --out objectives --features encoder2d
    python pipelines/generation/objectives.py page --out objectives

What is done already is skipped, and a training that was stopped goes on, so each command can be repeated. Tuning is the
same for every objective: half of a training at each of two learning rates, on other phantoms; the rate with the least
Fréchet distance is taken. Other settings are those of the preset ``tuned``. All discriminators see as many slices.
Which settings of that preset were found by hand before stands on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from medgen.config import build
from medgen.evaluation.samples import evaluate_samples
from medgen.inference.generation import sample
from medgen.methods.gan import Config, ObjectiveName

from pictures import picture_of_rows

RECIPE = Path(__file__).with_name("gan.yaml")
PAGE = Path(__file__).parents[2] / "docs" / "results" / "generation"
OBJECTIVES: tuple[str, ...] = get_args(ObjectiveName)
SAMPLES = 512
RATES, TUNING_SEED = (5e-4, 1e-3), 100
METRICS = {
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance (KID)",
    "precision": "precision",
    "recall": "recall",
}
SHOWN = 8
"""Samples of each objective in the picture."""


class Run(NamedTuple):
    """One training."""

    objective: str
    seed: int
    rate: float
    folder: Path

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return (self.folder / "model" / "model.json").is_file()

    @property
    def scores(self) -> Path:
        """The file of its scores."""
        return self.folder.with_name(f"{self.folder.name}_scores.json")

    @property
    def samples(self) -> Path:
        """The folder of its samples."""
        return self.folder.with_name(f"{self.folder.name}_samples")

    @property
    def spent(self) -> Path:
        """The file with the processor seconds of its training."""
        return self.folder.with_name(f"{self.folder.name}_seconds.json")


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """All trainings of the study; one seed of all objectives before the next seed."""
    rates = json.loads((options.out / "rates.json").read_text())
    for seed in range(options.seeds):
        for objective in OBJECTIVES:
            yield Run(objective, seed, rates[objective], options.out / f"{objective}_{seed}")


def tune(options: argparse.Namespace) -> None:
    """Half of a training at each rate; ``rates.json`` has the best of each objective, and ``tuning.json`` all."""
    found: dict[str, dict[str, float]] = {}
    for objective in OBJECTIVES:
        for rate in RATES:
            run = Run(objective, TUNING_SEED, rate, options.out / "tuning" / f"{objective}_{rate}")
            fit(run, options.cases, options.steps // 2)
            judge(run, options.cases, options.features, ("frechet",))
            content = json.loads(run.scores.read_text())
            found.setdefault(objective, {})[str(rate)] = content["summary"]["frechet_distance"]["mean"]
    best = {objective: float(min(distances, key=distances.__getitem__)) for objective, distances in found.items()}
    (options.out / "tuning.json").write_text(json.dumps(found, indent=1))
    (options.out / "rates.json").write_text(json.dumps(best, indent=1))


def train(options: argparse.Namespace) -> None:
    """Train what is not trained."""
    for run in runs(options):
        fit(run, options.cases, options.steps)


def score(options: argparse.Namespace) -> None:
    """Draw samples of what is trained, and judge them by slices of the test patients."""
    for run in runs(options):
        if run.done:
            judge(run, options.cases, options.features, ("frechet", "kernel", "fidelity"))


def fit(run: Run, cases: Path, steps: int) -> None:
    """Train in a process of its own with one thread, unless it is done."""
    if run.done:
        return
    steps //= build(Config, {"objective": run.objective}).critic_steps
    settings = {
        "config.objective": run.objective, "config.learning_rate": run.rate, "seed": run.seed, "schedule.steps": steps,
        "schedule.validate_every": steps, "schedule.save_every": max(1, steps // 4), "schedule.precision": "bf16",
    }  # fmt: skip
    command = [sys.executable, "-m", "medgen", "train", str(RECIPE), "--cases", str(cases), "--out", str(run.folder)]
    command += ["--store", str(run.folder.with_name("store")), "--device", "cpu"]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command += ["--resume"] if (run.folder / "recipe.yaml").is_file() else []
    before, earlier = _seconds(), json.loads(run.spent.read_text()) if run.spent.is_file() else 0.0
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    run.spent.write_text(json.dumps(earlier + _seconds() - before))


def judge(run: Run, cases: Path, features: Path, groups: tuple[str, ...]) -> None:
    """Write the scores of its samples, unless they are there."""
    if run.scores.is_file():
        return
    if not run.samples.is_dir():
        sample(run.folder, run.samples, count=SAMPLES, seed=0, device="cpu")
    store = run.folder.with_name("store")
    evaluate_samples(
        run.samples, cases, features=features, metrics=groups, device="cpu", store=store
    ).write(run.scores)  # fmt: skip


def page(options: argparse.Namespace) -> None:
    """Write the table, its numbers and the picture."""
    found = {run: json.loads(run.scores.read_text()) for run in runs(options) if run.scores.is_file()}
    rows = {run: _row(run, content) for run, content in found.items()}
    PAGE.mkdir(parents=True, exist_ok=True)
    first = next(iter(found.values()))
    numbers = {
        "features": first["features"], "settings": first["settings"], "steps": options.steps,
        "real": {name: first["summary"][name]["real"] for name in METRICS},
        "n_real": first["summary"]["frechet_distance"]["n_real"],
        "runs": list(rows.values()),
    }  # fmt: skip
    (PAGE / "objectives.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (PAGE / "objectives.md").write_text(_markdown(numbers, options))
    _picture([run for run in found if run.seed == 0], PAGE / "objectives.png")


def _row(run: Run, content: dict[str, Any]) -> dict[str, Any]:
    seconds = json.loads(run.spent.read_text())
    means = {name: content["summary"][name]["mean"] for name in METRICS}
    return {
        "objective": run.objective,
        "seed": run.seed,
        "learning_rate": run.rate,
        "processor_seconds": round(seconds),
        **means,
    }


def _markdown(numbers: dict[str, Any], options: argparse.Namespace) -> str:
    features, real = numbers["features"], numbers["real"]
    lines = [
        "# Objectives of the GAN on phantom slices",
        "",
        f"Axial T1 slices of phantom heads, 64 x 64 at 3.5 mm. {options.steps} steps of the discriminator with 16 "
        f"slices each; seeds 0 to {options.seeds - 1}; {SAMPLES} samples of a run against {numbers['n_real']} slices "
        "of the test patients. Median over seeds, in brackets the least and the greatest. Numbers of each run are in "
        f"`objectives.json`; the commands are in `pipelines/generation/objectives.py` ({options.machine}).",
        "",
        f"Features: `{features['method']}`, layer {features['layer']} of {features['layers']} ({features['features']} "
        f"numbers), weights SHA-256 `{features['weights_sha256'][:16]}`, trained on other phantoms. In the first row "
        "*training slices* stand in the place of samples: no generator can be expected to do better.",
        "",
        "| objective | rate | " + " | ".join(METRICS.values()) + " | processor seconds |",
        "|---" * (len(METRICS) + 3) + "|",
        "| *training slices* | | " + " | ".join(_number(real[name]) for name in METRICS) + " | |",
    ]  # fmt: skip
    by_objective = {name: [row for row in numbers["runs"] if row["objective"] == name] for name in OBJECTIVES}
    present = {name: rows for name, rows in by_objective.items() if rows}
    for name in sorted(present, key=lambda each: statistics.median(r["frechet_distance"] for r in present[each])):
        cells = [_cell([row[metric] for row in present[name]]) for metric in (*METRICS, "processor_seconds")]
        few = "" if len(present[name]) == options.seeds else f" ({len(present[name])} seeds)"
        lines.append(f"| {name}{few} | {present[name][0]['learning_rate']:g} | " + " | ".join(cells) + " |")
    lines += ["", "![Samples of seed 0, one objective a row](objectives.png)", ""]
    remarks = PAGE / "objectives_remarks.md"
    return "\n".join(lines) + (remarks.read_text() if remarks.is_file() else "")


def _cell(values: list[float]) -> str:
    return f"{_number(statistics.median(values))} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _picture(chosen: list[Run], path: Path) -> None:
    """Eight samples of each objective, not chosen: the first."""
    picture_of_rows({run.objective: list(_first(run.samples)) for run in chosen}, path)


def _first(folder: Path) -> np.ndarray[Any, Any]:
    with np.load(folder / "samples.npz") as arrays:
        images: np.ndarray[Any, Any] = arrays["t1"][:SHOWN]
        return images


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "train", "score", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--steps", type=int, default=1000, help="of the discriminator")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--machine", default="one of two x86 cores")
    options = parser.parse_args()
    needed = {"tune": ("cases", "features"), "train": ("cases",), "score": ("cases", "features"), "page": ()}[
        options.part
    ]
    if missing := [name for name in needed if getattr(options, name) is None]:
        parser.error(f"'{options.part}' needs --{missing[0]}")
    {"tune": tune, "train": train, "score": score, "page": page}[options.part](options)


if __name__ == "__main__":
    main()
