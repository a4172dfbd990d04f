"""Planar and inverse autoregressive posteriors against the diagonal one: does a richer q(z|x) tighten the bound?

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    python pipelines/generation/posteriors.py train --cases heads/cases.csv --out posteriors
    python pipelines/generation/posteriors.py score --cases heads/cases.csv --out posteriors
    python pipelines/generation/posteriors.py page --out posteriors

The same axial T1 slices, steps and seeds for each. Held-out slices are judged by the evidence lower bound, the mean
over 64 draws, and by the importance-weighted bound of these draws. A patient counts once: intervals are over patients
and seeds. No setting was tuned. What is done already is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch

from medgen.inference.opened import open_model
from medgen.inference.references import reference_patches
from medgen.losses.variational import importance_bound
from medgen.metrics.statistics import compare_runs

RECIPE = Path(__file__).with_name("vae.yaml")
PAGE = Path(__file__).parents[2] / "docs" / "results" / "generation"
POSTERIORS: dict[str, dict[str, Any]] = {
    "diagonal": {},
    "planar": {"config.posterior": "planar", "config.flows": 8},
    "iaf": {"config.posterior": "iaf", "config.flows": 4},
}
COMMON = {"config.width": 0.25, "config.latent": 16, "config.beta": 1, "config.prior": "normal"}
DRAWS, SLICES = 64, 160
"""Codes of a slice, and slices of the test patients."""
BOUNDS = {"elbo": "evidence lower bound", "iwae": f"importance-weighted bound, k = {DRAWS}"}


class Run(NamedTuple):
    """One training."""

    posterior: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return (self.folder / "model" / "model.json").is_file()

    @property
    def bounds(self) -> Path:
        """The file of its bounds."""
        return self.folder.with_name(f"{self.folder.name}_bounds.json")

    @property
    def spent(self) -> Path:
        """The file with the processor seconds of its training."""
        return self.folder.with_name(f"{self.folder.name}_seconds.json")


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """All trainings; one seed of all posteriors before the next seed."""
    for seed in range(options.seeds):
        for posterior in POSTERIORS:
            yield Run(posterior, seed, options.out / f"{posterior}_{seed}")


def train(options: argparse.Namespace) -> None:
    """Train what is not trained, each in a process of its own with one thread."""
    options.out.mkdir(parents=True, exist_ok=True)
    for run in runs(options):
        if run.done:
            continue
        settings = {
            **COMMON, **POSTERIORS[run.posterior], "seed": run.seed, "schedule.steps": options.steps,
            "schedule.validate_every": options.steps, "schedule.save_every": options.steps, "schedule.keep": "last",
        }  # fmt: skip
        command = [sys.executable, "-m", "medgen", "train", str(RECIPE), "--cases", str(options.cases)]
        command += ["--out", str(run.folder), "--store", str(options.out / "store"), "--device", "cpu"]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        before = _seconds()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        run.spent.write_text(json.dumps(_seconds() - before))


def score(options: argparse.Namespace) -> None:
    """Bounds of each test patient, in nats a slice: the mean over its slices."""
    torch.set_num_threads(1)
    for run in runs(options):
        if not run.done or run.bounds.is_file():
            continue
        model = open_model(run.folder, "cpu", ())
        store = options.out / "store"
        held = reference_patches(model, options.cases, split="test", count=SLICES, store=store)
        images = torch.from_numpy(held.images)
        with torch.no_grad():
            weights = torch.cat([model.method.log_weights(part, DRAWS) for part in images.split(16)], dim=1)
        found = {"elbo": weights.mean(dim=0).double().numpy(), "iwae": importance_bound(weights.double()).numpy()}
        names = np.array(held.cases)
        by_case = {
            bound: {name: float(values[names == name].mean()) for name in sorted(set(held.cases))}
            for bound, values in found.items()
        }
        run.bounds.write_text(json.dumps({**by_case, "slices": len(images)}))


def page(options: argparse.Namespace) -> None:
    """Write the table, its numbers and the picture."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs(options):
        if run.bounds.is_file():
            content = {"seed": run.seed, "processor_seconds": round(json.loads(run.spent.read_text()))}
            found.setdefault(run.posterior, []).append({**content, **json.loads(run.bounds.read_text())})
    tables = {
        bound: {name: [list(row[bound].values()) for row in rows] for name, rows in found.items()} for bound in BOUNDS
    }
    differences = {
        bound: {name: compare_runs(table[name], table["diagonal"]) for name in table if name != "diagonal"}
        for bound, table in tables.items()
    }
    numbers = {"steps": options.steps, "settings": {**COMMON}, "runs": found, "differences": differences}
    PAGE.mkdir(parents=True, exist_ok=True)
    (PAGE / "posteriors.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (PAGE / "posteriors.md").write_text(_markdown(found, tables, differences, options))
    _picture(tables, PAGE / "posteriors.png")


def _markdown(found: Any, tables: Any, differences: Any, options: argparse.Namespace) -> str:
    patients, slices = len(next(iter(tables["elbo"].values()))[0]), next(iter(found.values()))[0]["slices"]
    lines = [
        "# Posteriors of the variational autoencoder on phantom slices",
        "",
        f"Axial T1 slices of phantom heads, 64 x 64 at 3.5 mm; {options.steps} steps of 16 slices, dense code of "
        f"{COMMON['config.latent']} numbers, beta 1, width {COMMON['config.width']}, analytic variance; seeds 0 to "
        f"{options.seeds - 1}. Bounds in nats a slice of {slices} slices of {patients} test patients, {DRAWS} draws "
        "each, mean over patients and seeds. Differences to `diagonal` with 95 % intervals over patients and seeds. "
        "Numbers of each run and patient are in `posteriors.json`; the commands are in "
        f"`pipelines/generation/posteriors.py` ({options.machine}).",
        "",
        "| posterior | ELBO | difference | bound of 64 draws | difference | gain over the ELBO | processor seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        means = {bound: float(np.mean(tables[bound][name])) for bound in BOUNDS}
        seconds = float(np.median([row["processor_seconds"] for row in rows]))
        cells = [f"{means['elbo']:.1f}", _difference(differences["elbo"], name)]
        cells += [f"{means['iwae']:.1f}", _difference(differences["iwae"], name)]
        cells += [f"{means['iwae'] - means['elbo']:.1f}", f"{seconds:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "![Bounds of each training](posteriors.png)", ""]
    remarks = PAGE / "posteriors_remarks.md"
    return "\n".join(lines) + (remarks.read_text() if remarks.is_file() else "")


def _difference(rows: Any, name: str) -> str:
    if name not in rows:
        return ""
    low, high = rows[name]["ci95"]
    return f"{rows[name]['mean_difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def _picture(tables: Any, path: Path) -> None:
    """The bounds of each training, mean over patients."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 2.6))
    for offset, (bound, label) in enumerate(BOUNDS.items()):
        for place, rows in enumerate(tables[bound].values()):
            means = [float(np.mean(row)) for row in rows]
            where = [place + 0.2 * offset - 0.1] * len(means)
            axis.plot(where, means, "ox"[offset], color=f"C{offset}", label=None if place else label)
    axis.set_xticks(range(len(tables["elbo"])), list(tables["elbo"]))
    axis.set_ylabel("nats a slice")
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "score", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--machine", default="one of two x86 cores")
    options = parser.parse_args()
    if options.part != "page" and options.cases is None:
        parser.error(f"'{options.part}' needs --cases")
    {"train": train, "score": score, "page": page}[options.part](options)


if __name__ == "__main__":
    main()
