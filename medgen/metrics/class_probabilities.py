"""What a classifier says of samples: the inception score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from medgen.errors import InputError, UsageError
from medgen.metrics.feature_sets import checked

_ROUNDING = 1e-3
"""How far a sum of probabilities, of half precision for example, may be from 1."""


class InceptionScore(NamedTuple):
    """An inception score.

    Attributes:
        mean: over the splits, in [1, number of classes].
        sd: of the splits (population); 0 for one split.
    """

    mean: float
    sd: float


def inception_score(probabilities: ArrayLike, *, splits: int = 10) -> InceptionScore:
    """``exp`` of the mean Kullback-Leibler divergence of the class probabilities of an image from their mean.

    Salimans et al. 2016, section 4: high where the classifier is sure of each image, and all classes are among them. It
    never looks at real images, cannot rise above the number of classes, and is 1 for images of one class: state beside
    it what real images reach. A split of few images lowers it.

    Args:
        probabilities: of the classes ``(N, K)`` for generated images, K >= 2, each in [0, 1], rows that sum to 1;
            split in the order given.
        splits: into how many parts the images are split, whose sizes differ by one at most; each needs at least K
            images, as fewer cannot reach all classes.

    Returns:
        Mean and standard deviation over the splits.

    Raises:
        UsageError: ``splits`` is below 1.
        InputError: not probabilities, a classifier of one class, or too few images for the splits.
    """
    table = checked(probabilities, "generated images", fewest=1, metric="inception score")
    count, number = table.shape
    if number < 2:
        raise InputError(
            f"the classifier knows {number} class, and at least 2 are needed",
            fix="name a classifier that was trained on the labels of these images",
        )
    if (table < 0).any() or (abs(table.sum(axis=1) - 1) > _ROUNDING).any():
        raise InputError(
            "the rows are no class probabilities: each must be at least 0, and their sum 1",
            fix="apply a softmax to the logits of the classifier",
        )
    if splits < 1:
        raise UsageError(f"the number of splits must be at least 1, got {splits}", fix="e.g. 10")
    if count < splits * number:
        raise InputError(
            f"the inception score of {number} classes in {splits} splits needs at least {splits * number} images, "
            f"got {count}",
            fix="draw more samples, or use fewer splits",
        )
    scores = [_score(part) for part in np.array_split(table, splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(table: np.ndarray) -> float:
    # rel_entr(0, q) is 0, the limit of p log p.
    return float(np.exp(rel_entr(table, table.mean(axis=0)).sum(axis=1).mean()))
