"""CycleGAN between T1 and FLAIR of real patients, both directions: that real images need no special case, no more.

    python pipelines/generation/real.py --data ../shared/data --out runs/real_translation

``--data`` holds brain_ms (t1, flair) and brain_tumour (t1c, flair), see pipelines/generation/README.md. Of the first
three patients one has its T1 alone, the others their FLAIR; the last two are predicted, on their own grids.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch

from medgen.cases import read_cases
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.inference.options import PredictOptions
from medgen.run.experiment import train
from medgen.volume import read_volume

CASES = {
    "ms_07": ("brain_ms/patient07", "t1.nii.gz", "train", "t1"),
    "tumour_03": ("brain_tumour/brats_2013_pat0003", "t1c.nii.gz", "train", "flair"),
    "tumour_04": ("brain_tumour/brats_2013_pat0004", "t1c.nii.gz", "train", "flair"),
    "ms_19": ("brain_ms/patient19", "t1.nii.gz", "test", ""),
    "tumour_05": ("brain_tumour/brats_2013_pat0005", "t1c.nii.gz", "test", ""),
}
"""By case, its folder, its T1, its split, and the image that it has alone."""
RECIPE = {
    "method": "cyclegan",
    "config": {"width": 0.25, "blocks": 3, "cycle_weight": 2.0, "learning_rate": 0.0005},
    "data": {"inputs": ["t1"], "target": "flair"},
    "preparation": {
        "spacing": [3, 3, 3],
        "intensity": {"t1": {"percentiles": [0.5, 99.5]}, "flair": {"percentiles": [0.5, 99.5]}},
    },
    "patches": {"size": [48, 48]},
    "schedule": {"batch": 4, "precision": "bf16", "keep": "last"},
}


def main() -> None:
    """Train a few steps, predict both directions, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the images")
    parser.add_argument("--out", default="runs/real_translation")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(options.out)
    table = _table(Path(options.data).resolve(), out)
    steps = {"steps": options.steps, "validate_every": options.steps, "save_every": options.steps}
    recipe = {**RECIPE, "schedule": {**RECIPE["schedule"], **steps}}
    if not (out / "run" / "model" / "model.json").is_file():
        train(recipe, table, out / "run", device="cpu")
    model = load_model(out / "run", device="cpu")
    test = read_cases(table).select(split="test")
    for direction in ("forward", "backward"):
        folder = out / direction
        predict_cohort(
            model, test, folder, options=PredictOptions(direction=direction), overwrite=True
        ).require_complete()
        for path in sorted(folder.rglob("*.nii.gz")):
            volume = read_volume(path)
            shape, values = volume.data.shape[1:], volume.data[np.isfinite(volume.data)]
            row = {"direction": direction, "file": path.name, "shape": shape, "mean": round(float(values.mean()), 2)}
            print(json.dumps({**row, "finite": bool(np.isfinite(volume.data).all())}))


def _table(data: Path, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "cases.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "split", "t1", "flair"])
        for name, (folder, t1, split, alone) in CASES.items():
            images = {"t1": data / folder / t1, "flair": data / folder / "flair.nii.gz"}
            writer.writerow([name, split, *(str(images[role]) if alone in ("", role) else "" for role in images)])
    return path


if __name__ == "__main__":
    main()
