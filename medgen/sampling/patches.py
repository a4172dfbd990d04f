"""Patches without a sampler's state: patch n is a pure function of (seed, n).

So a run resumes bit for bit, does not depend on the number of workers, and shards over processes by arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from medgen.config import Config
from medgen.errors import InputError
from medgen.preparation import StoredCase
from medgen.preparation.store import open_array
from medgen.sampling.augmentation import Augmentation, AugmentationConfig, Crop, enlarged
from medgen.sampling.batches import ALWAYS
from medgen.sampling.transfer import TransferConfig
from medgen.types import Array

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
NETWORK_AIR = -1.0
"""What lies outside a target or a context, both in [-1, 1]."""


class PatchConfig(Config):
    """Which pieces of the prepared volumes a network is trained on."""

    size: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=2, max_length=3)] = (32, 32, 32)
    """Voxels along x, y, z, or along the two axes of a slice. A smaller volume is padded."""
    dimensions: Literal[2, 3] | None = None
    """2 cuts slices, 3 cuts boxes; by default as many as ``size`` has edges."""
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    """Of slices: across z, y or x. The axes of a slice keep the order x, y, z."""
    sampling: Literal["uniform", "balanced", "centred"] = "uniform"
    """``uniform``: every voxel of the mask is the centre of a patch equally often. ``balanced``: a share
    ``foreground`` of the patches is centred on a labelled voxel, of each class equally often. ``centred``: patches lie
    in the middle of the volume, and slices at a random height; for models of whole slices or whole volumes."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.5
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far the voxel that was drawn may lie from the middle of its patch along each axis, as a share of half the
    edge. At 0, published, a lesion is always in the middle of a balanced patch, which networks with padding see."""
    overhang: bool = True
    """Whether a patch may hang over the border of its volume. Without, a patch near the border is moved inside, so that
    no voxel of it is wasted; for networks that keep the size of a patch. Networks that lose a margin learn the border
    from overhanging patches only."""
    augmentation: AugmentationConfig = AugmentationConfig()
    transfer: TransferConfig | None = None
    """Give labelled patches the intensities of the target domain in the channel that differs, before they are varied;
    for a method that adapts. See :mod:`medgen.sampling.transfer`."""

    @model_validator(mode="after")
    def _fitting_size(self) -> PatchConfig:
        if self.dimensions is not None and self.dimensions != len(self.size):
            raise ValueError(f"dimensions is {self.dimensions}, and size has {len(self.size)} edges")
        turns = self.augmentation.rotation
        if self.across is not None and any(turns[: self.across] + turns[self.across + 1 :]):
            raise ValueError(f"slices are turned within their plane: rotation must be about {'xyz'[self.across]} alone")
        return self

    @property
    def across(self) -> int | None:
        """The axis that slices are cut across; None for boxes."""
        return PLANES[self.plane] if len(self.size) == 2 else None

    def placed(self, place: Sequence[int], shape: Sequence[int]) -> list[int]:
        """The centre of a patch at a voxel that was drawn; a centred one keeps of it the height of its slice alone."""
        if self.sampling != "centred":
            return list(place)
        return [drawn if axis == self.across else shape[axis] // 2 for axis, drawn in enumerate(place)]

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels along x, y and z; 1 across a slice."""
        edges = list(self.size)
        if self.across is not None:
            edges.insert(self.across, 1)
        x, y, z = edges
        return x, y, z


class Patches(Protocol):
    """Numbered patches: what :func:`~medgen.sampling.loading.patch_batches` makes batches of."""

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Patch ``n``, arrays (C, X, Y, Z) by name."""
        ...

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The case of patch ``n`` and its centre, for a message."""
        ...


