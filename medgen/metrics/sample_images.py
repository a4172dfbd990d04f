"""Two sets of images compared without a network: variety by structural similarity, and norms of their pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from medgen.errors import InputError, UsageError
from medgen.metrics.resampling import bca_interval
from medgen.metrics.ssim import most_scales, plain_multiscale_ssim

Images = NDArray[np.floating]


class Similarity(NamedTuple):
    """Mean similarity of random pairs of images of one set.

    Attributes:
        mean: in [0, 1]; 1 where all images are equal.
        ci95: its 95 % interval over pairs; NaN below six pairs.
    """

    mean: float
    ci95: tuple[float, float]


class Diversity(NamedTuple):
    """How alike the images of each set are; a generator that collapsed makes images more alike than real ones.

    Attributes:
        real: of pairs of real images.
        generated: of pairs of generated images.
        scales: of the similarity: 5 where the images are large enough.
    """

    real: Similarity
    generated: Similarity
    scales: int


class PixelNorms(NamedTuple):
    """Norms of pixels of two sets, in the unit of the images.

    Attributes:
        mean_l1: mean absolute difference of the mean images.
        mean_l2: root mean square difference of the mean images.
        sd_l1: mean absolute difference of the images of standard deviations; generators that vary too little have it.
        sd_l2: root mean square difference of these.
        real_norm: mean over real images of their norm, the root mean square of their pixels.
        generated_norm: as well, of generated images.
        norm_distance: Wasserstein-1 distance between the distributions of the norms.
    """

    mean_l1: float
    mean_l2: float
    sd_l1: float
    sd_l2: float
    real_norm: float
    generated_norm: float
    norm_distance: float


def ms_ssim_diversity(
    real: ArrayLike, generated: ArrayLike, *, pairs: int = 200, data_range: float | None = None, seed: int = 0
) -> Diversity:
    """Mean multi-scale structural similarity of random pairs of images of a set (Odena et al. 2017, section 4.2).

    Lower is more varied. Only beside that of real images does the number mean something; see
    :func:`~medgen.metrics.ssim.plain_multiscale_ssim` for the variant. Images whose shortest side is below 176 have
    fewer than five scales.

    Args:
        real: images ``(N, C, X, Y)`` or ``(N, C, X, Y, Z)``, N >= 2, sides at least 11, any unit.
        generated: as well, M >= 2.
        pairs: how many of each set, drawn without repetition; all of them where there are not more.
        data_range: width of the range of possible values; by default that of the real images.
        seed: of the pairs.

    Returns:
        The mean over pairs and channels of each set, with intervals over pairs.

    Raises:
        UsageError: ``pairs`` is below 1.
        InputError: too few images, other sizes, sides that are too short, values that are not finite, or real images
            that are constant.
    """
    first, second = _image_sets(real, generated, fewest=2, metric="MS-SSIM diversity")
    if first.ndim not in (4, 5):
        raise InputError(
            f"the MS-SSIM diversity needs images (N, C, X, Y) or (N, C, X, Y, Z), not the shape {first.shape}",
            fix="give each image a channel axis",
        )
    if pairs < 1:
        raise UsageError(f"the number of pairs must be at least 1, got {pairs}", fix="e.g. 200")
    scales = most_scales(first.shape[2:])
    if not scales:
        raise InputError(
            f"structural similarity needs sides of at least 11 pixels, these images have {first.shape[2:]}",
            fix="compare larger images; there is no such number for these",
        )
    width = float(first.max() - first.min()) if data_range is None else data_range
    if not width > 0:
        raise InputError("all real images are constant, so similarity has no scale", fix="check the images")
    generator = np.random.default_rng(seed)
    of_real, of_generated = (_similarity(images, pairs, width, scales, generator) for images in (first, second))
    return Diversity(of_real, of_generated, scales)


def pixel_norms(real: ArrayLike, generated: ArrayLike) -> PixelNorms:
    """L1 and L2 norms of the difference of mean images and of images of standard deviations, and norms of images.

    The mean images tell whether anatomy is where it should be, the standard deviations whether samples vary as real
    images do, and the norms of the images whether they have the brightness and contrast of real ones. Both images are
    of finitely many: of equal distributions with standard deviation s and n images each, ``mean_l2`` is about
    ``s (2 / n)^(1/2)``.

    Args:
        real: images ``(N, ...)``, N >= 2, any unit.
        generated: images ``(M, ...)`` of the same size and unit, M >= 2.

    Returns:
        The norms.

    Raises:
        InputError: too few images, other sizes, or values that are not finite.
    """
    first, second = _image_sets(real, generated, fewest=2, metric="comparison of pixel norms")
    means = first.mean(0, dtype=np.float64) - second.mean(0, dtype=np.float64)
    deviations = first.std(0, ddof=1, dtype=np.float64) - second.std(0, ddof=1, dtype=np.float64)
    norms = [_root_mean_square(each.reshape(len(each), -1)) for each in (first, second)]
    return PixelNorms(
        mean_l1=float(abs(means).mean()),
        mean_l2=float(np.sqrt((means**2).mean())),
        sd_l1=float(abs(deviations).mean()),
        sd_l2=float(np.sqrt((deviations**2).mean())),
        real_norm=float(norms[0].mean()),
        generated_norm=float(norms[1].mean()),
        norm_distance=float(wasserstein_distance(*norms)),
    )


def gradient_energy(images: ArrayLike) -> NDArray[np.float64]:
    """Sharpness of each image: the mean squared difference of neighbouring voxels, summed over the axes.

    That of a reconstruction over that of its image is 1 where it is as sharp, below 1 where it is blurred. Noise and
    texture count as edges do.

    Args:
        images: ``(N, C, X, Y)`` or ``(N, C, X, Y, Z)``, any unit.

    Returns:
        ``(N,)`` in squared units.

    >>> float(gradient_energy(np.array([[[[0.0, 1.0], [0.0, 1.0]]]]))[0])
    1.0
    """
    values = np.asarray(images, dtype=np.float64)
    axes = [axis for axis in range(2, values.ndim) if values.shape[axis] > 1]
    squares = [np.square(np.diff(values, axis=axis)).reshape(len(values), -1).mean(1) for axis in axes]
    energy: NDArray[np.float64] = np.sum(squares, axis=0) if squares else np.zeros(len(values))
    return energy


def _image_sets(real: ArrayLike, generated: ArrayLike, *, fewest: int, metric: str) -> tuple[Images, Images]:
    """Both sets as arrays of floats, checked; their memory is not copied where they are."""
    sets = []
    for what, values in (("real", real), ("generated", generated)):
        images = np.asarray(values)
        images = images if np.issubdtype(images.dtype, np.floating) else images.astype(np.float32)
        if images.ndim < 2 or len(images) < fewest:
            raise InputError(
                f"the {metric} needs at least {fewest} {what} images, got an array of shape {images.shape}",
                fix="give more images, with the number of images as first axis",
            )
        if bad := sum(not np.isfinite(image).all() for image in images):
            raise InputError(
                f"{bad} of {len(images)} {what} images have values that are NaN or infinite", fix="leave them out"
            )
        sets.append(images)
    if sets[0].shape[1:] != sets[1].shape[1:]:
        raise InputError(
            f"real images have shape {sets[0].shape[1:]} and generated images {sets[1].shape[1:]}",
            fix="compare patches of the same size and channels",
        )
    return sets[0], sets[1]


def _root_mean_square(table: Images) -> NDArray[np.float64]:
    return np.array([np.sqrt(np.square(row, dtype=np.float64).mean()) for row in table])


def _similarity(
    images: Images, pairs: int, data_range: float, scales: int, generator: np.random.Generator
) -> Similarity:
    seed = int(generator.integers(2**31))
    values = np.array(
        [
            np.mean(
                [
                    plain_multiscale_ssim(one, two, data_range=data_range, scales=scales)
                    for one, two in zip(images[first], images[second], strict=True)
                ]
            )
            for first, second in _random_pairs(len(images), pairs, generator)
        ]
    )
    return Similarity(float(values.mean()), bca_interval(values, seed, 2000))


def _random_pairs(count: int, pairs: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Different pairs of different images, in random order."""
    all_pairs = count * (count - 1) // 2
    numbers = generator.choice(all_pairs, min(pairs, all_pairs), replace=False)
    # Pair number p of (1, 0), (2, 0), (2, 1), (3, 0), ...: the larger index is the root of p = i (i - 1) / 2.
    larger = ((1 + np.sqrt(1 + 8 * numbers)) / 2).astype(np.int64)
    smaller = numbers - larger * (larger - 1) // 2
    return list(zip(larger.tolist(), smaller.tolist(), strict=True))
