"""CycleGAN on unpaired phantom patients whose pairs are known: errors against the truth, and a hallucination audit.

    python pipelines/generation/translation.py --out runs/translation

Every training is skipped where its scores are there, and resumed where it was stopped; ``--only mr_to_ct`` (or
``t1_to_t2``, ``audit``) does one part, ``--page`` only writes table and pictures of what is there. The page is
docs/results/generation/translation.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from translation_page import write_page

from medgen.cases import read_cases
from medgen.files import write_json
from medgen.inference.stages import Cascade, Request
from medgen.methods.base import Method
from medgen.metrics.hallucination import LesionFidelity, lesion_fidelity
from medgen.phantom import make_head_phantom
from medgen.preparation import Store, StoredCase
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import prepare, train
from medgen.training.model_folder import load_stages
from medgen.volume import read_volume

SEED, SUBJECTS, SPACING = 1, 24, 4.0
SCALED = {"percentiles": [0.5, 99.5]}
CYCLEGAN = {"width": 0.25, "blocks": 3, "learning_rate": 0.0005, "cycle_weight": 1.0}
SLICES = {"size": [44, 56], "sampling": "centred", "augmentation": {"flip": ["x"]}}
"""Whole slices, but no larger than the volumes of 44 x 59 x 50 voxels: in training what lies outside is air, while a
prediction repeats the border, and heads touch it at the ears."""
BOXES = {"size": [32, 32, 32], "augmentation": {"flip": ["x"]}}
PAIRS = {"t1_to_ct": ("t1", "ct"), "t1_to_t2": ("t1", "t2"), "t2_to_t1": ("t2", "t1"), "t1_to_flair": ("t1", "flair")}
BRAIN_MM = 14.0
"""Depth in the head from which the brain is: lesions are not looked for in scalp and skull."""


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: of its folder.
        method: ``cyclegan``, or ``context_aware_gan`` with all pairs.
        task: a key of :data:`PAIRS`.
        lesions: per cent of the target set that have lesions.
    """

    name: str
    method: str
    task: str
    lesions: int = 100


ROWS = {
    "mr_to_ct": [Row("ct_cyclegan", "cyclegan", "t1_to_ct"), Row("ct_paired", "context_aware_gan", "t1_to_ct")],
    "audit": [Row(f"flair_{share}", "cyclegan", "t1_to_flair", share) for share in (0, 100, 50)],
    "t1_to_t2": [
        Row("t2_cyclegan", "cyclegan", "t1_to_t2"),
        Row("t2_paired", "context_aware_gan", "t1_to_t2"),
        Row("t1_paired", "context_aware_gan", "t2_to_t1"),
    ],
}


