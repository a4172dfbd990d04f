"""Model folders with networks that nobody trained, and a patient for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.training.model_folder import save_model
from medgen.volume import Volume, write_volume

AFFINE = np.diag([-1.5, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = [30.0, -20.0, 10.0]
SYNTHESIS = {"roles": {"inputs": ["t1"], "target": "ct"}, "intensity": {"ct": {"window": [-1024, 2000]}}}
LABELS = {"roles": {"inputs": ["t1"], "labels": "label"}, "intensity": {}}


def save_small(folder: Path, config: dict[str, Any], *, patch: int = 16, size: int = 24, **inference: Any) -> Path:
    """A model for t1 to ct, or with ``preset`` of DeepMedic for the label ``lesion``; tiles of ``size`` voxels."""
    labels = "preset" in config
    shape = Shape(1, 2 if labels else 1, (patch,) * 3)
    method = "segmentation" if labels else "supervised"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # of some other weights, every probability is 1
        stages = [create(method, config, shape).eval()]
        stages += [create(method, config, shape.with_context()).eval()] * (int(config.get("stages", 1)) - 1)
    kept = LABELS if labels else SYNTHESIS
    description = {
        "method": method,
        "task": "segmentation" if labels else "synthesis",
        "preparation": {
            "roles": kept["roles"],
            "config": {"spacing": [2, 2, 2], "intensity": {"t1": {"window": [0, 1000]}, **kept["intensity"]}},
        },
        "inference": {"overlap": 0.25, "size": [size] * 3, **inference},
        "patches": [patch] * 3,
        **({"classes": ["lesion"]} if labels else {}),
    }
    save_model(folder / "model", stages, description)
    return folder


def image(shape: tuple[int, int, int] = (40, 20, 19)) -> Volume:
    """Air around a block with texture."""
    data = np.zeros(shape, np.float32)
    inside = (slice(2, -2), slice(2, -2), slice(2, -2))
    data[inside] = np.random.default_rng(1).uniform(300, 900, data[inside].shape)
    return Volume(data[None], AFFINE)


def save_image(path: Path) -> Path:
    """:func:`image` as a file."""
    write_volume(image(), path, kind="scalar")
    return path
