"""MR to CT on the head phantom: one command makes the data, trains every row of the table and compares them.

    python pipelines/mr_to_ct/run.py study --out runs/mr_to_ct --device cuda
    python pipelines/mr_to_ct/run.py tune --out runs/mr_to_ct_tuning --device cuda

`study` uses phantom seed 0, `tune` phantom seed 100: nothing that is reported was tuned on the subjects it is
reported for. Both can be stopped and started again; what is done is kept, and `tables` shows it without doing more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom import make_head_phantom
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe

from study import NETWORKS, Budget, Job
from tables import collect, markdown

SUBJECTS = (12, 2, 8)
"""Training, validation and test subjects of the study."""
TUNING_SEED = 100
WEIGHTS = (0.0, 1e-3, 1e-2, 5e-2, 2e-1)
"""Adversarial weights that are tried."""


def main() -> None:
    """Read the arguments and run the study or the tuning."""
    options = _arguments()
    out = Path(options.out)
    budget = Budget(options.minutes, None, options.precision, options.device)
    jobs = _tuning_jobs(out, options, budget) if options.what == "tune" else _study_jobs(out, options, budget)
    began = time.monotonic()
    _require_same_rows(out, budget)
    if options.what != "tables":
        _run_all([job for job in jobs if not job.done], options.jobs)
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": _machine(options.device),
        "seconds_of_this_call": round(time.monotonic() - began),
        "parallel_jobs": options.jobs,
        "subjects": dict(zip(("train", "val", "test"), SUBJECTS, strict=True)),
        "phantom": True,
        "budget": asdict(budget),
    }
    results: dict[str, Any] = {"facts": facts, "results": {}}
    for folder in sorted({job.out for job in jobs}):
        results["results"][folder.name] = collect(folder, sorted({job.seed for job in jobs}))
        print(f"\n{folder.name} (phantom)\n\n{markdown(results['results'][folder.name])}")
    write_json(out / "results.json", results)
    (out / "tables.md").write_text(
        "".join(f"## {name} (phantom)\n\n{markdown(found)}\n" for name, found in results["results"].items())
    )


def _study_jobs(out: Path, options: argparse.Namespace, budget: Budget) -> list[Job]:
    """All jobs, those of the first seed first: a study that is cut short has every row once."""
    jobs = []
    for millimetres in options.misalignments:
        data = _phantom(out / f"phantom_{millimetres:g}mm", seed=0, options=options, misalignment=millimetres)
        folder = out / f"misaligned_{millimetres:g}mm"
        jobs.append(Job("baselines", options.seeds[0], data, folder, budget))
        jobs += [Job(name, seed, data, folder, budget) for seed in options.seeds for name in options.rows]
    return sorted(jobs, key=lambda job: options.seeds.index(job.seed))


def _tuning_jobs(out: Path, options: argparse.Namespace, budget: Budget) -> list[Job]:
    data = _phantom(out / "phantom_tuning", seed=TUNING_SEED, options=options, misalignment=0.0)
    return [Job("gan", 0, data, out / f"weight_{w:g}", replace(budget, adversarial_weight=w)) for w in WEIGHTS]


def _phantom(folder: Path, *, seed: int, options: argparse.Namespace, misalignment: float) -> Path:
    if not (folder / "cases.csv").is_file():
        make_head_phantom(
            folder,
            subjects=sum(SUBJECTS),
            seed=seed,
            spacing=options.spacing,
            misalignment=misalignment,
            splits=SUBJECTS,
        )
    return folder


def _run_all(jobs: list[Job], parallel: int) -> None:
    """Run the jobs in processes of their own; a store is built by the first job that needs it."""
    first = {job.out: job for job in reversed(jobs)}
    for job in first.values():
        job.prepared()
    with ProcessPoolExecutor(parallel, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(job.run): job for job in jobs}
        for number, future in enumerate(as_completed(futures), start=1):
            job = futures[future]
            future.result()
            print(f"{number}/{len(jobs)} {job.out.name} {job.network} seed {job.seed}", flush=True)


def _require_same_rows(out: Path, budget: Budget) -> None:
    """Refuse a folder whose rows were made with other settings, such as other defaults of the methods."""
    known = out / "rows.json"
    checked = {name: check_recipe(load_recipe(budget.recipe(name, 0, 1)))[0] for name in NETWORKS}
    rows = {name: recipe.model_dump(mode="json") for name, recipe in checked.items()}
    if not known.is_file():
        if any(out.glob("*/seed*/scores")):
            raise UsageError(
                "results of an earlier medgen, whose settings are not known", where=out, fix="use a new --out"
            )
        write_json(known, rows)
    elif json.loads(known.read_text()) != rows:
        raise UsageError("the rows of this study were made with other settings", where=known, fix="use a new --out")


def _machine(device: str) -> str:
    import torch

    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["study", "tune", "tables"])
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--minutes", type=float, default=Budget.minutes, help="of training a row")
    parser.add_argument("--precision", default=Budget.precision, choices=["auto", "32", "bf16"])
    parser.add_argument("--device", default=Budget.device)
    parser.add_argument("--misalignments", type=float, nargs="+", default=[0.0, 1.0], help="mm, of the training pairs")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel of the phantom in mm")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at a time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
