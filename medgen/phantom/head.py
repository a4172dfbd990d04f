"""A cohort of virtual heads on disk."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from medgen.cases import DOMAINS, SPLITS, Case, Split, write_cases
from medgen.errors import MemoryExhausted, UsageError
from medgen.files import write_json
from medgen.phantom.acquisition import make_scanner, scan_ct, scan_mr
from medgen.phantom.anatomy import build_head
from medgen.phantom.grid import field_of_view
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.sequences import DOMAINS as SEQUENCES
from medgen.phantom.template import Template, load_template
from medgen.phantom.tissues import subject_tissues
from medgen.volume import Kind, Volume, write_volume

Progress = Callable[[int, int, str], None]

_SPACINGS = (0.8, 8.0)


@dataclass(frozen=True)
class _Job:
    """Everything one worker needs to know about one subject."""

    out: Path
    name: str
    index: int
    domain: str
    spacing: float
    misalignment: float
    seeds: tuple[int, int, int]
    overwrite: bool


def make_head_phantom(
    out: str | Path,
    *,
    subjects: int,
    seed: int = 0,
    domain: str = "source",
    spacing: float = 2.0,
    misalignment: float = 0.0,
    splits: Sequence[int] | None = None,
    scanner_seed: int | None = None,
    realisation_seed: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make virtual heads: MR contrasts, CT in HU and a mask, with exact truth.

    Subject n is the same person whatever the domain, spacing, noise, misalignment and number of subjects.

    Args:
        out: folder to write: ``<case>/<case>_<role>.nii.gz`` with the roles t1, t2, pd, flair, ge (domain source) or
            swi (target), ct, mask; and ``cases.csv``. MR and CT are int16 (CT in HU), the mask is uint8.
        subjects: how many, 1 to 999.
        seed: chooses the people.
        domain: "source" or "target": which scanner.
        spacing: isotropic voxel in mm, 0.8 to 8.
        misalignment: root mean square distance over the head in mm by which the CT is off the MR in the training and
            validation cases, half of it rigid and half smooth. Those cases then have a role ``ct_exact`` as well,
            for scoring; test cases are always exact.
        splits: numbers of training, validation and test cases; by default about 60, 15 and 25 %.
        scanner_seed: chooses gain, noise level and bias strength of the scanner; by default ``seed``.
        realisation_seed: chooses noise, bias field and misalignment; by default ``seed``.
        overwrite: replace files of the same names.
        workers: processes; by default one a core. The result does not depend on it. With more than one, a script
            must call this under ``if __name__ == "__main__":``, because processes are started afresh.
        progress: called with (done, total, what).

    Returns:
        Path of ``cases.csv``.

    Raises:
        UsageError: an argument is out of range, or the folder holds a case table and ``overwrite`` is off.
        InputError: nilearn's MNI152 maps are missing.
        StorageError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    counts = _check(out, subjects, domain, spacing, misalignment, splits, overwrite)
    names: list[Split] = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    first, second, third = (seed if other is None else other for other in (seed, scanner_seed, realisation_seed))
    prefix = "head" if domain == "source" else f"head_{domain}"
    jobs = [
        _Job(
            out=out,
            name=f"{prefix}_{index:03d}",
            index=index,
            domain=domain,
            spacing=float(spacing),
            misalignment=0.0 if split == "test" else float(misalignment),
            seeds=(first, second, third),
            overwrite=overwrite,
        )
        for index, split in enumerate(names)
    ]
    images: dict[int, dict[str, Path]] = {}
    if progress:
        progress(0, subjects, "making phantoms")
    for index, paths in _run(jobs, workers):
        images[index] = paths
        if progress:
            progress(len(images), subjects, "making phantoms")
    settings = {"subjects": subjects, "domain": domain, "spacing": float(spacing), "misalignment": float(misalignment)}
    seeds = {"subject": first, "scanner": second, "realisation": third}
    write_json(out / "phantom.json", {"anatomy": "head", **settings, "seeds": seeds})
    cases = [Case(job.name, names[job.index], domain, images[job.index]) for job in jobs]
    return write_cases(cases, out / "cases.csv")


def default_splits(subjects: int) -> tuple[int, int, int]:
    """Numbers of training, validation and test cases: about 60, 15 and 25 %, none empty from three cases on.

    >>> default_splits(8)
    (5, 1, 2)
    >>> default_splits(3)
    (1, 1, 1)
    >>> default_splits(1)
    (1, 0, 0)
    """
    test = max(1, int(0.25 * subjects + 0.5)) if subjects > 1 else 0
    val = max(1, int(0.15 * subjects + 0.5)) if subjects > 2 else 0
    return subjects - val - test, val, test


def _check(
    out: Path,
    subjects: int,
    domain: str,
    spacing: float,
    misalignment: float,
    splits: Sequence[int] | None,
    overwrite: bool,
) -> tuple[int, int, int]:
    """Refuse arguments that cannot be met; give the numbers of cases of each split."""
    if not 1 <= subjects <= 999:
        raise UsageError(f"{subjects} subjects were asked for", fix="ask for 1 to 999")
    if domain not in DOMAINS:
        raise UsageError(f"there is no domain '{domain}'", fix=f"choose one of {', '.join(DOMAINS)}")
    if not _SPACINGS[0] <= spacing <= _SPACINGS[1]:
        raise UsageError(f"the spacing is {spacing} mm", fix=f"choose {_SPACINGS[0]} to {_SPACINGS[1]} mm")
    if not 0 <= misalignment <= 20:
        raise UsageError(f"the misalignment is {misalignment} mm", fix="choose 0 to 20 mm")
    counts = default_splits(subjects) if splits is None else tuple(splits)
    if len(counts) != 3 or min(counts) < 0 or sum(counts) != subjects:
        raise UsageError(
            f"the splits {list(counts)} do not divide {subjects} subjects",
            fix="give three numbers (train, val, test) that add up to the subjects",
        )
    if (out / "cases.csv").exists() and not overwrite:
        raise UsageError("the folder already holds a case table", where=out, fix="choose another folder, or overwrite")
    return counts[0], counts[1], counts[2]


def _run(jobs: Sequence[_Job], workers: int | None) -> Iterator[tuple[int, dict[str, Path]]]:
    """Make every subject, in this process or in several; yields in the order of completion."""
    template = load_template(jobs[0].spacing)
    count = min(len(jobs), workers if workers is not None else os.cpu_count() or 1)
    if count <= 1:
        for job in jobs:
            yield job.index, _make(job, template)
        return
    # 'spawn' starts clean processes: nothing of the caller's threads or devices is copied.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _start, (template,)) as pool:
        futures = {pool.submit(_work, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future].index, future.result()
        except BrokenProcessPool as error:
            raise MemoryExhausted(
                "a process that made a phantom was killed, probably for want of memory", fix="use fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_template: Template | None = None


def _start(template: Template) -> None:
    """Keep the template in a worker process (it is sent once, not with every subject), and leave it one thread."""
    global _template
    threadpool_limits(1)
    _template = template


def _work(job: _Job) -> dict[str, Path]:
    assert _template is not None
    return _make(job, _template)


def _make(job: _Job, template: Template) -> dict[str, Path]:
    """Make and write one subject; gives the path of each role."""
    subject = Stream(job.seeds[0], SUBJECT, job.index)
    scanner = make_scanner(job.domain, Stream(job.seeds[1], SCANNER, DOMAINS.index(job.domain)))
    realisation = Stream(job.seeds[2], REALISATION, job.index)
    grid = field_of_view(job.spacing)
    anatomy, tissues = build_head(template, subject, grid), subject_tissues(subject)
    images = scan_mr(anatomy, tissues, scanner, realisation, SEQUENCES[job.domain])
    images |= scan_ct(anatomy, tissues, scanner, realisation, job.misalignment)
    kinds: dict[str, Kind] = dict.fromkeys(images, "hu")
    arrays: dict[str, NDArray[Any]] = {**images, "mask": anatomy.head.astype(np.uint8)}
    kinds["mask"] = "label"
    return {
        role: write_volume(
            Volume(array[None], grid.affine),
            job.out / job.name / f"{job.name}_{role}.nii.gz",
            kind=kinds[role],
            overwrite=job.overwrite,
        )
        for role, array in arrays.items()
    }
