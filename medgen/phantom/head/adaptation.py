"""Two cohorts for domain adaptation: labelled lesions on one scanner, the same kind of patients on another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medgen.cases import SOURCE, Case, write_cases
from medgen.cases.phantoms import MANIFEST, image_hashes
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.head.cohort import Job, Made, make_all, require_spacing, write_factors
from medgen.phantom.head.pairs import PAIRS, Pair
from medgen.phantom.workers import RANDOMISED_TABLE, require_free, require_making
from medgen.types import Progress, Split

RANDOMISED = "randomised"
"""Folder of the copies by scanners drawn at random, in that of the phantom."""
_LARGEST, _MOST_COPIES = 999, 100


@dataclass(frozen=True)
class _Group:
    """Cases of one domain and split; ``first`` numbers its people, so that no group shares one with another."""

    domain: str
    split: Split
    count: int
    first: int

    @property
    def copied(self) -> bool:
        """Whether its cases have copies by random scanners, if there are any."""
        return (self.domain, self.split) == (SOURCE, "train")


def make_adaptation_phantom(
    out: str | Path,
    *,
    source: int = 20,
    target: int = 20,
    test: int = 24,
    source_test: int = 12,
    validation: tuple[int, int] = (4, 4),
    seed: int = 0,
    spacing: float = 2.0,
    pair: str | Pair = "long_echo",
    randomised: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make a phantom for domain adaptation: skull-stripped heads with contusions in two protocols, one case table.

    The last contrast is a gradient echo (``ge``) in the source and a susceptibility-weighted image (``swi``) in the
    target. The blood that makes a lesion a contusion shows in that
    contrast; hyperintensities without blood, which carry no label, look the same in the others. Nobody is in two
    groups, and a larger group has the people of a smaller one and some more.

    Args:
        out: folder to write: ``<case>/<case>_<role>.nii.gz`` with the roles t1, t2, pd, flair, ge or swi (int16, 0
            outside the brain), label (uint8, 1 = contusion), mask (uint8, the brain); ``cases.csv``,
            ``factors.csv`` with what is known of each patient, and ``phantom.json``.
        source: training cases of the source.
        target: training cases of the target. Their labels are written for the comparison with a network trained on
            them; adaptation does not open them.
        test: test cases of the target.
        source_test: test cases of the source.
        validation: validation cases of source and target.
        seed: chooses people, scanners and noise.
        spacing: isotropic voxel in mm, 0.8 to 8.
        pair: which scanners and which disease; the name of one of :data:`~medgen.phantom.head.pairs.PAIRS`, or another.
        randomised: copies of each source training patient, 0 to 100, each by a scanner of which contrast, resolution,
            bias field and noise are drawn at random (:mod:`medgen.phantom.head.randomised`), for domain randomisation:
            the same anatomy, lesions and label, with ``ge`` or ``swi``. They are written to ``randomised/``, which is
            a phantom's folder without a table, and ``cases_randomised.csv`` is ``cases.csv`` with these copies in
            place of the source training cases. No other file changes by this.
        overwrite: replace files of the same names.
        workers: processes; by default one a core. The result does not depend on it. With more than one, a script
            must call this under ``if __name__ == "__main__":``, because processes are started afresh.
        progress: called with (done, total, what).

    Returns:
        Path of ``cases.csv``.

    Raises:
        UsageError: an argument is out of range, the folder holds a case table and ``overwrite`` is off, or it holds
            one of random copies and none are asked for.
        InputError: nilearn's MNI152 maps are missing.
        StorageError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    counts = (source, validation[0], source_test, target, validation[1], test)
    if min(counts) < 0 or max(counts) > _LARGEST or not sum(counts):
        raise UsageError(
            f"groups of {', '.join(map(str, counts))} cases were asked for", fix="ask for 0 to 999 of each"
        )
    if isinstance(pair, str):
        if pair not in PAIRS:
            raise UsageError(f"there is no pair of scanners '{pair}'", fix=f"choose one of {', '.join(PAIRS)}")
        pair = PAIRS[pair]
    require_spacing(spacing)
    require_making([seed], workers)
    require_free(out, overwrite)
    _require_copies(out, randomised, source, overwrite)
    groups = _groups(counts)
    jobs = {
        Job(
            out=out,
            name=f"{group.domain}_{group.split}_{number:03d}",
            index=group.first + number,
            domain=group.domain,
            spacing=float(spacing),
            misalignment=0.0,
            seeds=(seed, seed, seed),
            overwrite=overwrite,
            lesions=True,
            stripped=True,
            ct=False,
            pair=pair,
        ): group
        for group in groups
        for number in range(group.count)
    }
    copies = {copy: job for job, group in jobs.items() if group.copied for copy in _copies(job, randomised)}
    every = [*jobs, *copies]
    made = dict(zip(every, make_all(every, workers, progress), strict=True))
    cases = {job: Case(job.name, group.split, group.domain, made[job].images) for job, group in jobs.items()}
    sizes = {f"{group.domain}_{group.split}": group.count for group in groups}
    settings = {"anatomy": "head", "lesions": True, "stripped": True, "spacing": float(spacing), "cases": sizes}
    settings["pair"] = asdict(pair)
    settings["seeds"] = {"subject": seed, "scanner": seed, "realisation": seed}
    if copies:
        mine = {
            copy: replace(cases[job], name=copy.name, images=made[copy].images, patient=job.name)
            for copy, job in copies.items()
        }
        others = [case for job, case in cases.items() if not jobs[job].copied]
        _write_facts(mine, made, out / RANDOMISED, {**settings, "cases": {"source_train": len(mine)}})
        write_cases([*mine.values(), *others], out / RANDOMISED_TABLE)
    _write_facts(cases, made, out, settings)
    return write_cases(cases.values(), out / "cases.csv")


def _write_facts(
    cases: Mapping[Job, Case], made: Mapping[Job, Made], folder: Path, settings: dict[str, object]
) -> None:
    """Write the manifest and the factors of some cases."""
    hashes = image_hashes({case.name: case.images for case in cases.values()})
    write_json(folder / MANIFEST, {**settings, "images": hashes})
    write_factors(list(cases.values()), [made[job] for job in cases], folder / "factors.csv")


def _copies(job: Job, count: int) -> list[Job]:
    """The same person in ``count`` scanners drawn at random."""
    folder = job.out / RANDOMISED
    return [replace(job, out=folder, name=f"{job.name}_random_{copy:02d}", copy=copy) for copy in range(count)]


def _require_copies(out: Path, count: int, source: int, overwrite: bool) -> None:
    """Refuse a number of copies that cannot be made, and to leave copies of other people beside a new phantom."""
    if not 0 <= count <= _MOST_COPIES:
        raise UsageError(f"{count} random copies of each patient were asked for", fix=f"ask for 0 to {_MOST_COPIES}")
    if count and not source:
        raise UsageError("random copies were asked for, but no source training case", fix="ask for source cases too")
    if os.path.lexists(out / RANDOMISED_TABLE) and not (count and overwrite):
        raise UsageError(
            "the folder already holds a table of random copies",
            where=out / RANDOMISED_TABLE,
            fix="choose another folder, or --overwrite with --randomised",
        )


def _groups(counts: tuple[int, ...]) -> list[_Group]:
    splits: tuple[Split, ...] = ("train", "val", "test")
    kinds = [(domain, split) for domain in ("source", "target") for split in splits]
    return [
        _Group(domain, split, count, 1000 * place)
        for place, ((domain, split), count) in enumerate(zip(kinds, counts, strict=True))
    ]
