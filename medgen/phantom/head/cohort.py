"""Subjects made one after the other or side by side, and written to disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.cases import DOMAINS, SOURCE, Case
from medgen.errors import UsageError
from medgen.files import atomic_path
from medgen.phantom.grid import field_of_view
from medgen.phantom.head.acquisition import LOWEST_HU, Scanner, make_scanner, scan_ct, scan_mr
from medgen.phantom.head.anatomy import build_head
from medgen.phantom.head.lesions import draw_findings
from medgen.phantom.head.pairs import PAIRS, Pair
from medgen.phantom.head.pathology import add_lesions, brain_mask, fluid_share
from medgen.phantom.head.randomised import random_scanner
from medgen.phantom.head.sequences import DOMAINS as SEQUENCES
from medgen.phantom.head.template import Template, load_template
from medgen.phantom.head.tissues import subject_tissues
from medgen.phantom.head.varied import varied_scanner
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.workers import side_by_side, write_images
from medgen.types import Progress
from medgen.volume import Kind

_SPACINGS = (0.8, 8.0)
FIRST_VARIED = 1000
"""Number of the varied scanner of subject 0; smaller ones are those of the domains."""
FIRST_RANDOMISED, PEOPLE = 10_000, 1000
"""Number of the random scanner of person 0, copy 0, which also numbers its noise; how many further the next copy is."""


@dataclass(frozen=True)
class Job:
    """Everything one worker needs to know about one subject.

    Attributes:
        out: folder of the cohort.
        name: of the case.
        index: number of the person.
        domain: "source" or "target".
        spacing: mm.
        misalignment: mm by which the CT is off.
        seeds: of the people, the scanner and the realisation.
        overwrite: replace files of the same names.
        lesions: add lesions and write their label.
        stripped: keep the brain only.
        ct: write a CT.
        varied: a scanner of its own, drawn at random.
        copy: number of the person's copy, from 0, by a scanner of which everything is drawn at random
            (:mod:`medgen.phantom.head.randomised`); None for a scan by the scanner of the domain. For people below
            :data:`PEOPLE`.
        pair: the scanners of both domains, and what the patients have.
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
    varied: bool = False
    copy: int | None = None
    pair: Pair = PAIRS["first"]


def require_spacing(spacing: float) -> None:
    """Refuse a spacing in mm that the anatomy cannot be drawn at.

    Raises:
        UsageError: it is out of range.
    """
    if not _SPACINGS[0] <= spacing <= _SPACINGS[1]:
        raise UsageError(f"the spacing is {spacing} mm", fix=f"choose {_SPACINGS[0]} to {_SPACINGS[1]} mm")


class Made(NamedTuple):
    """A head on disk.

    Attributes:
        images: path of each role.
        factors: what is known of it, see :func:`write_factors`.
    """

    images: dict[str, Path]
    factors: dict[str, float]


def make_all(jobs: Sequence[Job], workers: int | None, progress: Progress | None) -> list[Made]:
    """Make and write every head, in the order of the jobs."""
    template = load_template(jobs[0].spacing)
    return side_by_side(jobs, _make, workers, progress, start=_keep, arguments=(template,))


def write_factors(cases: Sequence[Case], made: Sequence[Made], path: Path) -> None:
    """Write what is known of each case as a table, for probes of latent codes.

    Columns: case, split, domain; ``csf_fraction``, fluid as a share of the brain with its fluid (atrophy);
    ``lesion_ml``, volume of the label, where lesions were asked for; ``noise`` and ``bias``, standard deviation as a
    fraction of white matter and non-uniformity of the scanner of this patient.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "split", "domain", *made[0].factors])
        for case, each in zip(cases, made, strict=True):
            writer.writerow([case.name, case.split, case.domain, *(f"{value:.6g}" for value in each.factors.values())])


_template: Template | None = None


def _keep(template: Template) -> None:
    global _template
    _template = template


def _make(job: Job) -> Made:
    """Make and write one head."""
    assert _template is not None
    arrays, affine, factors = _images(job, _template)
    images = {role: (array, affine, kind) for role, (array, kind) in arrays.items()}
    return Made(write_images(images, job.out / job.name, overwrite=job.overwrite), factors)


def _images(
    job: Job, template: Template
) -> tuple[dict[str, tuple[NDArray[Any], Kind]], NDArray[np.float64], dict[str, float]]:
    """Arrays (X, Y, Z) of each role and how they are stored, voxel index to mm, and the factors."""
    subject = Stream(job.seeds[0], SUBJECT, job.index)
    scanner, realisation = _scanner(job)
    grid = field_of_view(job.spacing)
    anatomy, tissues = build_head(template, subject, grid), job.pair.tissues(subject_tissues(subject))
    factors = {"csf_fraction": fluid_share(anatomy)}
    label: NDArray[np.bool_] | None = None
    if job.lesions:
        findings = draw_findings(template, anatomy.mapping, subject, job.pair.disease)
        anatomy, label = add_lesions(anatomy, findings, subject)
    mask = brain_mask(anatomy) if job.stripped else anatomy.head
    sequences = SEQUENCES[job.domain] if job.copy is None else tuple(scanner.protocols)
    images = scan_mr(anatomy, tissues, scanner, realisation, sequences)
    if job.ct:
        images |= scan_ct(anatomy, tissues, scanner, realisation, job.misalignment)
    if job.stripped:
        for role, image in images.items():
            image[~mask] = LOWEST_HU if role.startswith("ct") else 0
    arrays: dict[str, tuple[NDArray[Any], Kind]] = {role: (image, "hu") for role, image in images.items()}
    if label is not None:
        arrays["label"] = ((label & mask).astype(np.uint8), "label")
        factors["lesion_ml"] = np.count_nonzero(label & mask) * grid.spacing**3 / 1000
    arrays["mask"] = (mask.astype(np.uint8), "label")
    return arrays, grid.affine, factors | {"noise": scanner.noise, "bias": scanner.bias}


def _scanner(job: Job) -> tuple[Scanner, Stream]:
    """Where the person lies, and the stream of bias field and noise."""
    if job.copy is not None:
        number = FIRST_RANDOMISED + PEOPLE * job.copy + job.index
        return random_scanner(Stream(job.seeds[1], SCANNER, number)), Stream(job.seeds[2], REALISATION, number)
    scanners = {name: make_scanner(name, Stream(job.seeds[1], SCANNER, number)) for number, name in enumerate(DOMAINS)}
    scanner = job.pair.scanner(scanners[job.domain], scanners[SOURCE])
    if job.varied:
        scanner = varied_scanner(scanner, Stream(job.seeds[1], SCANNER, FIRST_VARIED + job.index))
    return scanner, Stream(job.seeds[2], REALISATION, job.index)
