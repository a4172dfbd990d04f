"""What a network has to beat: one number for every voxel, and boosted trees on the intensities at or around it.

A network that is no better has learnt nothing that needs a network. The trees are also the first context of the
auto-context cascade, as trees were its stages where it was invented (Tu and Bai 2010, doi:10.1109/TPAMI.2009.186).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from medgen.config import Config
from medgen.errors import InputError
from medgen.inference.boosting import LEAVES, BoostedEstimator, BoostedTrees, slabs
from medgen.inference.neighbourhood import NEIGHBOURHOOD, VOXELWISE, Features
from medgen.preparation.task import AIR_BELOW, BONE_FROM
from medgen.types import Array

_LEVELS = 2**16


class TrainingCase(Protocol):
    """What a baseline needs of a stored case; on disk and read a channel at a time."""

    @property
    def name(self) -> str:
        """Name of the case."""
        ...

    @property
    def image(self) -> NDArray[Any]:
        """``(C, X, Y, Z)`` inputs, prepared."""
        ...

    @property
    def target(self) -> NDArray[Any] | None:
        """``(1, X, Y, Z)`` in [-1, 1], or None."""
        ...

    @property
    def mask(self) -> NDArray[Any] | None:
        """``(X, Y, Z)`` or ``(1, X, Y, Z)``, above 0 inside, or None for everywhere."""
        ...


class ConstantBaseline:
    """The same value in every voxel: the median or the mean of the training targets in their masks.

    No constant has a lower mean absolute error on the training voxels than their median, and none a lower mean
    squared error than their mean. In a head the median lies among soft tissue, so its error there is small by
    construction and its error in bone and air large. Both are exact to 1/32768 of the network's range [-1, 1], which
    is 0.05 HU for the window [-1024, 2000].

    Args:
        statistic: which one.
    """

    def __init__(self, statistic: Literal["median", "mean"] = "median") -> None:
        self.statistic = statistic
        self.value: float | None = None

    def fit(self, cases: Sequence[TrainingCase]) -> Self:
        """Find the value over all voxels in the masks, one case in memory at a time.

        Args:
            cases: the training cases.

        Returns:
            Itself.

        Raises:
            InputError: a case has no target, no voxel lies in a mask, or a target value is not finite.
        """
        counts = np.zeros(_LEVELS, dtype=np.int64)
        for case in cases:
            values = _target(case)[_mask(case)].astype(np.float64)
            _require_finite(values)
            levels = np.rint((np.clip(values, -1, 1) + 1) / 2 * (_LEVELS - 1)).astype(np.int64)
            counts += np.bincount(levels, minlength=_LEVELS)
        _require_voxels(int(counts.sum()))
        middle = float(np.searchsorted(counts.cumsum(), counts.sum() / 2))
        if self.statistic == "mean":
            middle = float(counts @ np.arange(_LEVELS) / counts.sum())
        self.value = middle / (_LEVELS - 1) * 2 - 1
        return self

    def predict(self, image: Array) -> NDArray[np.float32]:
        """The constant everywhere.

        Args:
            image: ``(C, X, Y, Z)``; only its shape matters.

        Returns:
            ``(1, X, Y, Z)`` float32 in [-1, 1].

        Raises:
            RuntimeError: not fitted.
        """
        if self.value is None:
            raise RuntimeError("fit the baseline first")
        return np.full((1, *image.shape[1:]), self.value, dtype=np.float32)


class BoostingConfig(Config):
    """Settings of :func:`fit_boosting`."""

    features: Features = VOXELWISE
    """What the trees read of a voxel."""
    voxels: PositiveInt = 200_000
    """Training voxels, drawn uniformly from all masks together."""
    copies: PositiveInt = 1
    """How often each case is read, from 2 on with a shift and a scale of each channel drawn anew. A tree splits at
    exact values: without this, one that has seen the dark of five patients takes that of a sixth for bone."""
    shift: NonNegativeFloat = 0.05
    """Standard deviation of the shifts, as a share of that of the channel in the training voxels."""
    scale: NonNegativeFloat = 0.03
    """Standard deviation of the scales, around 1."""
    tissue_weights: tuple[NonNegativeFloat, PositiveFloat, NonNegativeFloat] = (1.0, 1.0, 1.0)
    """How often a voxel of a case is drawn, with replacement, where the target is air, soft tissue and bone; as it
    counts in the losses of the networks. Drawing is faster than weights (findings/boosting_sample_weight.sh)."""
    loss: Literal["squared_error", "absolute_error"] = "absolute_error"
    """absolute_error for the lowest MAE, squared_error for the highest PSNR."""
    trees: PositiveInt = 200
    leaves: int = Field(default=31, ge=2, le=LEAVES)
    learning_rate: PositiveFloat = 0.1


NEIGHBOURHOOD_TREES = BoostingConfig(features=NEIGHBOURHOOD, copies=4, learning_rate=0.2)
"""Trees that read the neighbourhood of a voxel."""


def fit_boosting(
    cases: Sequence[TrainingCase],
    config: BoostingConfig | None = None,
    *,
    seed: int = 0,
    where: Callable[[TrainingCase], NDArray[np.bool_]] | None = None,
) -> BoostedEstimator:
    """Learn the target at a voxel from the intensities at and around it.

    A case is in memory at a time, with the features of a slab.

    Args:
        cases: the training cases; voxels in their masks are used.
        config: settings.
        seed: of the draw of training voxels, of the variation and of the trees; the same seed gives the same estimator.
        where: the voxels ``(X, Y, Z)`` of a case to learn from, instead of those in its mask.

    Raises:
        InputError: a case has no target, no voxel lies in a mask, or a training value is not finite.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    config, where = config or BoostingConfig(), where or _mask
    shares = _shares([int(np.count_nonzero(where(case))) for case in cases], config.voxels)
    drawn = [
        _samples(case, share, config, where(case), np.random.default_rng((seed, number)))
        for number, (case, share) in enumerate(zip(cases, shares, strict=True))
    ]
    samples, targets = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    _require_voxels(len(targets))
    _require_finite(samples, targets)
    model = HistGradientBoostingRegressor(
        loss=config.loss,
        max_iter=config.trees,
        max_leaf_nodes=config.leaves,
        learning_rate=config.learning_rate,
        early_stopping=False,
        random_state=seed,
    ).fit(samples, targets)
    return BoostedEstimator(config.features, boosted_trees(model, samples.shape[1]))


