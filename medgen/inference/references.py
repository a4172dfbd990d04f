"""Patches of real cases as a model saw them in training: what its samples are compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medgen.cases import Case, CaseTable, columns_of, read_cases
from medgen.errors import InputError, UsageError
from medgen.inference.opened import Opened
from medgen.preparation import Preparation, Roles, StoredCase, build_store
from medgen.sampling.patches import PatchConfig, PatchSource
from medgen.types import Array, Progress, Split

_SEEDS = 2**64
_TRIES = 20
"""Places that are drawn for each patch that is wanted, before there are no more to be found."""


@dataclass(frozen=True, eq=False)
class References:
    """Real patches.

    Attributes:
        images: (N, C, *size) float32, normalised; axes in the order x, y, z.
        cases: name of the case of each patch.
        places: (N, 3) float64, centre of each patch in RAS+ mm.
        domains: of the case of each patch; None where the table names none.
        present: (N,) whether the patch has a labelled voxel; None where no label map was read.
    """

    images: Array
    cases: tuple[str, ...]
    places: Array
    domains: tuple[str | None, ...]
    present: Array | None = None

    def __len__(self) -> int:
        return len(self.cases)


def reference_patches(
    model: Opened,
    table: CaseTable | str | Path,
    *,
    split: Split | None,
    count: int,
    seed: int = 0,
    labels: str | None = None,
    store: str | Path | None = None,
    progress: Progress | None = None,
) -> References:
    """Patches of a case table, prepared, placed and cut as in the training of ``model``, but not augmented.

    Args:
        model: says the preparation, and size, plane and places of the patches.
        table: the case table, or its file.
        split: cases to draw from; None draws from all.
        count: how many patches, each of another place; fewer where there are no more places, as of whole volumes, of
            which every case has one. ``count`` 100 begins with those of ``count`` 10.
        seed: 0 to 2^64 - 1. Patch n depends on the cases, the seed and n alone.
        labels: role of a label map that says for each patch whether anything is labelled in it.
        store: folder of prepared cases, such as that of ``medgen train --store``; what it lacks is added. By default
            they are prepared in a temporary folder.
        progress: called with (cases prepared, cases in all, what).

    Raises:
        UsageError: an argument is out of range.
        InputError: the table is wrong, has no case of the split, or a case cannot be prepared.
        StorageError: the disk is full or the folder cannot be written.
    """
    table = table if isinstance(table, CaseTable) else read_cases(table)
    chosen = table.select(split=split)
    if not chosen:
        fix = f"the table has {', '.join(sorted({case.split for case in table.cases}))}: choose one of these"
        raise InputError(f"no case has split '{split}'", where=table.path, fix=fix)
    preparation = model.known.preparation
    return draw_patches(
        chosen, preparation, model.patches, count=count, seed=seed, labels=labels, store=store, progress=progress
    )


def draw_patches(
    cases: Sequence[Case],
    preparation: Preparation,
    patches: PatchConfig,
    *,
    count: int,
    seed: int = 0,
    labels: str | None = None,
    store: str | Path | None = None,
    progress: Progress | None = None,
) -> References:
    """As :func:`reference_patches`, of settings in place of a model; targets are not opened, labels if asked for.

    Raises:
        UsageError: an argument is out of range.
        InputError: a case cannot be prepared.
        StorageError: the disk is full or the folder cannot be written.
    """
    if count < 1:
        raise UsageError(f"at least 1 patch is needed, not {count}", fix="e.g. --count 256")
    if not 0 <= seed < _SEEDS:
        raise UsageError(f"--seed must be between 0 and 2^64 - 1, got {seed}", fix="e.g. --seed 0")
    if labels is not None and labels != preparation.roles.labels:
        roles = preparation.roles.model_copy(update={"labels": labels, "classes": {}})
        preparation = replace(preparation, roles=roles)
    cases = [_visible(case, preparation.roles, labels) for case in cases]
    with tempfile.TemporaryDirectory(prefix="medgen-") as temporary:
        stored = build_store(cases, preparation, store or temporary, progress=progress).cases
        arrays = ("image",) if labels is None else ("image", "label")
        return _drawn(PatchSource(stored, patches, seed, arrays=arrays), count)


def _visible(case: Case, roles: Roles, labels: str | None) -> Case:
    """The row with the images that are read; the key of its prepared arrays is then that of a training on images."""
    read = {column for role in (*roles.inputs, roles.mask, labels) if role for column in columns_of(role)}
    return replace(case, images={name: path for name, path in case.images.items() if name in read})


def _drawn(source: PatchSource, count: int) -> References:
    by_name = {case.name: case for case in source.cases}
    numbers = _distinct(source, count)
    images, present = [], []
    for number in numbers.values():
        patch = source[number]
        images.append(patch["source"])
        present.append("label" in patch and bool(patch["label"].any()))
    labelled = all("label" in case.files for case in source.cases)
    return References(
        np.stack(images).astype(np.float32, copy=False),
        tuple(name for name, _ in numbers),
        np.array([_middle(by_name[name], centre, source.config) for name, centre in numbers]),
        tuple(by_name[name].domain for name, _ in numbers),
        np.array(present) if labelled else None,
    )


def _distinct(source: PatchSource, count: int) -> dict[tuple[str, tuple[int, int, int]], int]:
    """The first number of each place (case and centre), in the order in which they are drawn; no image is read."""
    numbers: dict[tuple[str, tuple[int, int, int]], int] = {}
    for number in range(_TRIES * count):
        numbers.setdefault(source.describe(number), number)
        if len(numbers) == count:
            break
    return numbers


def _middle(case: StoredCase, centre: Sequence[int], config: PatchConfig) -> Array:
    """The centre of a patch, RAS+ mm; that of an even one lies between two voxels."""
    voxel = [middle - edge // 2 + (edge - 1) / 2 for middle, edge in zip(centre, config.box, strict=True)]
    place: Array = case.affine[:3, :3] @ voxel + case.affine[:3, 3]
    return place
