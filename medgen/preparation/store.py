"""Prepared cases on disk, made once, read through the page cache: memory does not grow with their number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case
from medgen.errors import StorageError
from medgen.preparation.patient import Preparation
from medgen.types import Array, Split

CASES = "cases.json"
"""In a run folder, what it learns from: by case its split, its domain and the folder of the store that holds it."""


@dataclass(frozen=True)
class StoredCase:
    """One prepared case; holds paths and facts only, so that it travels to worker processes at no cost.

    Args:
        name: of the case.
        split: train, val or test.
        domain: source, target or None.
        folder: where its arrays are.
        shape: (X, Y, Z).
        spacing: mm.
        air: the smallest value of each input channel, which stands for what lies outside the volume.
        classes: label values that occur, without 0.
        files: the arrays there are, without ``.npy``.
        patient: of which the case is one of several examinations; None is a patient of its own.
    """

    name: str
    split: str
    domain: str | None
    folder: Path
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    air: tuple[float, ...]
    classes: tuple[int, ...]
    files: frozenset[str]
    patient: str | None = None

    @property
    def image(self) -> Array:
        """(C, X, Y, Z) float32, normalised; a case that has a target alone has none."""
        return open_array(self.folder / "image.npy")

    @property
    def target(self) -> Array | None:
        """(K, X, Y, Z) float32 in [-1, 1], or None."""
        return self._optional("target")

    @property
    def body(self) -> Array:
        """(X, Y, Z) uint8 in {0, 1}: what a prediction of this case covers; found without the mask role."""
        return open_array(self.folder / "body.npy")

    @property
    def mask(self) -> Array:
        """(X, Y, Z) uint8 in {0, 1}: the mask role, or the body where the recipe names no mask."""
        return open_array(self.folder / "mask.npy")

    @property
    def label(self) -> Array | None:
        """(X, Y, Z) integers, or None."""
        return self._optional("label")

    @property
    def candidates(self) -> Array:
        """(N,) flat indices of the voxels of the mask, any of which may be the centre of a patch."""
        return open_array(self.folder / "candidates.npy")

    def candidates_of(self, label: int) -> Array:
        """(N,) flat indices of the voxels of one class."""
        return open_array(self.folder / f"candidates_{label}.npy")

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), prepared voxel index to RAS+ mm."""
        return np.array(facts_of(self.folder)["affine"])

    @property
    def found(self) -> dict[int, tuple[float, int, float]] | None:
        """Of each class that the case has, ml, connected pieces and the longest edge of one in mm; None: no labels."""
        if "label" not in self.files:
            return None
        return {int(value): (ml, count, mm) for value, (ml, count, mm) in facts_of(self.folder)["found"].items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be decided when it was prepared."""
        return tuple(facts_of(self.folder)["notes"])

    def _optional(self, name: str) -> Array | None:
        return open_array(self.folder / f"{name}.npy") if name in self.files else None


@dataclass(frozen=True, eq=False)
class Store:
    """Prepared cases, in the order of the case table.

    Attributes:
        cases: all of them.
        preparation: how they were made, with the fingerprint of those of split ``train``.
    """

    cases: tuple[StoredCase, ...]
    preparation: Preparation

    def select(self, *, split: str | None = None, domain: str | None = None) -> tuple[StoredCase, ...]:
        """The cases of a split, of a domain, or of both."""
        return tuple(
            case
            for case in self.cases
            if (split is None or case.split == split) and (domain is None or case.domain == domain)
        )


def open_case(case: Case, place: Path) -> StoredCase:
    """The case of the table whose arrays are in ``place``."""
    facts = facts_of(place)
    x, y, z = facts["shape"]
    a, b, c = np.linalg.norm(np.array(facts["affine"])[:3, :3], axis=0)
    return StoredCase(
        name=case.name,
        split=case.split,
        domain=case.domain,
        folder=place,
        shape=(x, y, z),
        spacing=(float(a), float(b), float(c)),
        air=tuple(facts["air"]),
        classes=tuple(facts["classes"]),
        files=frozenset(facts["files"]),
        patient=case.patient,
    )


def open_learnt(record: Path, folder: Path) -> tuple[tuple[StoredCase, ...], tuple[str, ...]]:
    """The cases that a run learnt from, by its record, reading no image.

    Args:
        record: :data:`CASES` of the run.
        folder: of the store.

    Returns:
        The cases that the store has, and the names of those that it lacks.

    Raises:
        StorageError: the record is damaged.
    """
    try:
        learnt = json.loads(record.read_text(encoding="utf-8"))
        places = {name: (cast(Split, split), domain, folder / key) for name, (split, domain, key) in learnt.items()}
    except (ValueError, AttributeError, TypeError) as error:
        fix = "resume the run with its own case table"
        raise StorageError(f"the record of the cases is damaged: {error}", where=record, fix=fix) from None
    there = {name: each for name, each in places.items() if (each[2] / name / "case.json").is_file()}
    cases = [open_case(Case(name, split, domain, {}), key / name) for name, (split, domain, key) in there.items()]
    return tuple(cases), tuple(name for name in places if name not in there)


def open_array(path: Path) -> Array:
    """A read-only memory map of an ``.npy`` file.

    A bounded number stays open in each process, so that thousands of cases do not exhaust its limit; a file that was
    replaced is opened again.
    """
    try:
        state = path.stat()
        return _mapped(path, state.st_ino, state.st_mtime_ns)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, error) from error


@lru_cache(maxsize=128)
def _mapped(path: Path, inode: int, modified: int) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


@lru_cache(maxsize=4096)
def facts_of(place: Path) -> dict[str, Any]:
    """What ``case.json`` says about the arrays beside it.

    Raises:
        StorageError: it is missing or damaged.
    """
    path = place / "case.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(facts, dict) or not {"affine", "files", "shape"} <= set(facts):
        raise _damaged(path, ValueError("it does not describe arrays"))
    return facts


def _damaged(path: Path, error: Exception) -> StorageError:
    reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
    return StorageError(
        f"the store is damaged: {reason}", where=path, fix="delete this folder of the store; it is made anew"
    )
