"""Subjects made one after the other or side by side, and written to disk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from medgen.cases.phantoms import MANIFEST
from medgen.errors import MemoryExhausted, UsageError
from medgen.files import storage_errors
from medgen.types import Progress
from medgen.volume import Kind, Volume, write_volume

RANDOMISED_TABLE = "cases_randomised.csv"
"""The case table with copies by scanners drawn at random."""
_TABLES = ("cases.csv", MANIFEST, "factors.csv", RANDOMISED_TABLE)
"""What makes a folder a phantom."""


class _Job(Protocol):
    @property
    def out(self) -> Path: ...


_JobT = TypeVar("_JobT", bound=_Job)
_Result = TypeVar("_Result")


def require_making(seeds: Sequence[int], workers: int | None) -> None:
    """Refuse numbers with which nothing can be made.

    Raises:
        UsageError: a seed below 0, or fewer workers than one.
    """
    for seed in seeds:
        if seed < 0:
            raise UsageError(f"the seed is {seed}", fix="choose a seed of 0 or more")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers were asked for", fix="ask for at least 1, or leave it out")


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a phantom, or another file of the name of one of its tables.

    Raises:
        UsageError: it does, and ``overwrite`` is off.
    """
    taken = next((name for name in _TABLES[:3] if os.path.lexists(out / name)), None)
    if taken and not overwrite:
        raise UsageError(f"the folder already holds {taken}", where=out, fix="choose another folder, or --overwrite")


def side_by_side(
    jobs: Sequence[_JobT],
    work: Callable[[_JobT], _Result],
    workers: int | None,
    progress: Progress | None,
    *,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> list[_Result]:
    """Make every subject, in this process or in several; the results are in the order of the jobs.

    The tables of a phantom that is replaced are removed first: what is interrupted then is no phantom, rather than the
    old tables over a mixture of subjects.

    Args:
        jobs: what each subject needs, and the folder ``out`` of its phantom.
        work: makes one subject; a function of a module, so that processes can find it.
        workers: processes; by default one a core.
        progress: called with (done, total, what).
        start: called once in each process before the first subject, with ``arguments``, which are sent once.
        arguments: for ``start``.

    Raises:
        MemoryExhausted: a process was killed, or could not start.
        StorageError: a table cannot be removed.
    """
    for folder in {job.out for job in jobs}:
        with storage_errors(folder):
            for name in _TABLES:
                (folder / name).unlink(missing_ok=True)
    results: dict[int, _Result] = {}
    if progress:
        progress(0, len(jobs), "making phantoms")
    for index, result in _run(jobs, work, workers, start, arguments):
        results[index] = result
        if progress:
            progress(len(results), len(jobs), "making phantoms")
    return [results[index] for index in range(len(jobs))]


def _run(
    jobs: Sequence[_JobT],
    work: Callable[[_JobT], _Result],
    workers: int | None,
    start: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> Iterator[tuple[int, _Result]]:
    """Place and result of every job in the order of completion."""
    count = min(len(jobs), workers if workers is not None else os.cpu_count() or 1)
    if count <= 1:
        if start:
            start(*arguments)
        for index, job in enumerate(jobs):
            yield index, work(job)
        return
    # 'spawn' starts clean processes: nothing of the caller's threads or devices is copied.
    context = multiprocessing.get_context("spawn")
    # Not as arguments of the start: a process that dies before it has read large ones blocks this one for ever.
    shared = context.Queue()
    shared.cancel_join_thread()
    for _ in range(count):
        shared.put(arguments)
    with ProcessPoolExecutor(count, context, _start, (start, shared)) as pool:
        futures = {pool.submit(work, job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MemoryExhausted(
                "a process that made a phantom ended early: it was killed for want of memory, or could not start",
                fix="use fewer workers; in a script, call medgen below: if __name__ == '__main__'",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start(start: Callable[..., None] | None, shared: Any) -> None:
    """Leave a worker process one thread, and give it what all its subjects share."""
    threadpool_limits(1)
    if start:
        start(*shared.get())


def write_images(
    images: Mapping[str, tuple[NDArray[Any], NDArray[np.float64], Kind]], folder: Path, *, overwrite: bool
) -> dict[str, Path]:
    """Write each role's array (X, Y, Z) with its affine and kind as ``<case>_<role>.nii.gz`` into the case's folder."""
    return {
        role: write_volume(
            Volume(array[None], affine), folder / f"{folder.name}_{role}.nii.gz", kind=kind, overwrite=overwrite
        )
        for role, (array, affine, kind) in images.items()
    }
