"""A cohort of virtual heads on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medgen.cases import DOMAINS, SPLITS, Case, write_cases
from medgen.cases.phantoms import MANIFEST, image_hashes
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.head.cohort import Job, make_all, require_spacing, write_factors
from medgen.phantom.workers import require_free, require_making
from medgen.types import Progress, Split


def make_head_phantom(
    out: str | Path,
    *,
    subjects: int,
    seed: int = 0,
    domain: str = "source",
    spacing: float = 2.0,
    misalignment: float = 0.0,
    lesions: bool = False,
    stripped: bool = False,
    varied: bool = False,
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
        lesions: give every subject contusions, with their ``label`` (uint8, 1 where contusion takes more than half of
            the voxel), and unlabelled white-matter hyperintensities, old infarcts, veins and microbleeds.
        stripped: the mask is the brain, and outside it MR is 0 and CT -1024.
        varied: every patient lies in another MR scanner, with contrast, noise, bias and sharpness drawn at random
            (:mod:`medgen.phantom.head.varied`): training data for a model that must read foreign images.
        splits: numbers of training, validation and test cases; by default about 60, 15 and 25 %.
        scanner_seed: chooses gain, noise level and bias strength of the scanner, and varied ones; by default ``seed``.
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
    first, second, third = (seed if other is None else other for other in (seed, scanner_seed, realisation_seed))
    require_making([first, second, third], workers)
    counts = _check(out, subjects, domain, spacing, misalignment, splits, overwrite)
    names: list[Split] = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    prefix = "head" if domain == "source" else f"head_{domain}"
    jobs = [
        Job(
            out=out,
            name=f"{prefix}_{index:03d}",
            index=index,
            domain=domain,
            spacing=float(spacing),
            misalignment=0.0 if split == "test" else float(misalignment),
            seeds=(first, second, third),
            overwrite=overwrite,
            lesions=lesions,
            stripped=stripped,
            varied=varied,
        )
        for index, split in enumerate(names)
    ]
    made = make_all(jobs, workers, progress)
    settings: dict[str, Any] = {"subjects": subjects, "domain": domain}
    settings |= {"spacing": float(spacing), "misalignment": float(misalignment)}
    chosen_by_name = (("lesions", lesions), ("stripped", stripped), ("varied", varied))
    # Written only where chosen, so that the files of a plain phantom stay what they were.
    settings |= {name: True for name, chosen in chosen_by_name if chosen}
    seeds = {"subject": first, "scanner": second, "realisation": third}
    hashes = image_hashes({job.name: each.images for job, each in zip(jobs, made, strict=True)})
    write_json(out / MANIFEST, {"anatomy": "head", **settings, "seeds": seeds, "images": hashes})
    cases = [Case(job.name, names[job.index], domain, each.images) for job, each in zip(jobs, made, strict=True)]
    write_factors(cases, made, out / "factors.csv")
    return write_cases(cases, out / "cases.csv")


def split_counts(subjects: int, splits: Sequence[int] | None) -> tuple[int, int, int]:
    """Numbers of training, validation and test subjects: ``splits``, or the default ones.

    Raises:
        UsageError: there are not 1 to 999 subjects, or the splits do not add up to them.
    """
    if not 1 <= subjects <= 999:
        raise UsageError(f"{subjects} subjects were asked for", fix="ask for 1 to 999")
    counts = default_splits(subjects) if splits is None else tuple(splits)
    if len(counts) != 3 or min(counts) < 0 or sum(counts) != subjects:
        raise UsageError(
            f"the splits {list(counts)} do not divide {subjects} subjects",
            fix="give three numbers (train, val, test) that add up to the subjects",
        )
    return counts[0], counts[1], counts[2]


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
    if domain not in DOMAINS:
        raise UsageError(f"there is no domain '{domain}'", fix=f"choose one of {', '.join(DOMAINS)}")
    require_spacing(spacing)
    if not 0 <= misalignment <= 20:
        raise UsageError(f"the misalignment is {misalignment} mm", fix="choose 0 to 20 mm")
    counts = split_counts(subjects, splits)
    require_free(out, overwrite)
    return counts
