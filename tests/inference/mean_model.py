"""A model that can be checked by hand, and patients for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from medgen.config import Config
from medgen.inference.model import LoadedModel
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Paired

AFFINE = np.diag([-1.5, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = [30.0, -20.0, 10.0]


class MeanConfig(Config):
    gain: float = 1.0
    stages: int = 1


class Mean(Method, Predicts):
    """The mean of its channels times a gain, minus a margin of 2 voxels."""

    config_class = MeanConfig
    batch_class = Paired

    def __init__(self, config: MeanConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.gain = nn.Parameter(torch.tensor(config.gain))

    @property
    def window(self) -> Window:
        return Window(margin=2)

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.gain * image[:, :, 2:-2, 2:-2, 2:-2].mean(dim=1, keepdim=True)


def describe(inputs: Sequence[str], **preparation: Any) -> dict[str, Any]:
    """The parts of model.json that prediction reads: inputs from 0..1000 become -1..1, as CT does from its window."""
    return {
        "method": "mean",
        "weights_sha256": "0" * 64,
        "preparation": {
            "roles": {"inputs": list(inputs), "target": "ct"},
            "config": {
                "spacing": None,
                "intensity": {role: {"window": [0, 1000]} for role in inputs} | {"ct": {"window": [-1024, 2000]}},
                **preparation,
            },
        },
        "inference": {"overlap": 0.0},
        "patches": [12, 12, 12],
    }


def make_model(*inputs: str, gains: Sequence[float] = (1.0,), **preparation: Any) -> LoadedModel:
    """A model, for example ``make_model("t1", "t2", gains=[1.0, 0.5], nan="zero")``; one stage a gain."""
    inputs = inputs or ("t1",)
    stages = [
        Mean(MeanConfig(gain=gain, stages=len(gains)), Shape(len(inputs) + (index > 0), 1)).eval()
        for index, gain in enumerate(gains)
    ]
    return LoadedModel(stages, describe(inputs, **preparation), torch.device("cpu"))


def head(shape: Sequence[int] = (19, 23, 17), value: float = 500.0) -> np.ndarray:
    """Air of 0 around a block of ``value`` with a bright core."""
    image = np.zeros(shape, np.float32)
    image[3:-3, 3:-3, 3:-3] = value
    image[6:-6, 6:-6, 6:-6] = 750.0
    return image


def save(image: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = nibabel.Nifti1Image(image, affine)
    file.set_sform(affine, 1)
    file.set_qform(affine, 1)
    nibabel.save(file, path)
    return path
