"""Do the defaults of every method train? Each has 200 steps on a phantom to beat what needs no training.

    make defaults
    python pipelines/defaults/run.py --out runs/defaults --methods vae realnvp

A recipe names the method, its data and the budget; everything else is a default. A method that makes an image or a
label map is scored on held-out patients, one that knows densities on held-out patches. What it has to beat follows from
what it can do, see ``RULES``. The exit status is 1 if one loses.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from constants import density_to_beat, distances, patches

from medgen.files import atomic_path, write_json
from medgen.methods.base import HasDensity, HasFeatures, Method, Predicts, Translates
from medgen.methods.catalogue import method_names, resolve
from medgen.phantom import make_adaptation_phantom, make_head_phantom
from medgen.preparation import Store
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.experiment import prepare, train
from medgen.training.checkpoint import load_weights
from medgen.training.model_folder import load_stages

STEPS = 200
BUDGET = {"steps": STEPS, "batch": 2, "validate_every": STEPS, "save_every": STEPS, "precision": "32", "health": None}
SLICES = (32, 32)
"""Patches of methods that take slices; the boxes of the others are a default."""
IMAGE = {"inputs": ["t1"], "target": "ct", "mask": "mask"}
LABELS = {"inputs": ["t2", "flair", "ge|swi"], "labels": "label", "classes": {"contusion": [1]}, "mask": "mask"}
RULES = {  # what is measured, and the constant that has to be beaten
    "mae": "paired images: mean absolute error (HU) in the masks of held-out patients; the median of the training CTs",
    "dice": "label maps: Dice of held-out patients of the labelled domain; the most frequent class after the "
    "background everywhere in the mask (nothing at all has 0)",
    "distance": "unpaired images: Wasserstein distance (HU) between the values of translated and of true patches of "
    "held-out patients; the median of the training patches, or the input read as the target, whichever is nearer",
    "views": "features alone: what the method itself scores (its loss) on held-out patches; the same network before "
    "any training",
    "nats": "densities: negative log-density (nats a voxel) of held-out patches; the best of three Gaussians of "
    "independent voxels, one for all voxels, the mean patch with one variance, and one for each place",
}


def main() -> None:
    """Train what is asked for, write the table, and fail if one method loses."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    tables = _phantoms(out, options.seed)
    rows = _rows_before(out / "defaults.json")
    for name in options.methods or method_names():
        rows[name] = _row(name, tables, out / name, options)
        print(_line(rows[name]), flush=True)
        _write(out, [rows[name] for name in method_names() if name in rows], options)
    losers = [name for name, row in rows.items() if not row["better"]]
    print(
        f"{len(rows) - len(losers)} of {len(rows)} methods beat their constant" + "".join(f"; not {n}" for n in losers)
    )
    sys.exit(1 if losers else 0)


