"""A segmentation whose probabilities can be checked by hand, and patients for it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mean_model import AFFINE, save
from torch import Tensor

from medgen.config import Config
from medgen.inference.model import LoadedModel
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Labelled


class KnownConfig(Config):
    largest: ClassVar[float] = math.inf

    factor: float = 1.0


class Known(Method, Predicts):
    """Of flair f and t2 t in [0, 1]: 1 - f background, f (1 - t) core, f t rim; minus a margin of 2 voxels."""

    config_class = KnownConfig
    batch_class = Labelled

    @property
    def window(self) -> Window:
        return Window(margin=2)

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        f, t = image[:, :, 2:-2, 2:-2, 2:-2].clip(0, 1).unbind(1)
        return self.config.factor * torch.stack([1 - f, f * (1 - t), f * t], dim=1)


def describe_classes(
    mask: str | None = None, classes: Sequence[str] = ("core", "swollen rim"), **preparation: Any
) -> dict[str, Any]:
    """The parts of model.json that prediction reads; 0..1000 become -1..1, so 500 is 0 and 900 is 0.8."""
    return {
        "method": "known",
        "task": "segmentation",
        "classes": list(classes),
        "weights_sha256": "0" * 64,
        "preparation": {
            "roles": {"inputs": ["flair", "t2"], "labels": "label", "mask": mask},
            "config": {
                "spacing": None,
                "body_margin": 0,
                "intensity": {role: {"window": [0, 1000]} for role in ("flair", "t2")},
                **preparation,
            },
        },
        "inference": {"overlap": 0.0},
        "patches": [12, 12, 12],
    }


def make_segmenter(mask: str | None = None, *, factor: float = 1.0, **preparation: Any) -> LoadedModel:
    stage = Known(KnownConfig(factor=factor), Shape(2, 3)).eval()
    return LoadedModel([stage], describe_classes(mask, **preparation), torch.device("cpu"))


def patient(shape: Sequence[int] = (19, 23, 17)) -> dict[str, np.ndarray]:
    """Tissue of 500 in air. In flair a lesion of 900, half of it (x >= 10) with a bright t2."""
    flair = np.zeros(shape, np.float32)
    flair[3:-3, 3:-3, 3:-3] = 500.0
    t2 = flair.copy()
    flair[8:12, 10:14, 7:10] = 900.0
    t2[10:12, 10:14, 7:10] = 900.0
    return {"flair": flair, "t2": t2}


def save_patient(folder: Path, images: dict[str, np.ndarray] | None = None, affine: np.ndarray = AFFINE) -> dict:
    images = images or patient()
    return {role: save(image, folder / f"{role}.nii.gz", affine) for role, image in images.items()}
