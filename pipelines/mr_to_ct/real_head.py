"""A T1 of a real head to CT, by networks that saw phantoms alone.

    python pipelines/mr_to_ct/real_head.py T1 --out runs/real_head

Two networks with the same budget: one learns from heads in one scanner, one from the same heads in a scanner each
(`make_head_phantom(varied=True)`) with patches varied as well. Both are scored on phantom heads of either kind that
neither saw, and both predict the image, of which there is no CT: it is drawn, with what medgen warns of.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from medgen.evaluation import evaluate_synthesis
from medgen.files import write_json
from medgen.inference.cohort import predict
from medgen.inference.loading import load_model
from medgen.phantom import make_head_phantom
from medgen.run.experiment import train
from medgen.volume import read_volume, write_volume
from medgen.volume.image import to_ras

SEED, SPLITS = 200, (20, 1, 4)
KINDS = {"one scanner": False, "varied scanners": True}
VARIED_PATCHES = {"flip": ["x"], "noise": 0.1, "scale": 0.1, "contrast": 0.2, "bias": 0.2, "zoom": 0.1}
METRICS = ("mae", "mae_soft", "mae_bone", "dice_bone", "psnr")


def main() -> None:
    """Make the heads, train both networks, score them, predict and draw the image."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    found: dict[str, Any] = {"steps": options.steps, "spacing": options.spacing, "phantom scores": {}, "warnings": {}}
    pictures = {}
    for kind, varied in KINDS.items():
        name = kind.replace(" ", "_")
        if not (out / name / "heads" / "cases.csv").is_file():
            make_head_phantom(
                out / name / "heads",
                subjects=sum(SPLITS),
                seed=SEED,
                spacing=options.spacing,
                varied=varied,
                splits=SPLITS,
            )
    for kind, varied in KINDS.items():
        folder = out / kind.replace(" ", "_")
        recipe = _recipe(options.steps, varied)
        resume = (folder / "run" / "recipe.yaml").is_file()
        train(recipe, folder / "heads" / "cases.csv", folder / "run", resume=resume, store=folder / "store")
        found["phantom scores"][kind] = {each: _score(folder, out / each.replace(" ", "_"), each) for each in KINDS}
        volume = load_model(folder / "run").predict(options.image)
        write_volume(volume, folder / "ct.nii.gz", kind="hu", overwrite=True)
        found["warnings"][kind] = list(volume.notes)
        pictures[kind] = volume
    write_json(out / "results.json", found)
    _draw(Path(options.image), pictures, out / "real_head.png")
    print(json.dumps(found, indent=1))


def _recipe(steps: int, varied: bool) -> dict[str, Any]:
    return {
        "method": "context_aware_gan",
        "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
        "preparation": {"spacing": None},
        "schedule": {"steps": steps, "validate_every": steps, "save_every": 500},
        **({"patches": {"augmentation": VARIED_PATCHES}} if varied else {}),
        "seed": 0,
    }


def _score(folder: Path, heads: Path, kind: str) -> dict[str, float]:
    """Mean scores of a network on the test heads of one kind."""
    predictions, table = folder / f"predictions_{kind.replace(' ', '_')}", heads / "heads" / "cases.csv"
    predict(folder / "run", table, predictions, split="test", overwrite=True)
    scores = evaluate_synthesis(predictions, table)
    return {metric: round(scores.summary[metric]["mean"], 3) for metric in METRICS}


def _draw(image: Path, results: dict[str, Any], path: Path) -> None:
    """Three planes of the image and of each result in [-1000, 1500] HU."""
    shown = {"T1": read_volume(image), **results}
    figure, axes = plt.subplots(len(shown), 3, figsize=(9, 3 * len(shown)))
    for row, (name, volume) in zip(axes, shown.items(), strict=True):
        data = to_ras(volume).data[0]
        x, y, z = (side // 2 for side in data.shape)
        limits = {} if name == "T1" else {"vmin": -1000, "vmax": 1500}
        for axis, plane in zip(row, (data[:, :, z], data[:, y], data[x + 3]), strict=True):
            axis.imshow(plane.T, origin="lower", cmap="gray", **limits)
            axis.axis("off")
        row[0].set_title("T1" if name == "T1" else f"synthetic CT, trained on {name}", loc="left", fontsize=9)
    figure.text(0.01, 0.005, "Research software, not for clinical use. Networks trained on phantoms alone.", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="T1 of a head, with scalp and skull")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=6000, help="of either training")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel of the phantoms in mm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
