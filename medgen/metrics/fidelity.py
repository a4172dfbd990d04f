"""Whether samples look like real images, and whether all kinds of real images are among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medgen.errors import InputError
from medgen.metrics.feature_sets import (
    Numbers,
    distance_blocks,
    neighbour_radius,
    pair_of,
    require_neighbours,
    require_varied,
)


class Fidelity(NamedTuple):
    """Four shares that tell "not real" from "not varied".

    Attributes:
        precision: share of generated images that lie among the real ones.
        recall: share of real images that lie among the generated ones.
        density: how many real neighbourhoods hold a generated image, in units of what is expected: 1 for equal
            distributions, more where samples crowd in dense regions.
        coverage: share of real images whose neighbourhood holds a generated image.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class FeatureDistance(NamedTuple):
    """How far apart two sets are in the layers of a network.

    Attributes:
        value: the mean over the layers.
        layers: one number a layer, from the first to the last.
    """

    value: float
    layers: tuple[float, ...]


def fidelity(real: ArrayLike, generated: ArrayLike, *, neighbours: int = 5) -> Fidelity:
    """Precision and recall (Kynkäänniemi et al. 2019, eq. 1-2), density and coverage (Naeem et al. 2020, eq. 3-4).

    The neighbourhood of an image is the ball that reaches to its nearest image of the same set of rank ``neighbours``,
    the border included. Of equal distributions and n images each, the expected density is 1 and the expected coverage
    ``1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k))`` (Naeem et al. 2020, lemma 2), about ``1 - 2^-k``, in any number
    of dimensions; precision and recall have no such value.

    Args:
        real: features of real images ``(N, D)``, N > neighbours.
        generated: features of generated images ``(M, D)``, M > neighbours.
        neighbours: k; 3 in the first paper, 5 in the second.

    Returns:
        Precision, recall and coverage in [0, 1], density at least 0.

    Raises:
        UsageError: ``neighbours`` is below 1.
        InputError: too few images, values that are not finite, or real images that are all equal.
    """
    first, second = pair_of(real, generated, fewest=2, metric="precision")
    require_neighbours(neighbours, min(len(first), len(second)), metric="precision")
    require_varied(first, "real images", metric="precision")
    radius_real, radius_generated = neighbour_radius(first, neighbours), neighbour_radius(second, neighbours)
    times_inside = np.zeros(len(second), np.int64)
    holds_one, is_inside = np.zeros(len(first), np.bool_), np.zeros(len(first), np.bool_)
    for part, distances in distance_blocks(first, second):
        held = distances <= radius_real[part, None]
        times_inside += held.sum(axis=0)
        holds_one[part] = held.any(axis=1)
        is_inside[part] = (distances <= radius_generated).any(axis=1)
    return Fidelity(
        precision=float((times_inside > 0).mean()),
        recall=float(is_inside.mean()),
        density=float(times_inside.mean() / neighbours),
        coverage=float(holds_one.mean()),
    )


def feature_distance(real: Sequence[ArrayLike], generated: Sequence[ArrayLike]) -> FeatureDistance:
    """Combined distance of feature layers, e.g. those of a discriminator.

    Feature matching (Salimans et al. 2016, section 3.1) compares the mean features of two sets. Here a layer counts
    the means and the standard deviations of its channels, in units of the variance of the real images, so that layers
    of any scale weigh the same::

        sum over channels of (m - m')^2 + (s - s')^2, over the sum of s^2

    with mean m and standard deviation s over images of the spatial mean of a feature map. This is the Fréchet distance
    of Gaussians without covariances: few images do for it. 1 says that the sets differ by as much as real images do
    among themselves. Of equal distributions and n images each about 3 / n remains.

    Args:
        real: feature maps ``(N, C, ...)`` or ``(N, C)``, one array a layer, N >= 2.
        generated: the same layers of generated images, M >= 2.

    Returns:
        The mean over the layers, and one number a layer; at least 0.

    Raises:
        InputError: other layers, too few images, values that are not finite, or a layer that does not vary over the
            real images.
    """
    if not len(real) or len(real) != len(generated):
        raise InputError(
            f"feature maps of {len(real)} layers of real and of {len(generated)} layers of generated images",
            fix="compute both with the same network",
        )
    layers = tuple(
        _layer_distance(_pooled(one), _pooled(two), number)
        for number, (one, two) in enumerate(zip(real, generated, strict=True), 1)
    )
    return FeatureDistance(float(np.mean(layers)), layers)


def _pooled(maps: ArrayLike) -> Numbers:
    """Means over space ``(N, C)`` of feature maps ``(N, C, ...)``."""
    table: Numbers = np.asarray(maps, dtype=np.float64)
    return table.mean(axis=tuple(range(2, table.ndim))) if table.ndim > 2 else table


def _layer_distance(real: Numbers, generated: Numbers, number: int) -> float:
    first, second = pair_of(real, generated, fewest=2, metric=f"feature distance (layer {number})")
    require_varied(first, f"real images in layer {number}", metric="feature distance")
    means = first.mean(0) - second.mean(0)
    deviations = first.std(0, ddof=1) - second.std(0, ddof=1)
    return float((means**2 + deviations**2).sum() / first.var(0, ddof=1).sum())
