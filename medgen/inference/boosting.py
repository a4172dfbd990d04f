"""Estimates by boosted trees on the intensities at and around each voxel, without the library they grew in.

The trees are evaluated by bit masks (QuickScorer, Lucchese et al. 2015, doi:10.1145/2766462.2767733): each feature is
replaced by the number of thresholds below it, a table gives for that number the leaves that a tree can still reach, and
the lowest bit that all features leave is the leaf. The result is that of walking down, several times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from medgen.errors import ModelError
from medgen.files import atomic_path, sha256
from medgen.inference.neighbourhood import Features
from medgen.training.checkpoint import load_weights
from medgen.training.model_folder import model_folder
from medgen.types import Array, Progress

LEAVES = 32
"""Most leaves of a tree: bits of a mask."""
FILE = "context.safetensors"
KINDS = ("boosting", "voxelwise")
"""What ``model.json`` calls such a context; the second is the name of earlier versions."""

_ROWS = 2**15
_VOXELS = 2**19
_PLANES = 16
"""Fewest planes of a slab: the features of a plane need many planes on both sides."""
_SPREAD = np.int32(0x077CB531)
"""A de Bruijn sequence: times a power of two, its highest five bits are another number for each power."""
_ORDER = [((0x077CB531 << bit) & 0xFFFFFFFF) >> 27 for bit in range(LEAVES)]


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """A sum of regression trees.

    Attributes:
        base: value to which the trees are added.
        thresholds: (F, W) float64, of each feature in rising order, infinite where it has fewer.
        feature: (T, N) int16, the feature of each inner node; -1 where a tree has fewer.
        place: (T, N) int16, of its threshold: a sample goes right if its value is above.
        allowed: (T, N) int32, the leaves that are left to it there, as bits; leaves are numbered from left to right.
        values: (T, 32) float32, of the leaves.
    """

    base: float
    thresholds: NDArray[np.float64]
    feature: NDArray[np.int16]
    place: NDArray[np.int16]
    allowed: NDArray[np.int32]
    values: NDArray[np.float32]

    def places(self, column: int, values: Array) -> NDArray[np.unsignedinteger]:
        """How many thresholds of feature ``column`` lie below each of ``values`` (N): all that the trees need of it."""
        kind = np.uint8 if self.thresholds.shape[1] < 2**8 else np.uint16
        return np.searchsorted(self.thresholds[column], values.astype(np.float64)).astype(kind)

    def predict(self, places: Array) -> NDArray[np.float32]:
        """The value of each voxel, from the :meth:`places` (F, N) of all its features."""
        result = np.empty(places.shape[1], np.float32)
        tables, values = self._tables, np.empty_like(self.values)
        values[:, _ORDER] = self.values
        for start in range(0, len(result), _ROWS):
            rows = places[:, start : start + _ROWS]
            total = np.full(rows.shape[1], self.base)
            for columns, table, leaves in zip(self._columns, tables, values, strict=True):
                reached = table[columns[0]].take(rows[columns[0]])
                for column in columns[1:]:
                    reached &= table[column].take(rows[column])
                reached &= -reached
                total += leaves.take(((reached * _SPREAD) >> 27) & 31)
            result[start : start + _ROWS] = total
        return result

    @cached_property
    def _columns(self) -> list[list[int]]:
        """Of each tree, the features that it asks for; the first where it has one leaf."""
        return [sorted({*each.tolist()} - {-1}) or [0] for each in self.feature]

    @cached_property
    def _tables(self) -> NDArray[np.int32]:
        """(T, F, W + 1): by tree, feature and number of thresholds below, the leaves that can be reached."""
        features, width = self.thresholds.shape
        tables = np.full((len(self.feature), features, width + 1), -1, np.int32)
        for table, *nodes in zip(tables, self.feature, self.place, self.allowed, strict=True):
            for feature, place, allowed in zip(*nodes, strict=True):
                if feature >= 0:
                    table[feature, place + 1 :] &= allowed
        return tables


@dataclass(frozen=True, eq=False)
class BoostedEstimator:
    """Boosted trees from the intensities at and around a voxel to the target at that voxel.

    Attributes:
        features: what the trees read of each input channel.
        trees: their features are those of the first channel, then those of the next.
    """

    features: Features
    trees: BoostedTrees

    def predict(
        self, image: Array, mask: NDArray[Any] | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Predict a volume, a slab of planes at a time.

        Args:
            image: ``(C, X, Y, Z)`` inputs, prepared as for training.
            mask: ``(X, Y, Z)``; voxels outside get -1 (the lower end of the window) and cost nothing. None: all.
            progress: called with (done, total, what).

        Returns:
            ``(1, X, Y, Z)`` float32, clipped to [-1, 1].

        Raises:
            ModelError: the image has another number of channels than the trees were grown on.
        """
        count = self.features.count
        if len(image) * count != len(self.trees.thresholds):
            raise ModelError(
                f"the boosted trees read {len(self.trees.thresholds) // count} channels and were given {len(image)}",
                fix="use the model with the inputs it was trained on",
            )
        result = np.full(image.shape[1:], -1.0, dtype=np.float32)
        where = np.ones(result.shape, dtype=bool) if mask is None else np.asarray(mask) > 0
        for planes in slabs(result.shape):
            if progress is not None:
                progress(planes.start, len(result), "boosted trees")
            inside = where[planes]
            if inside.any():
                features = enumerate(self.features.of(image, planes))
                places = np.stack([self.trees.places(column, each[inside]) for column, each in features])
                result[planes][inside] = np.clip(self.trees.predict(places), -1, 1)
        return result[None]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write it into a model folder; what ``model.json`` says of it."""
        from safetensors.numpy import save_file

        arrays = {key: np.ascontiguousarray(getattr(self.trees, key)) for key in _ARRAYS}
        with atomic_path(folder / FILE) as temporary:
            read = {key: np.array(value, np.float64) for key, value in self.features.model_dump().items()}
            save_file({**arrays, **read, "base": np.array([self.trees.base])}, temporary)
        return {"kind": "boosting", "sha256": sha256(folder / FILE)}

    @classmethod
    def load(cls, folder: Path, digest: str | None = None) -> BoostedEstimator:
        """Read it from a model folder.

        Raises:
            ModelError: the file is missing, damaged, or not of the hash ``digest``.
        """
        arrays = {name: tensor.numpy() for name, tensor in load_weights(folder / FILE, digest=digest).items()}
        try:
            trees = BoostedTrees(float(arrays["base"][0]), *(arrays[key] for key in _ARRAYS))
            others = Features.model_fields.keys() & arrays.keys() - {"sigmas"}
            known = tuple(Features.model_fields) if others else ("sigmas",)  # earlier versions had no others
            features = Features.model_validate({key: arrays[key].tolist() for key in known})
        except (KeyError, IndexError) as error:
            raise ModelError(f"the file lacks {error}", where=folder / FILE, fix="copy the model again") from None
        except ValidationError:
            raise ModelError("features that are none", where=folder / FILE, fix="copy the model again") from None
        if len(trees.thresholds) % features.count:
            raise ModelError(
                f"{len(trees.thresholds)} thresholds for {features.count} features a channel",
                where=folder / FILE,
                fix="copy the model again",
            )
        return cls(features, trees)


def load_first(run: Path, description: Mapping[str, Any]) -> BoostedEstimator | None:
    """What makes the context of the first network of a model; None where it has none.

    Args:
        run: the run folder, or its ``model`` folder.
        description: the content of ``model.json``.

    Raises:
        ModelError: it is missing, damaged, or of a kind that this medgen does not know.
    """
    context = description.get("context")
    if context is None:
        return None
    folder = model_folder(run)
    if description.get("unfinished"):
        folder = next((file.parent for file in (run / "checkpoints").glob(f"*/{FILE}")), run)
    if not isinstance(context, dict) or context.get("kind") not in KINDS:
        raise ModelError(f"the model's context is {context!r}, not known here", where=folder, fix="use a newer medgen")
    return BoostedEstimator.load(folder, context.get("sha256"))


_ARRAYS = ("thresholds", "feature", "place", "allowed", "values")


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """The planes of the first axis, some at a time."""
    planes = max(_PLANES, _VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], planes):
        yield slice(start, min(start + planes, shape[0]))