class PatchSource:
    """All patches of some prepared cases, numbered from 0 without end.

    A patch may hang over the border of its volume (``config.overhang``); there the image has its smallest value (air),
    target and context -1, mask and label 0.

    Args:
        cases: each is drawn equally often.
        config: size, sampling, augmentation.
        seed: 0 to 2^64 - 1.
        contexts: by case name, an ``.npy`` file (C, X, Y, Z) float32 on the prepared grid whose channels follow
            those of the image, such as the estimate of an earlier stage.
        change: what is done to a patch between cutting and varying it, with the generator of that patch.
        arrays: which arrays of a case are read, of those that it has.

    Raises:
        InputError: there is no case, a case has no context, or one of another shape.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        config: PatchConfig,
        seed: int,
        contexts: Mapping[str, Path] | None = None,
        change: Callable[[Crop, np.random.Generator], Crop] | None = None,
        arrays: Collection[str] = ("image", "target", "mask", "body", "label"),
    ) -> None:
        if not cases:
            raise InputError("there is no case to take patches from", fix="add cases of split 'train' to the table")
        if config.sampling == "balanced" and not any(case.classes for case in cases):
            raise InputError(
                "sampling is balanced, but no case has a labelled voxel", fix="name data.labels, or sample uniformly"
            )
        self.cases, self.config, self.seed = tuple(cases), config, seed
        self.contexts = None if contexts is None else {case.name: _context(case, contexts) for case in cases}
        self._change, self._arrays = change, frozenset(arrays)
        self._augment = Augmentation(config.augmentation, config.box, config.across)
        self._cut = enlarged(config.box, config.augmentation)

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Patch ``n``: of ``source``, ``target``, ``mask`` and ``label`` what is read and the case has.

        Arrays are (C, X, Y, Z), or for slices (C, X, Y) and the like.
        """
        generator = self._generator(n)
        case, centre = self._draw(generator)
        crop = self._read(case, centre)
        if self._change is not None:
            crop = self._change(crop, generator)
        crop = self._augment(crop, _column(case.air), generator)
        if "context" in crop:
            crop["source"] = np.concatenate([crop["source"], crop.pop("context")])
        across = self.config.across
        flat = crop if across is None else {name: array.take(0, 1 + across) for name, array in crop.items()}
        return {name: np.ascontiguousarray(array) for name, array in flat.items()}

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The case of patch ``n`` and its centre, for a message; reads no image."""
        case, centre = self._draw(self._generator(n))
        return case.name, centre

    def _generator(self, n: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, n], np.uint64)))

    def _draw(self, generator: np.random.Generator) -> tuple[StoredCase, tuple[int, int, int]]:
        case = self.cases[generator.integers(len(self.cases))]
        candidates = case.candidates
        if self.config.sampling == "balanced" and case.classes and generator.random() < self.config.foreground:
            candidates = case.candidates_of(case.classes[generator.integers(len(case.classes))])
        place = [
            int(each) for each in np.unravel_index(int(candidates[generator.integers(len(candidates))]), case.shape)
        ]
        place = self.config.placed(place, case.shape)
        place = [middle + self._moved(edge, generator) for middle, edge in zip(place, self.config.box, strict=True)]
        x, y, z = place if self.config.overhang else self._inside(place, case.shape)
        return case, (x, y, z)

    def _inside(self, place: Sequence[int], shape: Sequence[int]) -> list[int]:
        """The centre of the nearest patch that lies inside; in the middle along an axis that is shorter than it."""
        return [
            length // 2 if length < edge else min(max(middle, edge // 2), length - edge + edge // 2)
            for middle, edge, length in zip(place, self.config.box, shape, strict=True)
        ]

    def _moved(self, edge: int, generator: np.random.Generator) -> int:
        reach = int(self.config.jitter * (edge // 2))
        return int(generator.integers(-reach, reach + 1)) if reach else 0

    def _read(self, case: StoredCase, centre: tuple[int, int, int]) -> Crop:
        size = self._cut
        start = tuple(middle - length // 2 for middle, length in zip(centre, size, strict=True))
        read = self._arrays & (case.files | ALWAYS)
        crop: Crop = {}
        if "image" in read:
            crop["source"] = cut(case.image, start, size, _column(case.air))
        if "mask" in read:
            crop["mask"] = cut(case.mask[None], start, size, 0).astype(np.float32)
        if "body" in read:
            crop["body"] = cut(case.body[None], start, size, 0).astype(np.float32)
        if self.contexts is not None:
            crop["context"] = cut(open_array(self.contexts[case.name]), start, size, NETWORK_AIR)
        if "target" in read and case.target is not None:
            crop["target"] = cut(case.target, start, size, NETWORK_AIR)
        if "label" in read and case.label is not None:
            crop["label"] = cut(case.label[None], start, size, 0)
        return crop


def cut(array: Array, start: Sequence[int], size: Sequence[int], fill: float | Array) -> Array:
    """A copy of a box that may hang over the border.

    Args:
        array: (C, X, Y, Z), possibly on disk; only the box is read.
        start: first voxel, possibly negative.
        size: of the result.
        fill: what stands beyond the border; a number, or (C, 1, 1, 1).
    """
    shape = array.shape[1:]
    first = [min(max(low, 0), n) for low, n in zip(start, shape, strict=True)]
    last = [max(min(low + length, n), 0) for low, length, n in zip(start, size, shape, strict=True)]
    box = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    if all(high - low == length for low, high, length in zip(first, last, size, strict=True)):
        return np.array(array[(slice(None), *box)])
    result = np.empty((array.shape[0], *size), array.dtype)
    result[...] = fill
    inner = tuple(slice(low - begin, high - begin) for low, high, begin in zip(first, last, start, strict=True))
    result[(slice(None), *inner)] = array[(slice(None), *box)]
    return result


def _context(case: StoredCase, contexts: Mapping[str, Path]) -> Path:
    if case.name not in contexts:
        raise InputError(f"case '{case.name}' has no context", fix="make the estimates of the earlier stage again")
    path = Path(contexts[case.name])
    shape = open_array(path).shape
    if shape[1:] != case.shape:
        raise InputError(
            f"the context of case '{case.name}' has shape {shape}, expected {('C', *case.shape)}",
            where=path,
            fix="make the estimates of the earlier stage again",
        )
    return path


def _column(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)[:, None, None, None]
