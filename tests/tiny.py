"""A data set and a recipe small enough to train on inside a test."""

from pathlib import Path

import numpy as np

from medgen.volume import Volume, write_volume

RECIPE = {
    "method": "context_aware_gan",
    "config": {"generator": "unet", "width": 0.125, "learning_rate": 1e-3},
    "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
    "preparation": {"spacing": None},
    "patches": {"size": [16, 16, 16], "augmentation": {"flip": ["x"]}},
    "schedule": {"steps": 20, "batch": 2, "precision": "32", "averaging": 0.9, "validate_every": 10, "save_every": 5},
    "seed": 3,
}


def write_cases(folder: Path, *, train: int = 3, val: int = 1, test: int = 1, side: int = 20) -> Path:
    """Balls of tissue with a bony core: the CT follows from the MR up to noise."""
    rows = ["case,split,t1,ct,mask"]
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    axes = np.meshgrid(*[np.arange(side) - side / 2] * 3, indexing="ij")
    for number, split in enumerate(splits):
        generator = np.random.default_rng(number)
        radius = np.sqrt(sum((axis / generator.uniform(0.9, 1.1)) ** 2 for axis in axes))
        body, bone = radius < 0.42 * side, radius < 0.2 * side
        t1 = np.where(body, np.where(bone, 200.0, 800.0), 0.0) + generator.normal(0, 10, body.shape)
        ct = np.where(body, np.where(bone, 900.0, 40.0), -1000.0)
        name = f"case{number}"
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        for role, data, kind in (("t1", t1, "scalar"), ("ct", ct, "hu"), ("mask", body, "label")):
            write_volume(Volume(data[None].astype(np.float32), affine), folder / f"{name}_{role}.nii.gz", kind=kind)
        rows.append(f"{name},{split}," + ",".join(f"{name}_{role}.nii.gz" for role in ("t1", "ct", "mask")))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def recipe(**changes) -> dict:
    """The recipe with some of its blocks changed, e.g. ``schedule={"steps": 2}``."""
    blocks = {key: {**RECIPE[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
    return {**RECIPE, **blocks}
