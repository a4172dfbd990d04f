"""A cohort of virtual heads with tissue labels, each scanned several times with contrasts drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.cases import SPLITS, Case, write_cases
from medgen.cases.phantoms import MANIFEST, image_hashes
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.grid import field_of_view
from medgen.phantom.head.acquisition import scan_mr
from medgen.phantom.head.anatomy import build_head
from medgen.phantom.head.atrophy import Atrophy
from medgen.phantom.head.cohort import require_spacing
from medgen.phantom.head.contrasts import CLASSES, IMAGE, any_scanner, stripped_mask, tissue_labels
from medgen.phantom.head.healthy import split_counts
from medgen.phantom.head.lesions import draw_findings
from medgen.phantom.head.pathology import add_lesions
from medgen.phantom.head.template import Template, load_template
from medgen.phantom.head.tissues import subject_tissues
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.workers import require_free, require_making, side_by_side, write_images
from medgen.types import Progress, Split

FIRST_SCAN, PEOPLE = 1_000_000, 1000
"""Number of the scanner of person 0's first scan, which also numbers its noise; how many further the next scan is."""


@dataclass(frozen=True)
class Job:
    """Everything one worker needs to know about one person.

    Attributes:
        out: folder of the cohort.
        index: number of the person.
        scans: how many of this person.
        spacing: mm.
        seed: of the people, the scanners and the realisations.
        overwrite: replace files of the same names.
    """

    out: Path
    index: int
    scans: int
    spacing: float
    seed: int
    overwrite: bool


def make_tissue_phantom(
    out: str | Path,
    *,
    subjects: int,
    scans: int = 4,
    seed: int = 0,
    spacing: float = 1.5,
    splits: Sequence[int] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make virtual heads with tissue labels in scans of any contrast, with and without the skull.

    Three of five people have a shrunken brain (see :mod:`medgen.phantom.head.atrophy`). Half have lesions; a lesion
    has the label of the tissue that it lies in. For the ranges of contrast, resolution, noise and non-uniformity see
    :mod:`medgen.phantom.head.contrasts`.

    Args:
        out: folder to write: ``<case>/<case>_image.nii.gz`` (int16) and ``<case>_label.nii.gz`` (uint8: 0 around the
            head, 1 grey matter, 2 white matter, 3 fluid, 4 bone, 5 soft tissue, 6 air in the head); and ``cases.csv``,
            where the scans of one person have the same ``patient`` and split.
        subjects: how many people, 1 to 999.
        scans: of each person, 1 to 99.
        seed: chooses people, contrasts and noise.
        spacing: isotropic voxel in mm, 0.8 to 8.
        splits: numbers of training, validation and test people; by default about 60, 15 and 25 %.
        overwrite: replace files of the same names.
        workers: processes; by default one a core. The result does not depend on it.
        progress: called with (done, total, what).

    Returns:
        Path of ``cases.csv``.

    Raises:
        UsageError: an argument is out of range, or the folder holds a case table and ``overwrite`` is off.
        InputError: nilearn's MNI152 maps are missing.
        StorageError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    require_making([seed], workers)
    require_spacing(spacing)
    if not 1 <= scans <= 99:
        raise UsageError(f"{scans} scans of each subject were asked for", fix="ask for 1 to 99")
    counts = split_counts(subjects, splits)
    require_free(out, overwrite)
    names: list[Split] = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    jobs = [Job(out, index, scans, float(spacing), seed, overwrite) for index in range(subjects)]
    template = load_template(jobs[0].spacing)
    made = side_by_side(jobs, _make, workers, progress, start=_keep, arguments=(template,))
    cases = [
        Case(name, names[job.index], None, images, patient=_person(job))
        for job, each in zip(jobs, made, strict=True)
        for name, images in each.items()
    ]
    settings = {"anatomy": "head", "tissues": list(CLASSES), "subjects": subjects, "scans": scans}
    settings |= {"spacing": float(spacing), "seeds": {"subject": seed, "scanner": seed, "realisation": seed}}
    write_json(out / MANIFEST, {**settings, "images": image_hashes({case.name: case.images for case in cases})})
    return write_cases(cases, out / "cases.csv")


_template: Template | None = None


def _keep(template: Template) -> None:
    global _template
    _template = template


def _person(job: Job) -> str:
    return f"head_{job.index:03d}"


def _make(job: Job) -> dict[str, dict[str, Path]]:
    """Make and write all scans of one person."""
    assert _template is not None
    subject = Stream(job.seed, SUBJECT, job.index)
    healthy = build_head(_template, subject, field_of_view(job.spacing), Atrophy.draw(subject))
    tissues, labels = subject_tissues(subject), tissue_labels(healthy)
    anatomy = healthy
    if subject.generator("with lesions").random() < 0.5:
        anatomy, _ = add_lesions(healthy, draw_findings(_template, healthy.mapping, subject), subject)
    made = {}
    for number in range(job.scans):
        own = FIRST_SCAN + PEOPLE * number + job.index
        scanner, realisation = any_scanner(Stream(job.seed, SCANNER, own)), Stream(job.seed, REALISATION, own)
        image, label = scan_mr(anatomy, tissues, scanner, realisation, (IMAGE,))[IMAGE], labels.copy()
        generator = realisation.generator("skull")
        if generator.random() < 0.5:
            outside = ~stripped_mask(healthy, generator)
            image[outside] = 0
            label[outside | (label > _BRAIN)] = 0
        name, affine = f"{_person(job)}_{number:02d}", healthy.grid.affine
        made[name] = write_images(
            {IMAGE: (image, affine, "hu"), "label": (label, affine, "label")}, job.out / name, overwrite=job.overwrite
        )
    return made


_BRAIN = list(CLASSES).index("csf") + 1
"""Labels up to this one are left by skull stripping."""