def _samples(
    case: TrainingCase, share: int, config: BoostingConfig, where: NDArray[np.bool_], generator: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features (N, F) and targets (N) of the voxels that are drawn from a case; every copy has its own of them."""
    candidates = np.flatnonzero(where)
    chances = _chances(_target(case).reshape(-1)[candidates], config)
    if chances is not None:
        candidates, chances = candidates[chances > 0], chances[chances > 0]
        share = share if candidates.size else 0  # none of the tissues that count
    places = generator.choice(candidates, share, replace=chances is not None, p=chances) if share else candidates[:0]
    parts = [np.sort(each) for each in np.array_split(places, config.copies)]
    image = np.asarray(case.image, dtype=np.float32)
    columns = [_rows(_varied(image, config, where, generator), part, config.features) for part in parts]
    return np.concatenate(columns), _target(case).reshape(-1)[np.concatenate(parts)]


def _rows(image: NDArray[np.float32], places: NDArray[np.int64], features: Features) -> NDArray[np.float32]:
    """The features (N, F) of some voxels, given by their flat index in rising order; a slab is in memory at a time."""
    rows, area = [np.empty((0, len(image) * features.count), np.float32)], image[0, 0].size
    for planes in slabs(image.shape[1:]):
        first, last = np.searchsorted(places, (planes.start * area, planes.stop * area))
        if last > first:
            inside = places[first:last] - planes.start * area
            rows.append(np.stack([each.reshape(-1)[inside] for each in features.of(image, planes)], axis=1))
    return np.concatenate(rows)


def _varied(
    image: NDArray[np.float32], config: BoostingConfig, where: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.float32]:
    """The image with other intensities; as it is where there is one copy."""
    if config.copies == 1:
        return image
    result = np.empty_like(image)
    for channel, varied in zip(image, result, strict=True):
        shift = config.shift * channel[where].std() * generator.normal() if where.any() else 0.0
        varied[:] = channel * (1 + config.scale * generator.normal()) + shift
    return result


def _chances(targets: NDArray[Any], config: BoostingConfig) -> NDArray[Any] | None:
    """The probability of each voxel; None: all alike."""
    if len(set(config.tissue_weights)) == 1 or not targets.size:
        return None
    air, soft, bone = config.tissue_weights
    weights: NDArray[Any] = np.where(targets < AIR_BELOW, air, np.where(targets < BONE_FROM, soft, bone))
    return np.asarray(weights / max(weights.sum(), np.finfo(float).tiny))


def boosted_trees(model: Any, features: int) -> BoostedTrees:
    """The trees of scikit-learn's histogram boosting of one output, without missing values or categories."""
    nodes = [tree.nodes for (tree,) in model._predictors]
    inner = [each[each["is_leaf"] == 0] for each in nodes]
    edges = [
        np.unique(np.concatenate([each["num_threshold"][each["feature_idx"] == column] for each in inner]))
        for column in range(features)
    ]
    thresholds = np.full((features, max(map(len, edges))), np.inf)
    for row, own in zip(thresholds, edges, strict=True):
        row[: len(own)] = own
    shape = (len(nodes), max(1, *map(len, inner)))
    feature, place = np.full(shape, -1, np.int16), np.zeros(shape, np.int16)
    allowed, values = np.zeros(shape, np.int32), np.zeros((len(nodes), LEAVES), np.float32)
    for tree, each in enumerate(nodes):
        splits, leaves = _walk(each)
        values[tree, : len(leaves)] = leaves
        for number, (node, left) in enumerate(splits):
            feature[tree, number] = column = int(node["feature_idx"])
            place[tree, number] = np.searchsorted(edges[column], node["num_threshold"])
            allowed[tree, number] = np.uint32(~left & 0xFFFFFFFF).astype(np.int32)
    return BoostedTrees(float(model._baseline_prediction.ravel()[0]), thresholds, feature, place, allowed, values)


def _walk(nodes: NDArray[Any]) -> tuple[list[tuple[Any, int]], list[float]]:
    """The inner nodes of a tree, each with the leaves to its left as bits; and the leaves' values, left to right."""
    splits: list[tuple[Any, int]] = []
    leaves: list[float] = []

    def bits(number: int) -> int:
        node = nodes[number]
        if node["is_leaf"]:
            leaves.append(float(node["value"]))
            return 1 << (len(leaves) - 1)
        left = bits(int(node["left"]))
        splits.append((node, left))
        return left | bits(int(node["right"]))

    bits(0)
    return splits, leaves


def _target(case: TrainingCase) -> NDArray[Any]:
    if case.target is None:
        raise InputError(f"the case '{case.name}' has no target to learn from", fix="give it one or leave it out")
    target: NDArray[Any] = case.target[0]
    return target


def _mask(case: TrainingCase) -> NDArray[np.bool_]:
    if case.mask is None:
        return np.ones(case.image.shape[1:], dtype=bool)
    return np.asarray(case.mask.reshape(case.mask.shape[-3:]) > 0)  # a case that is not paired may lack an image


def _require_voxels(count: int) -> None:
    if not count:
        raise InputError("no voxel of the training cases lies in a mask", fix="run 'medgen check' on the case table")


def _require_finite(*arrays: NDArray[np.floating]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError("the training volumes hold values that are not finite", fix="run 'medgen check'")


def _shares(sizes: Sequence[int], voxels: int) -> list[int]:
    """How many voxels to draw from masks of these sizes: in proportion, none above its size, ``voxels`` together."""
    total = sum(sizes)
    _require_voxels(total)
    ends = [end * min(voxels, total) // total for end in accumulate(sizes)]
    return [end - start for start, end in pairwise([0, *ends])]
