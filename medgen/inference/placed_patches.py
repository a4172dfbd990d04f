"""Patches of the cases of a table as a trained model reads them: prepared, placed and cut, one case at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from medgen.cases import Case, columns_of
from medgen.errors import MedgenError, PathError, StorageError, UsageError
from medgen.inference.opened import Opened
from medgen.preparation import Prepared
from medgen.preparation.building import prepare_case
from medgen.sampling.patches import PatchConfig, cut
from medgen.types import Array, Progress

_SEEDS = 2**64
_MOST_PATCHES = 10_000

log = logging.getLogger(__name__)


class Patch(NamedTuple):
    """A patch of a case.

    Attributes:
        case: name of the case.
        number: of the patch, from 0.
        centre: RAS+ mm.
        image: (C, X, Y, Z) or (C, A, B), normalised.
        affine: (4, 4) of the patch as a volume (a slice has one voxel across), voxel index to RAS+ mm.
    """

    case: str
    number: int
    centre: tuple[float, float, float]
    image: Array
    affine: Array


@dataclass(frozen=True)
class Places:
    """Where patches are taken.

    Attributes:
        patches: how many are drawn from each case, 1 to 10,000; None takes one, centred on the middle of the mask.
        seed: 0 to 2^64 - 1.

    Raises:
        UsageError: a number is out of range.
    """

    patches: int | None
    seed: int

    def __post_init__(self) -> None:
        if self.patches is not None and not 1 <= self.patches <= _MOST_PATCHES:
            raise UsageError(
                f"--patches must be between 1 and {_MOST_PATCHES}, got {self.patches}", fix="e.g. --patches 16"
            )
        if not 0 <= self.seed < _SEEDS:
            raise UsageError(f"--seed must be between 0 and 2^64 - 1, got {self.seed}", fix="e.g. --seed 0")

    def of(self, mask: Array) -> list[tuple[int, ...]]:
        """The voxel that each patch of a case is centred on.

        Patch n is a pure function of the mask, the seed and n; every voxel of the mask is drawn equally often.
        """
        if self.patches is None:
            return [middle_of(mask)]
        candidates = np.flatnonzero(mask)
        keys = (np.array([self.seed, number], np.uint64) for number in range(self.patches))
        drawn = (np.random.Generator(np.random.Philox(key=key)).integers(len(candidates)) for key in keys)
        return [tuple(int(each) for each in np.unravel_index(int(candidates[n]), mask.shape)) for n in drawn]


def placed_patches(
    cases: Sequence[Case], model: Opened, places: Places, failed: dict[str, str], progress: Progress | None = None
) -> Iterator[Patch]:
    """Patches of all cases in their order; a case that cannot be prepared goes to ``failed`` with the reason."""
    for name, prepared in prepared_cases(cases, model, failed, progress):
        mask, config = prepared.body if prepared.mask is None else prepared.mask, model.patches
        for number, place in enumerate(places.of(mask)):
            yield _patch(name, number, prepared, _start(config.placed(place, mask.shape), config), config)


def prepared_cases(
    cases: Sequence[Case],
    model: Opened,
    failed: dict[str, str],
    progress: Progress | None = None,
    *,
    masked: bool = True,
) -> Iterator[tuple[str, Prepared]]:
    """Name and prepared images of each case; labels and targets are not opened, and masks if ``masked``.

    A case that cannot be prepared goes to ``failed`` with the reason.

    Raises:
        StorageError: the disk is full.
    """
    preparation = model.known.preparation
    mask = preparation.roles.mask if masked else None
    roles = (*preparation.roles.inputs, *([mask] if mask else []))
    needed = {column for role in roles for column in columns_of(role)}
    for number, case in enumerate(cases):
        if progress:
            progress(number, len(cases), case.name)
        images = {name: path for name, path in case.images.items() if name in needed}
        try:
            prepared = prepare_case(replace(case, images=images), preparation)
        except MedgenError as error:
            if isinstance(error, StorageError) and not isinstance(error, PathError):
                raise
            failed[case.name] = error.what
            log.warning("case %s failed: %s", case.name, error.what)
            continue
        for warning in preparation.unlike_training(prepared):
            log.warning("case %s: %s", case.name, warning)
        yield case.name, prepared
    if progress:
        progress(len(cases), len(cases), "cases")


def patch_around(name: str, number: int, prepared: Prepared, centre: Sequence[float], config: PatchConfig) -> Patch:
    """The patch whose centre is at ``centre``, RAS+ mm, to the nearest voxel."""
    voxel = np.linalg.inv(prepared.affine) @ [*centre, 1.0]
    start = [round(float(each) - (edge - 1) / 2) for each, edge in zip(voxel[:3], config.box, strict=True)]
    return _patch(name, number, prepared, start, config)


def middle_of(mask: Array) -> tuple[int, ...]:
    """The voxel at the centre of mass of a mask (X, Y, Z); it may lie outside a mask that is not convex."""
    counts = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    return tuple(round(float(np.average(np.arange(len(each)), weights=each))) for each in counts)


def patch_at(prepared: Prepared, centre: Sequence[int], config: PatchConfig) -> Array:
    """The patch that training would cut there, (C, X, Y, Z) or (C, A, B); beyond the border stands the lowest value."""
    return _cut(prepared, _start(centre, config), config)


def _patch(name: str, number: int, prepared: Prepared, start: Sequence[int], config: PatchConfig) -> Patch:
    affine = prepared.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    middle = [low + (edge - 1) / 2 for low, edge in zip(start, config.box, strict=True)]
    x, y, z = (float(each) for each in prepared.affine[:3, :3] @ middle + prepared.affine[:3, 3])
    return Patch(name, number, (x, y, z), _cut(prepared, start, config), affine)


def _cut(prepared: Prepared, start: Sequence[int], config: PatchConfig) -> Array:
    lowest = prepared.image.min(axis=(1, 2, 3), keepdims=True)
    box = cut(prepared.image, start, config.box, lowest)
    return np.ascontiguousarray(box if config.across is None else box.take(0, 1 + config.across))


def _start(centre: Sequence[int], config: PatchConfig) -> list[int]:
    """The first voxel of a patch, as :class:`~medgen.sampling.patches.PatchSource` has it."""
    return [middle - edge // 2 for middle, edge in zip(centre, config.box, strict=True)]
