"""Subjects made one after the other or side by side, and written to disk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from medgen.cases import DOMAINS
from medgen.errors import MemoryExhausted, UsageError
from medgen.phantom.acquisition import LOWEST_HU, make_scanner, scan_ct, scan_mr
from medgen.phantom.anatomy import build_head
from medgen.phantom.grid import field_of_view
from medgen.phantom.lesions import draw_findings
from medgen.phantom.pathology import add_lesions, brain_mask
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.sequences import DOMAINS as SEQUENCES
from medgen.phantom.template import Template, load_template
from medgen.phantom.tissues import subject_tissues
from medgen.volume import Kind, Volume, write_volume

Progress = Callable[[int, int, str], None]
_JobT = TypeVar("_JobT")
_Result = TypeVar("_Result")

_SPACINGS = (0.8, 8.0)


@dataclass(frozen=True)
class Job:
    """Everything one worker needs to know about one subject.

    Attributes:
        out: folder of the cohort.
        name: of the case.
        index: number of the person; jobs of one cohort have different ones.
        domain: "source" or "target".
        spacing: mm.
        misalignment: mm by which the CT is off.
        seeds: of the people, the scanner and the realisation.
        overwrite: replace files of the same names.
        lesions: add lesions and write their label.
        stripped: keep the brain only.
        ct: write a CT.
    """

    out: Path
    name: str
    index: int
    domain: str
    spacing: float
    misalignment: float
    seeds: tuple[int, int, int]
    overwrite: bool
    lesions: bool = False
    stripped: bool = False
    ct: bool = True


def require_spacing(spacing: float) -> None:
    """Refuse a spacing in mm that the anatomy cannot be drawn at.

    Raises:
        UsageError: it is out of range.
    """
    if not _SPACINGS[0] <= spacing <= _SPACINGS[1]:
        raise UsageError(f"the spacing is {spacing} mm", fix=f"choose {_SPACINGS[0]} to {_SPACINGS[1]} mm")


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a case table.

    Raises:
        UsageError: it does, and ``overwrite`` is off.
    """
    if (out / "cases.csv").exists() and not overwrite:
        raise UsageError("the folder already holds a case table", where=out, fix="choose another folder, or overwrite")


def make_all(jobs: Sequence[Job], workers: int | None, progress: Progress | None) -> dict[int, dict[str, Path]]:
    """Make and write every head; gives the path of each role by the index of the job."""
    template = load_template(jobs[0].spacing)
    images = side_by_side(jobs, _make, workers, progress, start=_keep, arguments=(template,))
    return {job.index: paths for job, paths in zip(jobs, images, strict=True)}


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

    Args:
        jobs: what each subject needs.
        work: makes one subject; a function of a module, so that processes can find it.
        workers: processes; by default one a core.
        progress: called with (done, total, what).
        start: called once in each process before the first subject, with ``arguments``, which are sent once.
        arguments: for ``start``.

    Raises:
        MemoryExhausted: a process was killed.
    """
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
    with ProcessPoolExecutor(count, context, _start, (start, arguments)) as pool:
        futures = {pool.submit(work, job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MemoryExhausted(
                "a process that made a phantom was killed, probably for want of memory", fix="use fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Leave a worker process one thread, and give it what all its subjects share."""
    threadpool_limits(1)
    if start:
        start(*arguments)


_template: Template | None = None


def _keep(template: Template) -> None:
    global _template
    _template = template


def _make(job: Job) -> dict[str, Path]:
    """Make and write one head; gives the path of each role."""
    assert _template is not None
    arrays, affine = _images(job, _template)
    images = {role: (array, affine, kind) for role, (array, kind) in arrays.items()}
    return write_images(images, job.out / job.name, overwrite=job.overwrite)


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


def _images(job: Job, template: Template) -> tuple[dict[str, tuple[NDArray[Any], Kind]], NDArray[np.float64]]:
    """Arrays (X, Y, Z) of each role and how they are stored, and voxel index to mm."""
    subject = Stream(job.seeds[0], SUBJECT, job.index)
    scanner = make_scanner(job.domain, Stream(job.seeds[1], SCANNER, DOMAINS.index(job.domain)))
    realisation = Stream(job.seeds[2], REALISATION, job.index)
    grid = field_of_view(job.spacing)
    anatomy, tissues = build_head(template, subject, grid), subject_tissues(subject)
    label: NDArray[np.bool_] | None = None
    if job.lesions:
        anatomy, label = add_lesions(anatomy, draw_findings(template, anatomy.mapping, subject), subject)
    mask = brain_mask(anatomy) if job.stripped else anatomy.head
    images = scan_mr(anatomy, tissues, scanner, realisation, SEQUENCES[job.domain])
    if job.ct:
        images |= scan_ct(anatomy, tissues, scanner, realisation, job.misalignment)
    if job.stripped:
        for role, image in images.items():
            image[~mask] = LOWEST_HU if role.startswith("ct") else 0
    arrays: dict[str, tuple[NDArray[Any], Kind]] = {role: (image, "hu") for role, image in images.items()}
    if label is not None:
        arrays["label"] = ((label & mask).astype(np.uint8), "label")
    arrays["mask"] = (mask.astype(np.uint8), "label")
    return arrays, grid.affine
