"""Whether a generator copies its training images: nearest neighbours of samples against those of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.errors import InputError
from medgen.metrics.feature_sets import Numbers, checked, distance_blocks, require_same_features, require_varied
from medgen.metrics.resampling import FEWEST

AROUND = 20
"""Training images whose mean distance a distance is relative to."""


@dataclass(frozen=True, eq=False)
class Near:
    """Nearest training images of some images.

    Attributes:
        index: (N, k) of training images, the nearest first.
        flip: (N, k) numbers of the mirrorings at which they are so near.
        distance: (N, k).
        relative: (N,) distance of the nearest one over the mean of those of the :data:`AROUND` nearest (as Carlini et
            al. 2023, arXiv:2301.13188, equation 2, without their factor): 0 for a copy, near 1 where the nearest image
            is no nearer than many others. It finds a copy also in a set with images that are all nearly empty, and
            so near to each other.
    """

    index: NDArray[np.intp]
    flip: NDArray[np.intp]
    distance: Numbers
    relative: Numbers


def near_of(images: ArrayLike, training: Sequence[ArrayLike], *, most: int = 1) -> Near:
    """The training images nearest to images (N, D).

    Args:
        images: features.
        training: features (M, D) of the training images, then of the same images mirrored in some way, and so on.
        most: how many of each image, at most M.
    """
    first = np.asarray(images, np.float64)
    best, flip = np.full((len(first), len(np.asarray(training[0]))), np.inf), None
    for number, table in enumerate(training):
        distances = np.concatenate([block for _, block in distance_blocks(first, np.asarray(table, np.float64))])
        flip = np.zeros(best.shape, np.intp) if flip is None else np.where(distances < best, number, flip)
        best = np.minimum(best, distances)
    assert flip is not None
    index = np.argsort(best, axis=1, kind="stable")[:, :most]
    around = np.sort(best, axis=1)[:, :AROUND].mean(axis=1)
    relative = np.divide(best.min(axis=1), around, out=np.zeros(len(best)), where=around > 0)
    return Near(index, np.take_along_axis(flip, index, axis=1), np.take_along_axis(best, index, axis=1), relative)


def nearer(near: Near, usual: Near) -> NDArray[np.bool_]:
    """Which images (N,) are nearer to a training image than any held-out image is, absolutely or relatively."""
    absolute, relative = near.distance[:, 0] < usual.distance[:, 0].min(), near.relative < usual.relative.min()
    return np.asarray(absolute | relative, np.bool_)


def expected_nearer(samples: int, held_out: int) -> float:
    """How many samples :func:`nearer` finds at most on average if samples and held-out images are distributed alike.

    Each of its two rules finds one with probability 1 / (held_out + 1).
    """
    return min(float(samples), 2 * samples / (held_out + 1))


def varied(images: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of the images ``(N, ...)`` of more than one value: nothing but air equals air, and copies nobody."""
    flat = images.reshape(len(images), -1)
    return np.flatnonzero(flat.min(axis=1) < flat.max(axis=1))


class Memorisation(NamedTuple):
    """A test for copies of training images.

    Attributes:
        statistic: C_T, standard normal for a generator as good as the truth: below 0 samples are nearer to the training
            images than held-out real images are (copies), above 0 farther (blurred, or of other kinds).
        p: one-sided p-value for "nearer": small means copies.
        suspicious: indices of samples that are nearer to a training image than any held-out image is, by the distance
            or relative to other training images (:func:`nearer`); nearest first.
        training: index of the training image that each of them is nearest to.
        expected: how many suspicious samples chance makes at most on average, if samples and held-out
            images have equal distributions.
    """

    statistic: float
    p: float
    suspicious: tuple[int, ...]
    training: tuple[int, ...]
    expected: float


def memorisation(
    training: ArrayLike, generated: ArrayLike, held_out: ArrayLike, *, mirrored: Sequence[ArrayLike] = ()
) -> Memorisation:
    """The three-sample test of data copying (Meehan et al. 2020, arXiv:2004.05675, eq. 3), with one cell.

    The distances of samples to their nearest training images are ranked among those of real images that the generator
    has never seen (Mann and Whitney 1947, with the correction for ties). Split by patient: an image of a training
    patient is not held out. One cell means that copies of one kind can hide behind bad samples of another kind; the
    list of suspicious samples does not have this blind spot. A test that is passed is no proof of privacy.

    Args:
        training: features or pixels of the training images ``(N, D)``, N >= 2.
        generated: of samples ``(M, D)``, M >= 6.
        held_out: of real images of other patients ``(L, D)``, L >= 6.
        mirrored: of the training images, mirrored in each of the ways that the generator has seen, ``(N, D)`` each.

    Returns:
        Statistic, p-value and suspicious samples.

    Raises:
        InputError: too few images, values that are not finite, training images that are all equal, or a held-out image
            that equals a training image.
    """
    from scipy.special import ndtr

    tables = [checked(each, "training images", fewest=2, metric="memorisation test") for each in (training, *mirrored)]
    seen = tables[0]
    samples = checked(generated, "generated images", fewest=FEWEST, metric="memorisation test")
    unseen = checked(held_out, "held-out images", fewest=FEWEST, metric="memorisation test")
    require_same_features({"training": seen, "generated": samples, "held-out": unseen})
    require_varied(seen, "training images", metric="memorisation test")
    strangers, near = near_of(unseen, tables), near_of(samples, tables)
    usual, distance = strangers.distance[:, 0], near.distance[:, 0]
    if not usual.all():
        row = int(usual.argmin())
        raise InputError(
            f"held-out image {row} equals training image {strangers.index[row, 0]}, so it is not held out",
            fix="split the cases by patient, and leave out images that hold nothing but air",
        )
    below = np.flatnonzero(nearer(near, strangers))
    below = below[np.argsort(distance[below], kind="stable")]
    statistic = _rank_statistic(distance, usual)
    return Memorisation(
        statistic=statistic,
        p=float(ndtr(statistic)),
        suspicious=tuple(below.tolist()),
        training=tuple(near.index[below, 0].tolist()),
        expected=expected_nearer(len(samples), len(unseen)),
    )


def _rank_statistic(first: Numbers, second: Numbers) -> float:
    """Mann and Whitney's U of the first values, less its mean, over its standard deviation; both have ties in mind.

    SciPy gives U and a p-value, which is 0 where this number still tells more copies from fewer.
    """
    from scipy.stats import rankdata, tiecorrect

    n, m = len(first), len(second)
    ranks = rankdata(np.concatenate([first, second]))
    above = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
    variance = tiecorrect(ranks) * n * m * (n + m + 1) / 12
    return float(above / np.sqrt(variance)) if variance > 0 else 0.0
