"""What a trained method has to beat where a run itself scores no constant: of values, and of densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from medgen.baselines.regressors import ConstantBaseline
from medgen.methods.base import Method
from medgen.preparation import Preparation, StoredCase
from medgen.recipe.settings import Recipe
from medgen.sampling.loading import patch_batches
from medgen.sampling.streams import StreamSource

PATCHES = 64
NOISE = 0.05**2 / 12
"""Least variance of a voxel: that of the noise which RealNVP learns with."""


def distance(values: NDArray[Any], case: StoredCase, preparation: Preparation) -> float:
    """Wasserstein distance in HU between estimated and true values ``(1, X, Y, Z)`` in the mask of a case."""
    inside = np.asarray(case.mask) > 0
    found, true = (
        preparation.target_from_network(np.clip(np.asarray(array), -1, 1))[0][inside] for array in (values, case.target)
    )
    return float(wasserstein_distance(found, true))


def distance_to_beat(training: Sequence[StoredCase], held_out: Sequence[StoredCase], preparation: Preparation) -> float:
    """The smaller distance of two translations that learn nothing: the median CT number, and the input as it is."""
    median = ConstantBaseline().fit(training)
    constant = np.mean([distance(median.predict(np.asarray(case.image)), case, preparation) for case in held_out])
    identity = np.mean([distance(np.asarray(case.image)[:1], case, preparation) for case in held_out])
    return float(min(constant, identity))


def patches(kind: type[Method], cases: Sequence[StoredCase], recipe: Recipe) -> torch.Tensor:
    """Images ``(64, C, ...)`` as the method sees them."""
    source = StreamSource(kind.batch_class, cases, recipe.patches, recipe.seed, None, recipe.data.inputs)
    batch: Any = next(patch_batches(source, kind.batch_class, batch=PATCHES, start=0, stop=1))
    images: torch.Tensor = batch.image
    return images


def density_to_beat(training: torch.Tensor, held_out: torch.Tensor) -> float:
    """Nats a voxel of held-out patches under the best of three Gaussians of independent voxels.

    One mean and one variance for all voxels; the mean patch and one variance; a mean and a variance for each place.
    """
    mean = training.mean(dim=0, keepdim=True)
    gaussians = (
        (training.mean(), training.var()),
        (mean, (training - mean).square().mean()),
        (mean, training.var(dim=0, keepdim=True).clamp(min=NOISE)),
    )
    return min(_nats(held_out, *gaussian) for gaussian in gaussians)


def _nats(images: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> float:
    return float((0.5 * ((images - mean).square() / variance + variance.log() + math.log(2 * math.pi))).mean())
