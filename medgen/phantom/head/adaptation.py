"""Two cohorts for domain adaptation: labelled lesions on one scanner, the same kind of patients on another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from medgen.cases import Case, write_cases
from medgen.cases.phantoms import MANIFEST, image_hashes
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.head.cohort import Job, make_all, require_spacing, write_factors
from medgen.phantom.head.pairs import PAIRS, Pair
from medgen.phantom.workers import require_free
from medgen.types import Progress, Split

_LARGEST = 999


@dataclass(frozen=True)
class _Group:
    """Cases of one domain and split; ``first`` numbers its people, so that no group shares one with another."""

    domain: str
    split: Split
    count: int
    first: int


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
    pair: str | Pair = "first",
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make a phantom for domain adaptation: skull-stripped heads with contusions in two protocols, one case table.

    The last contrast is a gradient echo (``ge``) in the source and a susceptibility-weighted image (``swi``) in the
    target; noise and bias field are stronger in the target. The blood that makes a lesion a contusion shows in that
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
    require_free(out, overwrite)
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
    made = make_all(list(jobs), workers, progress)
    sizes = {f"{group.domain}_{group.split}": group.count for group in groups}
    settings = {"anatomy": "head", "lesions": True, "stripped": True, "spacing": float(spacing), "cases": sizes}
    settings["pair"] = asdict(pair)
    seeds = {"subject": seed, "scanner": seed, "realisation": seed}
    hashes = image_hashes({job.name: made[job.index].images for job in jobs})
    write_json(out / MANIFEST, {**settings, "seeds": seeds, "images": hashes})
    cases = [Case(job.name, group.split, group.domain, made[job.index].images) for job, group in jobs.items()]
    write_factors(cases, [made[job.index] for job in jobs], out / "factors.csv")
    return write_cases(cases, out / "cases.csv")


def _groups(counts: tuple[int, ...]) -> list[_Group]:
    splits: tuple[Split, ...] = ("train", "val", "test")
    kinds = [(domain, split) for domain in ("source", "target") for split in splits]
    return [
        _Group(domain, split, count, 1000 * place)
        for place, ((domain, split), count) in enumerate(zip(kinds, counts, strict=True))
    ]
