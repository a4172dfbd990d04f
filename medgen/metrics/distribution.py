"""How far apart two sets of images are: Fréchet distance and kernel distance; and by name all metrics of samples.

Features (or pixels) in, numbers out; the order is always real, generated. The functions of the other files are here
under one roof: :mod:`~medgen.metrics.fidelity`, :mod:`~medgen.metrics.memorisation`,
:mod:`~medgen.metrics.sample_images` and :mod:`~medgen.metrics.class_probabilities`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medgen.errors import InputError
from medgen.metrics.class_probabilities import InceptionScore, inception_score
from medgen.metrics.feature_sets import Numbers, pair_of, require_varied
from medgen.metrics.fidelity import FeatureDistance, Fidelity, feature_distance, fidelity
from medgen.metrics.memorisation import Memorisation, memorisation
from medgen.metrics.resampling import FEWEST, NOTHING
from medgen.metrics.sample_images import Diversity, PixelNorms, ms_ssim_diversity, pixel_norms

__all__ = [
    "Diversity",
    "Extrapolated",
    "FeatureDistance",
    "Fidelity",
    "InceptionScore",
    "KernelDistance",
    "Memorisation",
    "PixelNorms",
    "feature_distance",
    "fidelity",
    "frechet_distance",
    "frechet_distance_infinite",
    "inception_score",
    "kernel_distance",
    "memorisation",
    "ms_ssim_diversity",
    "pixel_norms",
]

_MOST_PARTS = 4
"""Into how many parts the sets are split at most for the extrapolation."""
_REPEATS = 4
"""Random splits that are averaged."""
_BLOCK = 2**22
"""Values of the kernel that are in memory at a time."""
_Z95 = 1.959963984540054


class Extrapolated(NamedTuple):
    """A Fréchet distance with the bias of few images taken out.

    Attributes:
        value: what infinitely many images would give; of two equal distributions it scatters around 0 and may be below.
        finite: the distance of the images as they are, biased upwards.
        sizes: how many real images the distances had, between which the line was fitted.
    """

    value: float
    finite: float
    sizes: tuple[int, ...]


class KernelDistance(NamedTuple):
    """A kernel distance.

    Attributes:
        value: unbiased, so that it may be below 0 for equal distributions.
        ci95: its 95 % interval; NaN where one of the sets has fewer than six images.
    """

    value: float
    ci95: tuple[float, float]


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    """The squared Fréchet distance of the Gaussians that have the means and covariances of two sets.

    ``|m - m'|^2 + tr C + tr C' - 2 tr (C C')^(1/2)`` (Dowson & Landau 1982; Heusel et al. 2017, eq. 6). The last trace
    is the sum of the singular values of ``A B^T`` for centred tables with ``C = A^T A`` and ``C' = B^T B``: no root of
    a matrix is taken, whose rounding errors are as large as small distances.

    **It is biased upwards** by about a constant over the number of images. Compare only numbers from equally many
    images, or use :func:`frechet_distance_infinite`.

    Args:
        real: features of real images ``(N, D)``, N > D: covariances of fewer images have no full rank.
        generated: features of generated images ``(M, D)``, M > D.

    Returns:
        The distance in squared units of the features, at least 0.

    Raises:
        InputError: too few images, values that are not finite, or real images that are all equal.
    """
    first, second = pair_of(real, generated, fewest=2, metric="Fréchet distance")
    _require_rank(first, second, 1, "Fréchet distance")
    require_varied(first, "real images", metric="Fréchet distance")
    return _frechet(first, second)


def frechet_distance_infinite(real: ArrayLike, generated: ArrayLike, *, seed: int = 0) -> Extrapolated:
    """:func:`frechet_distance` extrapolated to infinitely many images (Chong & Forsyth 2020, arXiv:1911.07023).

    The bias is a constant over the number of images. So both sets are split into 1, 2, 3 and 4 parts (as long as each
    part has more images than features), the distances of the parts are averaged, and a line is fitted to them against
    the number of parts; its value at 0 is the result. Unlike in the paper, the real set is split too: in medicine it
    is small as well.

    Args:
        real: features of real images ``(N, D)``, N >= 2 (D + 1), so that two parts have full rank.
        generated: features of generated images ``(M, D)``, M >= 2 (D + 1).
        seed: of the splits.

    Returns:
        The extrapolated and the finite distance.

    Raises:
        InputError: see :func:`frechet_distance`; and too few images for two parts.
    """
    first, second = pair_of(real, generated, fewest=2, metric="Fréchet distance")
    _require_rank(first, second, 2, "extrapolated Fréchet distance")
    require_varied(first, "real images", metric="Fréchet distance")
    most = min(_MOST_PARTS, min(len(first), len(second)) // (first.shape[1] + 1))
    generator = np.random.default_rng(seed)
    parts = np.arange(1, most + 1)
    distances = [_frechet(first, second), *(_of_parts(first, second, count, generator) for count in parts[1:].tolist())]
    intercept = np.polynomial.polynomial.polyfit(parts, distances, 1)[0]
    return Extrapolated(float(intercept), distances[0], tuple(len(first) // count for count in parts.tolist()))


def kernel_distance(real: ArrayLike, generated: ArrayLike) -> KernelDistance:
    """Kernel (Inception) distance: the unbiased squared maximum mean discrepancy with the kernel ``(x.y / D + 1)^3``.

    Binkowski et al. 2018 (arXiv:1801.01401), with all pairs in place of random subsets. The expected value does not
    depend on the number of images, so it suits few of them. The interval is of the jackknife over the images of both
    sets: of 20 Gaussian images with 16 features it covers 96 %, with one feature, whose third power is far from
    normal, 79 %; of equal distributions 99 %.

    Args:
        real: features of real images ``(N, D)``, N >= 2.
        generated: features of generated images ``(M, D)``, M >= 2.

    Returns:
        The distance and its interval.

    Raises:
        InputError: too few images, values that are not finite, or real images that are all equal.
    """
    first, second = pair_of(real, generated, fewest=2, metric="kernel distance")
    require_varied(first, "real images", metric="kernel distance")
    n, m = len(first), len(second)
    within_first, within_second = _kernel_sums(first, first), _kernel_sums(second, second)
    between, between_second = _kernel_sums(first, second), _kernel_sums(second, first)
    total_first, total_second, total = within_first.sum(), within_second.sum(), between.sum()
    value = total_first / (n * (n - 1)) + total_second / (m * (m - 1)) - 2 * total / (n * m)
    if min(n, m) < FEWEST:
        return KernelDistance(float(value), NOTHING)
    # The distance without one image, for each image; what does not change is left out.
    less_first = (total_first - 2 * within_first) / ((n - 1) * (n - 2)) - 2 * (total - between) / ((n - 1) * m)
    less_second = (total_second - 2 * within_second) / ((m - 1) * (m - 2)) - 2 * (total - between_second) / (
        n * (m - 1)
    )
    half = _Z95 * float(np.sqrt((n - 1) * less_first.var() + (m - 1) * less_second.var()))
    return KernelDistance(float(value), (float(value) - half, float(value) + half))


def _require_rank(first: Numbers, second: Numbers, parts: int, metric: str) -> None:
    features, fewest = first.shape[1], min(len(first), len(second))
    if fewest < (needed := parts * (features + 1)):
        raise InputError(
            f"the {metric} of {features} features needs at least {needed} images of each kind, got {fewest}",
            fix="give more images or fewer features, or use the kernel distance, which needs no covariance",
        )


def _frechet(first: Numbers, second: Numbers) -> float:
    means = float(((first.mean(0) - second.mean(0)) ** 2).sum())
    root_first, root_second = _root(first), _root(second)
    traces = float((root_first**2).sum() + (root_second**2).sum())
    between = float(np.linalg.svd(root_first @ root_second.T, compute_uv=False).sum())
    return max(0.0, means + traces - 2 * between)


def _root(table: Numbers) -> Numbers:
    """A matrix ``R`` of at most D rows with ``R^T R`` the sample covariance."""
    centred = (table - table.mean(0)) / np.sqrt(len(table) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(table) > table.shape[1] else centred


def _of_parts(first: Numbers, second: Numbers, count: int, generator: np.random.Generator) -> float:
    """Mean distance of parts of both sets, over random splits into ``count`` parts of equal size."""
    distances = []
    for _ in range(_REPEATS):
        sizes = len(first) // count, len(second) // count
        orders = generator.permutation(len(first)), generator.permutation(len(second))
        for part in range(count):
            one, two = (order[part * size : (part + 1) * size] for order, size in zip(orders, sizes, strict=True))
            distances.append(_frechet(first[one], second[two]))
    return float(np.mean(distances))


def _kernel_sums(first: Numbers, second: Numbers) -> Numbers:
    """Sums ``(N,)`` of the kernel of each row of ``first`` over the rows of ``second``; of one table without itself."""
    sums, rows = np.empty(len(first)), max(1, _BLOCK // len(second))
    for start in range(0, len(first), rows):
        kernel = (first[start : start + rows] @ second.T / first.shape[1] + 1) ** 3
        if first is second:
            np.fill_diagonal(kernel[:, start:], 0)
        sums[start : start + rows] = kernel.sum(axis=1)
    return sums
