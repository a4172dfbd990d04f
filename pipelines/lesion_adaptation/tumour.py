"""Whole tumours on real MRI: DeepMedic learns from all glioma patients but one, and is tested on that one.

    python pipelines/lesion_adaptation/tumour.py DATA --out runs/tumour --workers 2
    python pipelines/lesion_adaptation/tumour.py DATA --out runs/inner --without 3   # to choose without patient 3

DATA holds one folder a patient with flair, t1c, labels and brain_mask (.nii.gz; BRATS 2013 cases as shipped with
deepmedic/deepmedic). Every patient is the test in turn, or those that ``--held-out`` numbers (from 0). One network is
trained for each of ``--seeds``, on the patients and on copies of them with other tumours (``appearance.py``); the mean
of their probabilities is the result. What is done is not done again.
``leave_one_out.json`` has the scores, the DSC at other thresholds of the probability and the minutes; a threshold is
chosen on an inner split (``--without``) alone. How the recipe was chosen is told in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from medgen.cases import Case, write_cases
from medgen.evaluation import evaluate_segmentation
from medgen.files import write_json
from medgen.inference.cohort import predict
from medgen.inference.labels import chosen_pieces
from medgen.metrics.overlap import dice
from medgen.recipe.settings import Recipe, load_recipe
from medgen.report import write_report
from medgen.run.experiment import train
from medgen.volume import read_label, read_volume
from medgen.volume.labels import class_indices

import appearance

RECIPE = Path(__file__).with_name("tumour.yaml")
THRESHOLDS = ("0.1", "0.2", "0.3", "0.35", "0.4", "0.5", "0.6", "0.7")
ROLES = {"flair": "flair", "t1c": "t1c", "label": "labels", "mask": "brain_mask"}


def main() -> None:
    """Train, predict and score every fold, then the summary."""
    options = _arguments()
    data, out = Path(options.data).resolve(), Path(options.out)
    found = patients_of(data)
    if wrong := [n for n in options.without if not 0 <= n < len(found)]:
        raise SystemExit(f"--without {wrong[0]}: the {len(found)} patients are numbered from 0")
    patients = [path for n, path in enumerate(found) if n not in options.without]
    if len(patients) < 2:
        raise SystemExit(f"{data} has {len(patients)} patients to use; at least two are needed")
    if options.copies < 0:
        raise SystemExit(f"--copies {options.copies}: give 0 or more")
    chosen = options.held_out or range(len(patients))
    if wrong := [n for n in chosen if not 0 <= n < len(patients)]:
        raise SystemExit(f"--held-out {wrong[0]}: the {len(patients)} patients are numbered from 0")
    threads = max(1, torch.get_num_threads() // options.workers)
    with ProcessPoolExecutor(options.workers, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        jobs = [pool.submit(fold, patients, n, out, options.seeds, options.copies, options.set) for n in chosen]
        folds = [job.result() for job in jobs]
    result = summary_of(folds) | {
        "recipe": RECIPE.name,
        "set": options.set,
        "without": [found[n].name for n in options.without],
        "seeds": options.seeds,
        "copies": options.copies,
        "machine": f"{platform.machine()} CPU, {threads} threads a fold",
        "date": date.today().isoformat(),
    }
    write_json(out / "leave_one_out.json", result)
    for each in folds:
        print(f"{each['case']}: DSC {each['dice']:.3f}, {each['minutes']:.0f} minutes")
    print(f"mean {result['dice']['mean']:.3f}, least {result['dice']['least']:.3f}")
    print("mean by threshold: " + ", ".join(f"{k} {v:.3f}" for k, v in result["mean_dice_by_threshold"].items()))


def summary_of(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The folds, with the mean and the least DSC."""
    scores = [each["dice"] for each in folds]
    by_threshold = {name: fmean(each["dice_by_threshold"][name] for each in folds) for name in THRESHOLDS}
    return {
        "cases": list(folds),
        "dice": {"mean": fmean(scores), "least": min(scores)},
        "mean_dice_by_threshold": by_threshold,
    }