def main() -> None:
    """Make phantoms, tables, models, scores and the page."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    for part in [] if options.page else options.only or ROWS:
        for row in ROWS[part]:
            if not (out / row.name / "scores.json").is_file():
                _run(row, out, options.steps)
    write_page(out, Path(options.docs), ROWS)


def _run(row: Row, out: Path, steps: int) -> None:
    table, folder = _table(row, out), out / row.name
    recipe = _recipe(row, steps)
    began = time.process_time()
    store = prepare(recipe, table, out / "store", workers=1)
    run = folder / "run"
    train(
        recipe, table, run, resume=(run / "recipe.yaml").is_file(), store=out / "store", device="cpu", progress=_quiet
    )
    seconds = json.loads((run / "checkpoints" / "stage0" / "done.json").read_text())["seconds"]
    scores = _scores(row, run, store, table)
    facts = {
        "method": row.method,
        "task": row.task,
        "steps": steps,
        "phantom": {"seed": SEED, "subjects": SUBJECTS, "spacing": SPACING},
        "wall_seconds": round(seconds),
        "processor_seconds": round(time.process_time() - began),
        "machine": f"{platform.machine()}, one thread",
        "date": datetime.date.today().isoformat(),
    }
    write_json(folder / "scores.json", {**facts, **scores})
    print(row.name, json.dumps({key: value for key, value in scores.items() if key != "cases"}), flush=True)


def _recipe(row: Row, steps: int) -> dict[str, Any]:
    source, target = PAIRS[row.task]
    slices = row.method == "cyclegan"
    paired = (
        {"context": "none"} if target == "ct" else {"context": "none", "tissue_weights": [1, 1, 1], "region": "mask"}
    )
    intensity = {role: SCALED for role in (source, target) if role != "ct"}
    return {
        "method": row.method,
        "config": CYCLEGAN if slices else paired,
        "data": {"inputs": [source], "target": target, "mask": "mask"},
        "preparation": {"spacing": None, "intensity": intensity},
        "patches": SLICES if slices else BOXES,
        "schedule": {
            "steps": steps,
            "batch": 4 if slices else 1,
            "precision": "bf16",
            "averaging": 0.995,
            "validate_every": steps,
            "save_every": 100,
            "keep": "last",
        },
        "seed": 0,
    }


def _table(row: Row, out: Path) -> Path:
    """Training cases of which every other one has the source alone, the rest the target alone; pairs for a paired GAN.

    Of the audit, half of the sources have lesions, and the given share of the targets; the same people without lesions
    are the others. Validation and test cases have all images; those of the audit are there with and without lesions.
    """
    folders = {lesions: _phantom(out, lesions) for lesions in (True, False)}
    ill, well = ({row["case"]: row for row in _rows(folder)} for folder in (folders[True], folders[False]))
    source, target = PAIRS[row.task]
    audit = row.name.startswith("flair")
    rows, number = [], 0
    for name, case in ill.items():
        if case["split"] != "train":
            rows.append(case)
            if audit and case["split"] == "test":
                rows.append({**well[name], "case": f"{name}_well"})
            continue
        side, place = number % 2, number // 2
        number += 1
        if row.method != "cyclegan":
            rows.append(case)
            continue
        share = (50 if side == 0 else row.lesions) if audit else 100
        chosen = ill if (place + 1) * share // 100 > place * share // 100 else well
        rows.append({**chosen[name], target if side == 0 else source: ""})
    path = out / "tables" / f"{row.name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["case", "split", "t1", "t2", "flair", "ct", "label", "mask"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a phantom, with whole paths."""
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    words = ("case", "split", "domain")
    return [
        {key: str((folder / value).resolve()) if value and key not in words else value for key, value in row.items()}
        for row in rows
    ]


def _phantom(out: Path, lesions: bool) -> Path:
    folder = out / ("lesions" if lesions else "healthy")
    if not (folder / "cases.csv").is_file():
        make_head_phantom(folder, subjects=SUBJECTS, seed=SEED, spacing=SPACING, lesions=lesions, workers=1)
    return folder


def _scores(row: Row, run: Path, store: Store, table: Path) -> dict[str, Any]:
    """Errors of the test cases and of what needs no pairs and no training; lesions of an audit."""
    (method,), _ = load_stages(run)
    test = store.select(split="test")
    training = store.select(split="train")
    scale = 1512.0 if row.task == "t1_to_ct" else 50.0  # HU, or per cent of the range from 0.5th to 99.5th percentile
    ways = _estimators(method.eval(), run, training, paired=row.method != "cyclegan")
    result: dict[str, Any] = {"unit": "HU" if row.task == "t1_to_ct" else "% of the range"}
    result["mae"] = {name: scale * _mean(_error(way(case), case) for case in test) for name, way in ways.items()}
    if row.task == "t1_to_t2" and row.method == "cyclegan":
        back = _network(method, run, "backward")
        result["mae_backward"] = {
            "cyclegan": scale * _mean(_error(back(case), case, truth="image") for case in test),
            "identity": scale * _mean(_error(case.target[0], case, truth="image") for case in test),
        }
    if row.task == "t1_to_flair":
        result["lesions"] = _audit({"cyclegan": ways["cyclegan"], "identity": ways["identity"]}, test, table)
    _keep_pictures(run.parent, {**ways}, test[0])
    return result


Way = Callable[[StoredCase], Any]