def _rows_before(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier sweep, which those of the methods that are swept again replace."""
    return {row["method"]: row for row in json.loads(path.read_text())["methods"]} if path.is_file() else {}


def _write(out: Path, rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    facts = {
        "phantom": True,
        "command": "python pipelines/defaults/run.py",
        "seed": options.seed,
        "machine": f"{platform.machine()} CPU, 1 thread",
        "torch": torch.__version__,
        "steps": STEPS,
        "rules": RULES,
    }
    write_json(out / "defaults.json", {**facts, "methods": rows})
    with atomic_path(out / "defaults.md") as temporary:
        temporary.write_text(_markdown(rows, options.seed))


def recipe_of(name: str, seed: int, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a sweep: method, data and budget; the rest are defaults."""
    kind = resolve(name)
    labels = kind.batch_class.task().labels
    data: dict[str, Any] = dict(LABELS if labels else IMAGE)
    if labels and not kind.adapts():
        data["domains"] = ["source"]
    values = {
        "method": name,
        "data": data,
        "preparation": {"spacing": None, **({"body_margin": 0} if labels else {})},
        "patches": {"size": SLICES} if 2 in kind.dimensions else {},
        "schedule": dict(BUDGET),
        "seed": seed,
    }
    return load_recipe(values, overrides)


def _row(name: str, tables: Mapping[bool, Path], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    kind = resolve(name)
    recipe, table = recipe_of(name, options.seed, options.set), tables[kind.batch_class.task().labels]
    began = time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    train(recipe, table, folder, device="cpu")
    seconds = time.process_time() - began
    store = prepare(recipe, table, folder / "store")
    rule, value, constant = _compared(kind, folder, store, recipe)
    better = value > constant if rule == "dice" else value < constant
    return {
        "method": name,
        "rule": rule,
        "value": round(value, 4),
        "constant": round(constant, 4),
        "better": bool(better),
        "seconds": round(seconds, 1),
        "date": datetime.date.today().isoformat(),
    }


def _compared(kind: type[Method], run: Path, store: Store, recipe: Recipe) -> tuple[str, float, float]:
    """Rule, value of the method, value of the constant."""
    if issubclass(kind, HasFeatures) and not issubclass(kind, Predicts | HasDensity | Translates):
        return "views", *views(kind, run, patches(kind, store.select(split="val"), recipe))
    if not issubclass(kind, HasDensity | Translates):  # the run has scored both on whole volumes
        rule = kind.batch_class.task().metric
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        record = [line for line in lines if "constant" in line][-1]
        return rule, record["validation"][rule], record["constant"][rule]
    (method,), _ = load_stages(run)
    learnt, unseen = (patches(kind, store.select(split=split), recipe) for split in ("train", "val"))
    if isinstance(method, Translates):
        return "distance", *distances(method, learnt, unseen, store.preparation)
    assert isinstance(method, HasDensity)
    with torch.no_grad():
        value = -float(method.log_prob(unseen.image).mean()) / unseen.image[0].numel()
    return "nats", value, density_to_beat(learnt.image, unseen.image)


def views(kind: type[Method], run: Path, unseen: Any) -> tuple[float, float]:
    """The first score of held-out patches: of the weights that training ended with, and of those it began with."""
    shape = load_stages(run)[0][0].shape
    scores = []
    for trained in (True, False):
        torch.manual_seed(0)
        method = kind(kind.config_class(), shape)
        if trained:
            method.load_state_dict(load_weights(run / "checkpoints" / "stage0" / "final.safetensors"))
        with torch.no_grad():
            scores.append(next(iter(method.eval().score(unseen).values())))
    return scores[0], scores[1]


def _phantoms(out: Path, seed: int) -> dict[bool, Path]:
    """Case tables of heads with a CT, and of heads with lesions in two protocols, by whether there are labels."""
    heads, lesions = out / "heads", out / "lesions"
    if not (heads / "cases.csv").is_file():
        make_head_phantom(heads, subjects=6, seed=seed, spacing=4.0, splits=(4, 2, 0), workers=1)
    if not (lesions / "cases.csv").is_file():
        make_adaptation_phantom(
            lesions, source=6, target=4, test=0, source_test=0, validation=(3, 1), seed=seed, spacing=4.0, workers=1
        )
    return {False: heads / "cases.csv", True: lesions / "cases.csv"}


def _line(row: Mapping[str, Any]) -> str:
    verdict = "better" if row["better"] else "NOT BETTER"
    return (
        f"{row['method']:<26} {row['rule']:<9} {row['value']:>10.4g}  constant {row['constant']:>10.4g}  "
        f"{verdict:<10}  {row['seconds']:.0f} s"
    )


def _markdown(rows: Sequence[Mapping[str, Any]], seed: int) -> str:
    seconds = sum(row["seconds"] for row in rows)
    lines = [
        "# Defaults",
        "",
        f"`make defaults`: phantom, seed {seed}, {max(row['date'] for row in rows)}, {platform.machine()} CPU, one "
        f"thread, {seconds:.0f} s of processor time in all. What is compared with what stands below the table; see "
        "pipelines/defaults/README.md.",
        "",
        "| method | measure | after 200 steps | constant | better | s of CPU |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        better = "yes" if row["better"] else "**no**"
        lines.append(
            f"| `{row['method']}` | {row['rule']} | {row['value']:.4g} | {row['constant']:.4g} | {better} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join([*lines, "", *(f"* {rule}: {text}." for rule, text in RULES.items())]) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/defaults", help="folder of phantoms, runs and the table")
    parser.add_argument("--methods", nargs="*", help="by default all")
    parser.add_argument("--set", action="append", default=[], help="key=value in every recipe, to try other defaults")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
