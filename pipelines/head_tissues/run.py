"""Tissues of the head in a scan of any contrast, learnt from phantoms: data, training, and scores on real scans.

An experiment that is not done: README.md has what was tried and what it came to.

    python pipelines/head_tissues/run.py train --out runs/head
    python pipelines/head_tissues/run.py evaluate --out runs/head --patients ../shared/data/brain_ms

``evaluate`` writes ``scores.json`` with three things. ``phantom``: Dice of each tissue, people that were not in the
training. ``template``: the ICBM152 T1 average that nilearn ships against its own tissue maps; the phantom is made from
these maps, so this is no independent test. ``contrasts``: FOLDER has one folder a patient with t1, t2 and flair on one
grid; Dice between what the network finds in one contrast and in another. Nobody drew these tissues, so this says
whether the network is steady, not whether it is right.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import read_cases
from medgen.files import write_json
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.metrics.overlap import dice
from medgen.phantom import make_tissue_phantom
from medgen.phantom.head.contrasts import CLASSES
from medgen.phantom.head.template import read_map
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.volume import Volume, read_label, read_volume

RECIPES = ("coarse", "fine")
"""The trainings in their order; each begins with the weights of the one before."""
TUNED, REPORTED = 1000, 0
"""Seeds of the people of the training, with whom settings were chosen, and of those of the scores."""
CONTRASTS = ("t1", "t2", "flair")
BRAIN = ("grey", "white", "csf")

Labels = NDArray[np.integer[Any]]


def main() -> None:
    """Train, or evaluate what was trained."""
    options = _arguments()
    out = Path(options.out)
    if options.task == "train":
        _train(out, options)
        return
    model = load_model(options.model or out / RECIPES[-1])
    result: dict[str, Any] = {"phantom": _on_phantom(model, out, options.workers), "template": _on_template(model)}
    if options.patients:
        result["contrasts"] = {
            folder.name: _between_contrasts(model, folder) for folder in sorted(Path(options.patients).iterdir())
        }
    result |= {"machine": f"{platform.machine()} CPU", "date": date.today().isoformat()}
    write_json(out / "scores.json", result)
    _show(result)


def _train(out: Path, options: argparse.Namespace) -> None:
    """Go on with what is there."""
    cases = out / "people" / "cases.csv"
    if not cases.is_file():
        counts = {"subjects": options.people, "splits": (options.people - 6, 6, 0)}
        make_tissue_phantom(cases.parent, seed=TUNED, overwrite=True, workers=options.workers, **counts)
    before = None
    for name in RECIPES:
        run = out / name
        if not (run / "run.json").is_file():
            recipe = load_recipe(Path(__file__).with_name(f"{name}.yaml"), options.set)
            train(recipe, cases, run, resume=run.exists(), init_from=before, progress=said)
        before = run


def said(done: int, total: int, what: str) -> None:
    """Say now and then how far something is."""
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _on_phantom(model: LoadedModel, out: Path, workers: int | None) -> dict[str, Any]:
    """Mean Dice of each tissue, with the skull and without it."""
    cases = out / "others" / "cases.csv"
    if not cases.is_file():
        make_tissue_phantom(cases.parent, subjects=6, seed=REPORTED, splits=(0, 0, 6), overwrite=True, workers=workers)
    scores: dict[str, list[dict[str, float]]] = {"whole": [], "stripped": []}
    for case in read_cases(cases).cases:
        truth = read_label(case.images["label"]).data[0]
        kind = "whole" if (truth > len(BRAIN)).any() else "stripped"
        scores[kind].append(_dices(model.predict(read_volume(case.images["image"])).data[0], truth))
    return {
        kind: {name: mean for name in CLASSES if (mean := _mean(found, name)) is not None}
        for kind, found in scores.items()
    }


def _mean(found: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Over the scans that have the tissue, or in which it was found."""
    values = [each[name] for each in found if name in each]
    return fmean(values) if values else None


def _on_template(model: LoadedModel) -> dict[str, float]:
    (t1, origin), (grey, _), (white, _) = (read_map(name) for name in ("t1", "gm", "wm"))
    affine = np.eye(4)
    affine[:3, 3] = origin
    found = model.predict(Volume(t1[None].astype(np.float32), affine)).data[0]
    rest = (t1 > 0) * np.clip(255.0 - grey - white, 0, None)
    truth = np.where(t1 > 0, 1 + np.argmax([grey, white, rest], axis=0), 0)
    return {name: dice(found == number, truth == number) for number, name in enumerate(BRAIN, 1)}


def _between_contrasts(model: LoadedModel, folder: Path) -> dict[str, dict[str, float]]:
    found = {name: model.predict(folder / f"{name}.nii.gz").data[0] for name in CONTRASTS}
    return {f"{one} {other}": _dices(found[one], found[other]) for one, other in combinations(CONTRASTS, 2)}


def _dices(one: Labels, other: Labels) -> dict[str, float]:
    """Dice of the tissues that either has."""
    numbered = enumerate(CLASSES, 1)
    return {name: dice(one == n, other == n) for n, name in numbered if (one == n).any() or (other == n).any()}


def _show(result: Mapping[str, Any]) -> None:
    rows = {f"phantom, {kind}": found for kind, found in result["phantom"].items()} | {"template": result["template"]}
    for patient, pairs in result.get("contrasts", {}).items():
        rows |= {f"{patient}, {pair}": found for pair, found in pairs.items()}
    for name, found in rows.items():
        print(f"{name:28}", " ".join(f"{tissue} {value:.3f}" for tissue, value in found.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "evaluate"))
    parser.add_argument("--out", required=True, help="folder of the people, the run and the scores")
    parser.add_argument("--people", type=int, default=84, help="virtual patients of training and validation")
    parser.add_argument("--patients", help="folder of real patients with t1, t2 and flair on one grid")
    parser.add_argument("--model", help="another run, or the name of a model that comes with medgen")
    parser.add_argument("--workers", type=int, help="processes that make phantoms")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of both recipes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