def patients_of(data: Path) -> list[Path]:
    """The folders of the patients, in the order of their names."""
    return sorted(folder for folder in data.iterdir() if folder.is_dir())


def fold(
    patients: Sequence[Path], held_out: int, out: Path, seeds: Sequence[int], copies: int, changes: Sequence[str]
) -> dict[str, Any]:
    """Train on all patients but one, and score that one; the fold has a folder of its own with a report."""
    folder = out / f"without_{patients[held_out].name}"
    done = folder / "fold.json"
    made = [RECIPE.read_text(), Path(appearance.__file__).read_text(), *THRESHOLDS]
    asked = [[patient.name for patient in patients], made, list(seeds), copies, list(changes)]
    if done.is_file() and (known := json.loads(done.read_text()))["asked"] == asked:
        return dict(known["found"])
    table = make_table(patients, folder, held_out=held_out, copies=copies)
    recipe, runs = load_recipe(RECIPE, changes), [folder / f"run{seed}" for seed in seeds]
    for seed, run in zip(seeds, runs, strict=True):
        resume = (run / "recipe.yaml").is_file()
        train(recipe, table, run, overrides=[f"seed={seed}"], resume=resume, progress=_say)
    began = time.monotonic()
    predictions = folder / "predictions"
    predict(runs[0], table, predictions, split="test", ensemble=runs[1:], probabilities=True, overwrite=True)
    scores = evaluate_segmentation(predictions, table, classes=recipe.data.classes)
    scores.write(folder / "scores.json")
    (case,) = json.loads((folder / "scores.json").read_text())["cases"]
    found = {key: case[key] for key in ("case", "dice", "hd95", "recall", "precision")}
    trained = sum(json.loads((run / "run.json").read_text())["training_seconds"] for run in runs)
    found["minutes"] = (trained + time.monotonic() - began) / 60
    found["dice_by_threshold"] = dice_by_threshold(predictions, patients[held_out], recipe)
    write_report(folder)
    write_json(done, {"asked": asked, "found": found})
    return found


def dice_by_threshold(predictions: Path, patient: Path, recipe: Recipe) -> dict[str, float]:
    """DSC of the label map that each threshold of the probability would make."""
    (name,), rule = recipe.data.classes, recipe.inference
    case = patient.name
    probability = read_volume(predictions / case / f"{case}_probability_{name}.nii.gz")
    true = class_indices(read_label(patient / f"{ROLES['label']}.nii.gz").data, recipe.data.classes)[0] > 0
    found = {}
    for each in THRESHOLDS:
        above = probability.with_data((probability.data > float(each)).astype(np.uint8))
        found[each] = dice(chosen_pieces(above, [name], rule)[0].data[0] > 0, true)
    return found


def make_table(patients: Sequence[Path], out: Path, *, held_out: int, copies: int = 0) -> Path:
    """The case table: one patient is the test, the others and their copies are trained on."""
    cases = [
        Case(
            folder.name,
            "test" if number == held_out % len(patients) else "train",
            None,
            {role: folder / f"{name}.nii.gz" for role, name in ROLES.items()},
        )
        for number, folder in enumerate(patients)
    ]
    learnt = [(n, case) for n, case in enumerate(cases) if case.split == "train"]
    shown = [copy for n, case in learnt for copy in appearance.copies_of(case, copies, out / "copies", seed=n)]
    return write_cases([*cases, *shown], out / "cases.csv")


def _say(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--held-out",
        type=int,
        nargs="+",
        metavar="N",
        help="test patients, from 0 among those that are used; by default all",
    )
    parser.add_argument("--without", type=int, nargs="+", default=[], metavar="N", help="patients that are not used")
    parser.add_argument("--workers", type=int, default=1, help="folds at the same time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the networks that are averaged")
    parser.add_argument("--copies", type=int, default=7, help="of each training patient, with other tumours")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
