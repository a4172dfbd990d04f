"""Two domains small enough to train on inside a test: a bright ball in t1 whose dark core shows in ge, or in swi."""

from pathlib import Path

import numpy as np

from medgen.volume import Volume, write_volume

RECIPE = {
    "method": "segmentation",
    "config": {"network": "unet", "width": 0.25, "optimizer": "adam", "learning_rate": 3e-3},
    "data": {"inputs": ["t1", "ge|swi"], "labels": "label", "classes": {"lesion": [1]}, "mask": "mask"},
    "preparation": {"spacing": None, "body_margin": 0},
    "patches": {"size": [16, 16, 16], "sampling": "balanced"},
    "schedule": {"steps": 4, "batch": 2, "validate_every": 2, "save_every": 4},
    "inference": {"size": [16, 16, 16]},
    "seed": 3,
}


def write_domains(folder: Path, *, train: int = 2, val: int = 0, test: int = 0, side: int = 20) -> Path:
    """``train`` cases of each domain, and as many of the other splits as asked for; returns the case table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["case,split,domain,t1,ge,swi,label,mask"]
    number = 0
    for domain, contrast in (("source", "ge"), ("target", "swi")):
        for split, count in (("train", train), ("val", val), ("test", test)):
            for index in range(count):
                name = f"{domain}_{index}" if split == "train" else f"{domain}_{split}_{index}"
                _write(folder, name, contrast, np.random.default_rng(number), side)
                ge, swi = (f"{name}_{role}.nii.gz" if role == contrast else "" for role in ("ge", "swi"))
                rows.append(
                    f"{name},{split},{domain},{name}_t1.nii.gz,{ge},{swi},{name}_label.nii.gz,{name}_mask.nii.gz"
                )
                number += 1
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def _write(folder: Path, name: str, contrast: str, generator: np.random.Generator, side: int) -> None:
    axes = np.meshgrid(*[np.arange(side) - side / 2 + 0.5] * 3, indexing="ij")
    brain = np.sqrt(sum(axis**2 for axis in axes)) < 0.45 * side
    centre = generator.uniform(-0.15, 0.15, 3) * side
    lesion = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))) < 0.18 * side
    gain = 1.0 if contrast == "ge" else 1.6
    images = {
        "t1": np.where(lesion, 900.0, 600.0),
        contrast: gain * np.where(lesion, 200.0, 700.0),
    }
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for role, image in images.items():
        noisy = np.where(brain, image + generator.normal(0, 20, brain.shape), 0.0)
        write_volume(Volume(noisy[None].astype(np.float32), affine), folder / f"{name}_{role}.nii.gz", kind="scalar")
    for role, mask in (("label", lesion & brain), ("mask", brain)):
        write_volume(Volume(mask[None].astype(np.float32), affine), folder / f"{name}_{role}.nii.gz", kind="label")


def recipe(**changes) -> dict:
    """The recipe with some of its blocks changed, e.g. ``schedule={"steps": 2}``."""
    blocks = {key: {**RECIPE[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
    return {**RECIPE, **blocks}
