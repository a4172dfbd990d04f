"""What a trained method has to beat where a run itself scores no constant: of values, and of densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import wasserstein_distance

from medgen.methods.base import Method, Translates
from medgen.preparation import Preparation, StoredCase
from medgen.recipe.settings import Recipe
from medgen.sampling.batches import Unpaired
from medgen.sampling.loading import patch_batches
from medgen.sampling.streams import StreamSource

PATCHES = 64
NOISE = 0.05**2 / 12
"""Least variance of a voxel: that of the noise which RealNVP learns with."""


def distances(method: Translates, learnt: Unpaired, unseen: Unpaired, preparation: Preparation) -> tuple[float, float]:
    """How far the values of translated patches are from those of true ones, and of what learns nothing.

    Args:
        method: translates forward.
        learnt: patches of the training cases.
        unseen: patches of held-out cases.
        preparation: maps targets to HU.

    Returns:
        Wasserstein distances in HU between all values of the patches, air and patients: of the translation; and the
        smaller one of two constants, the median of the training targets, and the input read as the target.
    """

    def distance(values: torch.Tensor) -> float:
        found, true = (
            preparation.target_from_network(each.clamp(-1, 1).numpy()).ravel() for each in (values, unseen.target)
        )
        return float(wasserstein_distance(found, true))

    with torch.no_grad():
        translated = method.predict(unseen.source, "forward")
    median = learnt.target.median().expand_as(unseen.target)
    return distance(translated), min(distance(median), distance(unseen.source))


def patches(kind: type[Method], cases: Sequence[StoredCase], recipe: Recipe) -> Any:
    """A batch of 64 patches as the method sees them."""
    source = StreamSource(kind.batch_class, cases, recipe.patches, recipe.seed, None, recipe.data.inputs)
    return next(patch_batches(source, kind.batch_class, batch=PATCHES, start=0, stop=1))


def density_to_beat(training: torch.Tensor, held_out: torch.Tensor) -> float:
    """Nats a voxel of held-out patches under the best of three Gaussians of independent voxels.

    One mean and one variance for all voxels; the mean patch and one variance; a mean and a variance for each place.
    """
    mean = training.mean(dim=0, keepdim=True)
    gaussians = (
        (training.mean(), training.var()),
        (mean, (training - mean).square().mean()),
        (mean, training.var(dim=0, keepdim=True)),
    )
    return min(_nats(held_out, *gaussian) for gaussian in gaussians)


def _nats(images: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> float:
    variance = variance.clamp(min=NOISE)
    return float((0.5 * ((images - mean).square() / variance + variance.log() + math.log(2 * math.pi))).mean())