def _estimators(method: Method, run: Path, training: Sequence[StoredCase], *, paired: bool) -> dict[str, Way]:
    """The model, and what needs no pairs: one value, the input itself, and the input with the values of the target."""
    inputs = [case.image[0][np.asarray(case.mask) > 0] for case in training if "image" in case.files]
    targets = [case.target[0][np.asarray(case.mask) > 0] for case in training if "target" in case.files]
    grid = np.linspace(0, 1, 501)
    read, made = (np.quantile(np.concatenate(values), grid) for values in (inputs, targets))
    return {
        "paired" if paired else "cyclegan": _network(method, run, "forward"),
        "identity": lambda case: case.image[0],
        "constant": lambda case: np.full(case.shape, np.median(np.concatenate(targets))),
        "histogram": lambda case: np.interp(case.image[0], read, made),
    }


def _network(method: Method, run: Path, direction: Any) -> Way:
    recipe = load_recipe(run / "recipe.yaml")
    device = torch.device("cpu")
    cascade = Cascade((method,), recipe.inference, recipe.patches.size, device, recipe.patches.across)
    plan = cascade.plan(stitch_on=device)
    request = Request(method.batch_class.task().values, direction=direction)

    def estimate(case: StoredCase) -> Any:
        image = case.image if direction == "forward" else case.target
        return cascade.run(image, case.body, plan, request).data[0]

    return estimate


def _error(estimate: Any, case: StoredCase, truth: str = "target") -> float:
    """Mean absolute error in the mask, in network units."""
    true = (case.target if truth == "target" else case.image)[0]
    where = np.asarray(case.mask) > 0
    return float(np.abs(np.clip(estimate, -1, 1) - np.clip(true, -1, 1))[where].mean())


def _audit(ways: dict[str, Way], test: Sequence[StoredCase], table: Path) -> dict[str, Any]:
    """Lesions of test patients, and of the same patients without any, under each estimate."""
    known = {case.name: case for case in read_cases(table).cases}
    brains: dict[str, Any] = {}
    labels = {}
    for case in test:
        path = known[case.name].path("label")
        label = read_volume(path).data[0] if path else np.zeros(case.shape)
        labels[case.name] = np.asarray(label) > 0
        brains[case.name] = ndimage.distance_transform_edt(case.mask, sampling=case.spacing) > BRAIN_MM
    found: dict[str, Any] = {}
    for name, way in ways.items():
        ill, well, contrast = LesionFidelity(), LesionFidelity(), 0.5
        for case in sorted(test, key=lambda each: each.name.endswith("_well")):
            healthy = case.name.endswith("_well")
            if healthy:
                contrast = float(np.median(ill.contrasts))
            one = lesion_fidelity(
                way(case),
                case.target[0],
                labels[case.name],
                brains[case.name],
                spacing=case.spacing,
                contrast=contrast if healthy else None,
            )
            well, ill = (well + one, ill) if healthy else (well, ill + one)
        found[name] = {
            "lesions": ill.lesions,
            "lost": ill.lost,
            "contrast_kept": round(ill.contrast_kept, 3),
            "invented_in_patients": ill.invented,
            "invented_in_the_healthy": well.invented,
            "invented_ml": round(sum((*ill.invented_ml, *well.invented_ml)), 2),
            "unseen": ill.unseen,
        }
    return found


def _keep_pictures(folder: Path, ways: dict[str, Way], case: StoredCase) -> None:
    """Two planes of the first test patient as arrays, for the page."""
    volumes = {"input": case.image[0], "truth": case.target[0], **{name: way(case) for name, way in ways.items()}}
    height, depth = case.shape[2] // 2, case.shape[0] // 2
    planes = {name: np.asarray(each[:, :, height], np.float32) for name, each in volumes.items()}
    planes |= {f"{name}_sagittal": np.asarray(each[depth], np.float32) for name, each in volumes.items()}
    np.savez_compressed(folder / "planes.npz", **planes)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _quiet(done: int, total: int, what: str) -> None:
    if done % 100 == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/translation", help="folder of phantoms, runs and scores")
    parser.add_argument("--docs", default="docs/results/generation", help="folder of the page")
    parser.add_argument("--only", nargs="*", choices=list(ROWS), help="parts; by default all")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--page", action="store_true", help="write the page of the scores that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
