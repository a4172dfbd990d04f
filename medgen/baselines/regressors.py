"""What a network has to beat: one number for every voxel, and boosted trees on smoothed intensities.

Neither sees shape. A network that is no better has learnt nothing that needs a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import ndimage

from medgen.config import Config
from medgen.errors import InputError
from medgen.types import Array

_LEVELS = 2**16
_ROWS = 2**19
_TRUNCATE = 4.0


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


class VoxelwiseConfig(Config):
    """Settings of :class:`VoxelwiseBaseline`."""

    sigmas: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 1.0, 2.0, 4.0), min_length=1)
    """Gaussian smoothing of each input channel, in voxels; 0 is the intensity itself."""
    voxels: PositiveInt = 200_000
    """Training voxels, drawn uniformly from all masks together."""
    loss: Literal["squared_error", "absolute_error"] = "absolute_error"
    """absolute_error for the lowest MAE, squared_error for the highest PSNR."""
    trees: PositiveInt = 200
    leaves: int = Field(default=31, ge=2)
    learning_rate: PositiveFloat = 0.1


class VoxelwiseBaseline:
    """Gradient-boosted trees from the smoothed intensities of a voxel to its target value.

    Args:
        config: its settings.
        seed: of the draw of training voxels and of the trees; the same seed gives the same predictions.
    """

    def __init__(self, config: VoxelwiseConfig | None = None, *, seed: int = 0) -> None:
        self.config = config or VoxelwiseConfig()
        self.seed = seed
        self._model: Any = None

    def fit(self, cases: Sequence[TrainingCase]) -> Self:
        """Learn from voxels in the masks; one smoothed channel is in memory at a time.

        Args:
            cases: the training cases.

        Returns:
            Itself.

        Raises:
            InputError: a case has no target, no voxel lies in a mask, or a training value is not finite.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor

        config = self.config
        shares = _shares([int(np.count_nonzero(_mask(case))) for case in cases], config.voxels)
        columns, values = [], []
        for number, (case, share) in enumerate(zip(cases, shares, strict=True)):
            generator = np.random.default_rng((self.seed, number))
            places = np.sort(generator.choice(np.flatnonzero(_mask(case)), share, replace=False))
            columns.append(self._sample(case, places))
            values.append(_target(case).reshape(-1)[places])
        features, targets = np.concatenate(columns), np.concatenate(values)
        _require_finite(features, targets)
        self._model = HistGradientBoostingRegressor(
            loss=config.loss,
            max_iter=config.trees,
            max_leaf_nodes=config.leaves,
            learning_rate=config.learning_rate,
            early_stopping=False,
            random_state=self.seed,
        ).fit(features, targets)
        return self

    def predict(self, image: Array, mask: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Predict a volume, a slab of planes at a time, so memory does not grow with it.

        Args:
            image: ``(C, X, Y, Z)`` inputs, prepared as for training.
            mask: ``(X, Y, Z)``; voxels outside get -1 (the lower end of the window) and cost nothing. None: all.

        Returns:
            ``(1, X, Y, Z)`` float32, clipped to [-1, 1].

        Raises:
            RuntimeError: not fitted.
        """
        if self._model is None:
            raise RuntimeError("fit the baseline first")
        result = np.full(image.shape[1:], -1.0, dtype=np.float32)
        where = np.ones(result.shape, dtype=bool) if mask is None else np.asarray(mask) > 0
        for planes in _slabs(result.shape):
            inside = where[planes]
            if not inside.any():
                continue
            features = np.stack([smooth[inside] for smooth in self._features(image, planes)], axis=1)
            part = result[planes]
            part[inside] = np.clip(self._model.predict(features), -1, 1)
        return result[None]

    def _sample(self, case: TrainingCase, places: NDArray[np.int64]) -> Array:
        everything = slice(0, case.image.shape[1])
        columns = [smooth.reshape(-1)[places] for smooth in self._features(case.image, everything)]
        return np.stack(columns, axis=1)

    def _features(self, image: Array, planes: slice) -> Iterator[Array]:
        """Each channel at each smoothing, on some planes of the first axis."""
        for channel in image:
            for sigma in self.config.sigmas:
                # The planes that the kernel reaches; a border of the slab that is none of the volume is cut off.
                reach = int(_TRUNCATE * sigma + 0.5)
                first, last = max(planes.start - reach, 0), min(planes.stop + reach, len(channel))
                block = np.ascontiguousarray(channel[first:last], dtype=np.float32)
                smooth = ndimage.gaussian_filter(block, sigma, truncate=_TRUNCATE) if sigma else block
                yield smooth[planes.start - first : planes.stop - first]


def _target(case: TrainingCase) -> NDArray[Any]:
    if case.target is None:
        raise InputError(f"the case '{case.name}' has no target to learn from", fix="give it one or leave it out")
    target: NDArray[Any] = case.target[0]
    return target


def _mask(case: TrainingCase) -> NDArray[np.bool_]:
    if case.mask is None:
        return np.ones(case.image.shape[1:], dtype=bool)
    return np.asarray(case.mask.reshape(case.image.shape[1:]) > 0)


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


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    planes = max(1, _ROWS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], planes):
        yield slice(start, min(start + planes, shape[0]))
