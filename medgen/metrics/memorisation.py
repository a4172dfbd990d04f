"""Whether a generator copies its training images: nearest neighbours of samples against those of held-out images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medgen.errors import InputError
from medgen.metrics.feature_sets import Numbers, checked, nearest, require_same_features, require_varied
from medgen.metrics.resampling import FEWEST


class Memorisation(NamedTuple):
    """A test for copies of training images.

    Attributes:
        statistic: C_T, standard normal for a generator as good as the truth: below 0 samples are nearer to the training
            images than held-out real images are (copies), above 0 farther (blurred, or of other kinds).
        p: one-sided p-value for "nearer": small means copies.
        suspicious: indices of samples that are nearer to a training image than any held-out image is, nearest first.
        training: index of the training image that each of them is nearest to.
        expected: how many suspicious samples chance makes if samples and held-out images have equal distributions.
    """

    statistic: float
    p: float
    suspicious: tuple[int, ...]
    training: tuple[int, ...]
    expected: float


def memorisation(training: ArrayLike, generated: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """The three-sample test of data copying (Meehan et al. 2020, arXiv:2004.05675, eq. 3), with one cell.

    The distances of samples to their nearest training images are ranked among those of real images that the generator
    has never seen (Mann and Whitney 1947, with the correction for ties). Split by patient: an image of a training
    patient is not held out. One cell means that copies of one kind can hide behind bad samples of another kind; the
    list of suspicious samples does not have this blind spot. A test that is passed is no proof of privacy.

    Args:
        training: features or pixels of the training images ``(N, D)``, N >= 2.
        generated: of samples ``(M, D)``, M >= 6.
        held_out: of real images of other patients ``(L, D)``, L >= 6.

    Returns:
        Statistic, p-value and suspicious samples.

    Raises:
        InputError: too few images, values that are not finite, training images that are all equal, or a held-out image
            that equals a training image.
    """
    from scipy.special import ndtr

    seen = checked(training, "training images", fewest=2, metric="memorisation test")
    samples = checked(generated, "generated images", fewest=FEWEST, metric="memorisation test")
    unseen = checked(held_out, "held-out images", fewest=FEWEST, metric="memorisation test")
    require_same_features({"training": seen, "generated": samples, "held-out": unseen})
    require_varied(seen, "training images", metric="memorisation test")
    usual, usual_index = nearest(unseen, seen)
    if not usual.all():
        row = int(usual.argmin())
        raise InputError(
            f"held-out image {row} equals training image {usual_index[row]}, so it is not held out",
            fix="split the cases by patient, and leave out images that hold nothing but air",
        )
    distance, index = nearest(samples, seen)
    below = np.flatnonzero(distance < usual.min())
    below = below[np.argsort(distance[below], kind="stable")]
    statistic = _rank_statistic(distance, usual)
    return Memorisation(
        statistic=statistic,
        p=float(ndtr(statistic)),
        suspicious=tuple(below.tolist()),
        training=tuple(index[below].tolist()),
        expected=len(samples) / (len(unseen) + 1),
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
