"""Does an adversary help to find prostate cancer when patients to learn from are few? One command answers on a phantom.

    python pipelines/prostate_detection/run.py study --out runs/prostate --workers 2
    python pipelines/prostate_detection/run.py tune  --out runs/prostate_tuning --set config.adversarial_weight=0.3
    python pipelines/prostate_detection/run.py tables --out runs/prostate

`study` trains four rows (rows.py) on 8, 16, 32 and 64 patients with three seeds and tests each on the same 60 others
(phantom seed 0); `tune` uses phantom seed 1000, so nothing that is reported was tuned on the people it is reported
for. Both can be stopped and started again; what is done is kept, and `tables` shows it without doing more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from medgen.errors import UsageError
from medgen.files import plain, write_json
from medgen.phantom import make_prostate_phantom
from medgen.run.experiment import prepare

from curves import write_tables
from rows import RECIPE, ROWS, SIZES, Job

SEEDS = {"study": 0, "tables": 0, "tune": 1000}
"""Of the phantom."""
TEST_PATIENTS = 60
SPACING = (1.0, 1.0, 3.0)
"""mm; half the usual resolution within a slice, for a processor."""


def main() -> None:
    """Make the phantom, run what is missing, show the tables."""
    options = _arguments()
    out = Path(options.out)
    data = _phantom(out / f"phantom{SEEDS[options.what]}", SEEDS[options.what], options.workers)
    jobs = [
        Job(row, size, seed, data, out, tuple(options.set), options.device)
        for seed in options.seeds
        for size in options.sizes
        for row in options.rows
    ]
    if options.what != "tables":
        _require_one_study(out, options)
        _run_all([job for job in jobs if not job.scores.is_file()], options)
    print(write_tables(out, jobs))


def _phantom(folder: Path, seed: int, workers: int) -> Path:
    if not (folder / "cases.csv").is_file():
        make_prostate_phantom(
            folder,
            train=max(SIZES),
            test=TEST_PATIENTS,
            seed=seed,
            spacing=SPACING,
            workers=workers,
            overwrite=True,
        )
    return folder / "cases.csv"


def _run_all(jobs: list[Job], options: argparse.Namespace) -> None:
    """Run the jobs in processes of their own, which share one store."""
    if not jobs:
        return
    prepare(RECIPE, jobs[0].data, jobs[0].out / "store", overrides=options.set)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # beside another process, threads that spin cost more than work
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(job.run): job for job in jobs}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                job = futures[future]
                future.result()
                print(f"{number}/{len(jobs)} {job.row}, {job.size} patients, seed {job.seed}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)  # a fault must not wait for the runs that have not begun


def _require_one_study(out: Path, options: argparse.Namespace) -> None:
    """Refuse a folder whose runs had other settings: a table must not mix budgets."""
    settings = {"recipe": RECIPE.read_text(), "set": options.set, "phantom": SEEDS[options.what], "spacing": SPACING}
    file = out / "settings.json"
    if file.is_file() and json.loads(file.read_text()) != plain(settings):
        raise UsageError(
            "the folder holds a study with other settings", where=out, fix="choose another folder for --out"
        )
    write_json(file, settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(SEEDS))
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="patients to learn from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every row")
    return parser.parse_args()


if __name__ == "__main__":
    main()
