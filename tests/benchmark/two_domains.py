"""Two domains small enough to train on inside a test."""

from pathlib import Path

import numpy as np

from medgen.volume import Volume, write_volume

RECIPE = {
    "method": "domain_adversarial",
    "config": {
        "network": "unet",
        "width": 0.125,
        "optimizer": "adam",
        "discriminator_width": 4,
        "discriminator_depth": 1,
        "begin": 0.1,
    },
    "data": {"inputs": ["t1", "ge|swi"], "labels": "label", "mask": "mask", "classes": {"lesion": [1]}},
    "preparation": {"spacing": None},
    "patches": {"size": [16, 16, 16], "sampling": "balanced"},
    "schedule": {"steps": 4, "batch": 2, "validate_every": 4, "save_every": 2},
    "seed": 5,
}
SPLITS = ("train", "train", "val", "test", "test")


def write_domains(folder: Path, *, splits=SPLITS, side: int = 16) -> Path:
    """A ball with a lesion, dark in ``ge`` and in the target domain bright in ``swi``."""
    rows = ["case,split,domain,t1,ge,swi,label,mask"]
    axes = np.meshgrid(*[np.arange(side) - side / 2] * 3, indexing="ij")
    for domain, shifted, contrast in (("source", "ge", -300.0), ("target", "swi", 300.0)):
        for number, split in enumerate(splits):
            generator = np.random.default_rng([number, domain == "target"])
            centre = generator.uniform(-2, 2, 3)
            brain = sum(axis**2 for axis in axes) < (0.45 * side) ** 2
            lesion = sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) < 9
            noise = generator.normal(0, 10, (2, *brain.shape))
            images = {
                "t1": np.where(brain, 500 + noise[0], 0.0),
                shifted: np.where(brain, 600 + contrast * lesion + noise[1], 0.0),
                "label": lesion,
                "mask": brain,
            }
            name = f"{domain}{number}"
            for role, data in images.items():
                kind = "label" if role in ("label", "mask") else "scalar"
                volume = Volume(data[None].astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
                write_volume(volume, folder / f"{name}_{role}.nii.gz", kind=kind)
            cells = [f"{name}_{role}.nii.gz" if role in images else "" for role in ("t1", "ge", "swi", "label", "mask")]
            rows.append(",".join([name, split, domain, *cells]))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"
