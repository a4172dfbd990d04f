"""Building the store: every case once, whole or not at all, and never a stale one.

``<store>/<key>/<case>/`` holds ``image.npy`` and what else there is. The key is a hash over the settings, the bytes
of the case's own files and :data:`VERSION`; so a changed file or setting means another folder, one more patient
means one more folder, and what is found under a key is never stale. A folder gets its name when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np

from medgen.cases import Case, is_optional
from medgen.errors import InputError, MedgenError, MemoryExhausted, PathError, StorageError
from medgen.files import image_digest, require_readable, storage_errors, write_json
from medgen.names import CASE_BYTES, file_name
from medgen.preparation.fingerprint import summarise
from medgen.preparation.likeness import calibrate
from medgen.preparation.patient import Preparation
from medgen.preparation.plausible import measure
from medgen.preparation.prepared import Prepared
from medgen.preparation.store import Store, facts_of, open_case
from medgen.types import Array, Progress

VERSION = 6
"""Raise it whenever the same files and settings would give other numbers; every store is then made anew."""
_UNFINISHED = ".unfinished-"


def build_store(
    cases: Sequence[Case],
    preparation: Preparation,
    folder: str | Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Store:
    """Prepare what is not in the store yet, and open it.

    Args:
        cases: from the case table. Every one needs the inputs, or a target alone; what else a method needs is checked
            by :func:`medgen.recipe.check.require_images`.
        preparation: what to do with them.
        folder: of the store; may hold other cases and other settings, which are left alone. Two processes that
            build the same store take turns.
        workers: processes; 1 works in this one.
        progress: called with (done, total, what).

    Raises:
        InputError: cases cannot be prepared; the others are done and are found there the next time.
        StorageError: the disk is full or the folder cannot be written.
        MemoryExhausted: a worker was killed.
    """
    from filelock import FileLock

    folder = Path(folder).resolve()
    places, failed = {}, list[MedgenError]()
    for number, case in enumerate(cases):
        _report(progress, number, len(cases), f"looking at {case.name}")
        try:
            places[case.name] = _place(case, preparation, folder)
        except MedgenError as error:
            failed.append(of_case(case, error))
    if any(not _complete(place) for place in places.values()):
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            lock.acquire()
        try:
            for left in folder.glob(f"*/{_UNFINISHED}*"):
                shutil.rmtree(left)
            todo = [case for case in cases if case.name in places and not _complete(places[case.name])]
            failed += _prepare_all(todo, preparation, places, workers, progress, len(cases))
        finally:
            facts_of.cache_clear()
            lock.release()
    if failed:
        first = failed[0]
        more = "" if len(failed) == 1 else f" (and {len(failed) - 1} more cases: see 'medgen check')"
        raise type(first)(first.what + more, where=first.where, fix=first.fix)
    _report(progress, len(cases), len(cases), "prepared")
    return open_store(cases, preparation, places)


def open_store(cases: Sequence[Case], preparation: Preparation, places: Mapping[str, Path]) -> Store:
    """Open what :func:`build_store` has built, reading no image.

    Args:
        cases: from the case table.
        preparation: with which the store was built.
        places: by name of the case, the folder of its arrays.

    Raises:
        StorageError: a case is not in the store, e.g. since another machine does not share the folder.
    """
    if absent := [name for name, place in places.items() if not (place / "case.json").is_file()]:
        raise StorageError(
            f"the store lacks {len(absent)} of {len(places)} cases, '{absent[0]}' first",
            where=places[absent[0]],
            fix="place the store in a folder that every process can read, or run again to build it anew",
        )
    stored = tuple(open_case(case, places[case.name]) for case in cases)
    train, held_out = (
        [facts_of(case.folder)["fingerprint"] for case in stored if case.split == split] for split in ("train", "val")
    )
    if train:
        preparation = replace(preparation, training=summarise(train), calibration=calibrate(train, held_out))
    return Store(stored, preparation)


def prepare_case(case: Case, preparation: Preparation) -> Prepared:
    """Read and prepare one case of the table.

    Raises:
        InputError: an image is missing, damaged or unusable; the message names the case.
    """
    try:
        return preparation.prepare(preparation.read(_paths(case, preparation)))
    except MedgenError as error:
        raise of_case(case, error) from error


def of_case(case: Case, error: MedgenError) -> MedgenError:
    """The error with the name of the case, unless it says that already."""
    if f"'{case.name}'" in error.what:
        return error
    return type(error)(f"case '{case.name}': {error.what}", where=error.where, fix=error.fix)


def _paths(case: Case, preparation: Preparation) -> dict[str, Path]:
    roles = preparation.roles
    paths = {role: path for role in roles.all if (path := case.path(role)) is not None}
    missing = [role for role in roles.inputs if role not in paths and not is_optional(role)]
    alone = roles.target in paths and not any(role in paths for role in roles.inputs)  # one side of an unpaired set
    if missing and not alone:
        raise InputError(
            f"case '{case.name}' has no image for {', '.join(missing)}",
            fix="add the path to the case table, or take the case out",
        )
    for path in paths.values():
        require_readable(path)
    absent = [path for path in paths.values() if not path.exists()]
    if absent:
        raise InputError(
            f"case '{case.name}' names a file that is not there", where=absent[0], fix="check the case table"
        )
    return paths


def _place(case: Case, preparation: Preparation, folder: Path) -> Path:
    """Where the arrays of a case belong: under a hash of all that they depend on."""
    name = file_name(case.name, CASE_BYTES)
    settings = preparation.as_dict()
    files = {role: image_digest(path) for role, path in _paths(case, preparation).items()}
    content = [VERSION, settings["roles"], settings["config"], files]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return folder / key / name


def _complete(place: Path) -> bool:
    """Whether the arrays are there, each as long as it was when it was written."""
    if not (place / "case.json").is_file():
        return False
    sizes = facts_of(place)["files"]
    return all(
        (place / f"{name}.npy").is_file() and (place / f"{name}.npy").stat().st_size == size
        for name, size in sizes.items()
    )


def _prepare_all(
    cases: Sequence[Case],
    preparation: Preparation,
    places: dict[str, Path],
    workers: int,
    progress: Progress | None,
    total: int,
) -> list[MedgenError]:
    """Prepare all that can be; the errors of the others."""
    failed: list[MedgenError] = []
    done = total - len(cases)
    for case, error in _results(cases, preparation, places, workers):
        done += 1
        _report(progress, done, total, f"prepared {case.name}" if error is None else f"failed: {case.name}")
        if isinstance(error, StorageError) and not isinstance(error, PathError):
            raise error
        if error is not None:
            failed.append(error)
    return failed


def _results(
    cases: Sequence[Case], preparation: Preparation, places: dict[str, Path], workers: int
) -> Iterator[tuple[Case, MedgenError | None]]:
    """Each case with what went wrong, as they finish."""
    if workers <= 1 or len(cases) <= 1:
        for case in cases:
            yield case, _attempt(case, preparation, places[case.name])
        return
    with ProcessPoolExecutor(min(workers, len(cases))) as pool:
        futures = {pool.submit(_attempt, case, preparation, places[case.name]): case for case in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MemoryExhausted(
                "a process that prepared a case was killed, probably for want of memory", fix="use fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(case: Case, preparation: Preparation, place: Path) -> MedgenError | None:
    try:
        _write(prepare_case(case, preparation), place)
    except MedgenError as error:
        return error
    return None


def _write(prepared: Prepared, place: Path) -> None:
    """Write all arrays under a temporary name beside ``place``, then give them that name."""
    mask = prepared.body if prepared.mask is None else prepared.mask
    arrays: dict[str, Array] = {
        **({"image": prepared.image} if len(prepared.image) else {}),
        "body": prepared.body.astype(np.uint8),
        "mask": mask.astype(np.uint8),
        "candidates": _indices(mask),
    }
    if prepared.target is not None:
        arrays["target"] = prepared.target
    classes: list[int] = []
    if prepared.labels is not None:
        arrays["label"] = prepared.labels
        classes = [int(value) for value in np.unique(prepared.labels) if value > 0]
        arrays |= {f"candidates_{value}": _indices(prepared.labels == value) for value in classes}
    with storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=place.parent))
        try:
            _fill(temporary, arrays, prepared, classes)
            shutil.rmtree(place, ignore_errors=True)  # whatever is there was found incomplete
            temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, arrays: dict[str, Array], prepared: Prepared, classes: list[int]) -> None:
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            # np.save would report a full disk as an OSError without a number.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
    facts = {
        "shape": list(prepared.image.shape[1:]),
        "affine": prepared.affine.tolist(),
        "air": [float(channel.min()) for channel in prepared.image],
        "classes": classes,
        "fingerprint": {role: list(numbers) for role, numbers in prepared.fingerprint.items()},
        "found": _found(prepared),
        "notes": list(prepared.notes),
        "files": {name: (folder / f"{name}.npy").stat().st_size for name in arrays},
    }
    write_json(folder / "case.json", facts)


def _found(prepared: Prepared) -> dict[int, tuple[float, int, float]]:
    """Of each class that the case has, ml, connected pieces and the longest edge of one in mm."""
    if prepared.labels is None:
        return {}
    spacing = np.linalg.norm(prepared.affine[:3, :3], axis=0)
    voxel = float(np.prod(spacing)) / 1000
    found = measure(prepared.labels, [float(step) for step in spacing])
    return {value: (each.voxels * voxel, each.number, each.extent_mm) for value, each in found.items()}


def _indices(mask: Array) -> Array:
    """Flat indices of what is set, in the smallest of two integer types that holds them."""
    return np.flatnonzero(mask).astype(np.int32 if mask.size < 2**31 else np.int64)


def _report(progress: Progress | None, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(done, total, what)
