"""Finding the files to compare: the true image of each case and its prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Any

from medgen.cases import Case, listed, read_cases
from medgen.errors import InputError, PathError, UsageError
from medgen.files import sha256
from medgen.types import Domain, SplitOrAll
from medgen.volume import Grid, overlap, read_header, require_same_grid

SUFFIXES = (".nii.gz", ".nii", ".mha")


@dataclass(frozen=True)
class Reference:
    """The truth of one case.

    Args:
        case: name.
        truth: file of the true image.
        mask: file of the mask to score in, if there is one.
        patient: the patient, if the table names one; a patient can have several cases.
    """

    case: str
    truth: Path
    mask: Path | None
    patient: str | None = None


def find_references(
    path: Path, role: str, mask_role: str | None, split: SplitOrAll | None, domain: Domain | None = None
) -> tuple[list[Reference], dict[str, Any], list[str]]:
    """Find the cases to score.

    Args:
        path: ``cases.csv`` or a folder that holds it, a folder laid out like predictions, or one volume.
        role: role of the true image: its column in the table, or its name in the files.
        mask_role: role of the mask to score in; None means no mask.
        split: split of the table to score; by default ``test`` if it has cases, else all.
        domain: score only this domain; by default both.

    Returns:
        The cases, the settings to record, and notes.

    Raises:
        InputError: no case has a true image.
        UsageError: a split or domain is given, but the references are not a case table.
    """
    path = table_in(path)
    if path.suffix == ".csv":
        return _from_table(path, role, mask_role, split, domain)
    if wanted := next((f"{name} '{value}'" for name, value in (("split", split), ("domain", domain)) if value), ""):
        raise UsageError(
            f"the {wanted} can be chosen from a case table only", where=path, fix="give a cases.csv as the references"
        )
    if path.is_dir():
        names = _cases_in(path, role, mask_role)
        found = [
            Reference(
                name, _find_sure(path, name, role), _find(path, name, mask_role, bare=False) if mask_role else None
            )
            for name in names
        ]
    elif path.is_file():
        found = [Reference(stem_of(path).removesuffix(f"_{role}"), path, None)]
    else:
        found = []
    if not found:
        raise InputError(
            f"found no true {role} here", where=path, fix=f"give a cases.csv or a folder of <case>_{role}.nii.gz files"
        )
    return found, {"split": "all"}, []


def table_in(path: Path) -> Path:
    """The ``cases.csv`` in a folder if there is one; else the path itself."""
    return path / "cases.csv" if path.is_dir() and (path / "cases.csv").is_file() else path


def _from_table(
    path: Path, role: str, mask_role: str | None, split: SplitOrAll | None, domain: Domain | None
) -> tuple[list[Reference], dict[str, Any], list[str]]:
    table = read_cases(path)
    chosen: SplitOrAll = split or ("test" if table.select(split="test", domain=domain) else "all")
    cases = table.select(split=None if chosen == "all" else chosen, domain=domain)
    named = f"the split '{chosen}'{f' of the domain {domain!r}' if domain else ''}"
    notes = [] if split else [f"scored {named} of {path.name}"]
    if without := [case.name for case in cases if case.path(role) is None]:
        notes.append(f"not scored because of a missing reference '{role}': {listed(without)}")
    found = [
        Reference(case.name, truth, _mask(case, mask_role), case.patient)
        for case in cases
        if (truth := case.path(role))
    ]
    if not found:
        raise InputError(
            f"no case of {named} has an image of the role '{role}'",
            where=path,
            fix=f"choose another split or role; the table has the roles {', '.join(table.roles)}",
        )
    settings = {"split": chosen, "references": {"name": path.name, "sha256": sha256(path)}}
    return found, {**settings, **({"domain": domain} if domain else {})}, notes


def _mask(case: Case, role: str | None) -> Path | None:
    return case.path(role) if role else None


def find_predictions(place: Path, found: Sequence[Reference], role: str) -> dict[str, Path]:
    """Find the predicted file of each case; cases without a prediction are left out.

    Args:
        place: a folder with ``<case>/<case>_<role>.nii.gz``, ``<case>_<role>.nii.gz`` or ``<case>.nii.gz``; or one
            volume if there is one case.
        found: the cases.
        role: role of the predicted image.

    Raises:
        InputError: no case has a prediction.
        UsageError: one volume is given for several cases.
    """
    if place.is_file() and len(found) > 1:
        raise UsageError(
            f"this is one prediction, but there are {len(found)} cases",
            where=place,
            fix="give the folder of predictions",
        )
    paths = find_optional(place, found, role)
    if not paths:
        raise InputError(
            f"none of the {len(found)} cases has a prediction here",
            where=place,
            fix=f"give the folder that holds {found[0].case}/{found[0].case}_{role}.nii.gz",
        )
    return paths


def find_optional(place: Path, found: Sequence[Reference], role: str, *, bare: bool = True) -> dict[str, Path]:
    """Like :func:`find_predictions`, but the result may be empty.

    Args:
        place: as for :func:`find_predictions`.
        found: the cases.
        role: role of the predicted image.
        bare: whether a file named ``<case>.nii.gz`` counts.
    """
    return {item.case: path for item in found if (path := _find(place, item.case, role, bare=bare))}


def _cases_in(folder: Path, role: str, mask_role: str | None) -> list[str]:
    """Names of the cases in a folder; explicit layouts take precedence over ``<case>.nii.gz``."""
    nested = {path.name for path in folder.iterdir() if path.is_dir() and _find(folder, path.name, role)}
    stems = {stem_of(path) for path in folder.iterdir() if path.name.endswith(SUFFIXES)}
    named = without_maps({stem.removesuffix(f"_{role}") for stem in stems if stem.endswith(f"_{role}")})
    # x_sd beside x is the standard deviation that 'predict --uncertainty' writes.
    bare = {
        stem
        for stem in stems
        if not stem.endswith(f"_{mask_role}") and not (stem.endswith("_sd") and stem.removesuffix("_sd") in stems)
    }
    return sorted(nested | named or bare)


def without_maps(named: set[str], known: Collection[str] = ()) -> set[str]:
    """Names of cases without those that are maps of one class of another case.

    A class can have the name of the role: ``x_probability_skull`` beside ``x_skull`` is no prediction of a case
    ``x_probability``, but the probability of ``skull`` in ``x``.

    Args:
        named: what stands before the role in the names of the files.
        known: further names of cases.
    """
    maps = tuple(f"{case}_{kind}_" for case in {*named, *known} for kind in ("probability", "sd"))
    return {name for name in named if not f"{name}_".startswith(maps)}


def _find(place: Path, case: str, role: str, *, bare: bool = True) -> Path | None:
    """The file of a case in a folder, or ``place`` itself if it is a file."""
    if place.is_file():
        return place
    return next(candidates(place, case, role, bare=bare), None)


def candidates(folder: Path, case: str, role: str, *, bare: bool = True) -> Iterator[Path]:
    """The files of a case in a folder; the first is the one that counts."""
    stems = [f"{case}/{case}_{role}", f"{case}_{role}", *([case] if bare else [])]
    paths = (folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return (path for path in paths if path.is_file())


def _find_sure(folder: Path, case: str, role: str) -> Path:
    path = _find(folder, case, role)
    if path is None:
        raise InputError(
            f"the true {role} of case '{case}' was removed while scoring", where=folder, fix="run the command again"
        )
    return path


def stem_of(path: Path) -> str:
    """The name of a volume without its ending."""
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".mha")


def compare_grids(
    found: Sequence[Reference], paths: Mapping[str, Path], *, resample: bool | None = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Compare the grids of all cases before anything is computed.

    Args:
        found: the cases.
        paths: predictions, by case.
        resample: whether a prediction may be on another grid than its reference; None if no option can allow it.

    Returns:
        The reason for each case without a readable prediction; and the cases whose prediction must be resampled.

    Raises:
        UsageError: a prediction is the file of its own reference.
        InputError: a prediction is on another grid than its reference although ``resample`` is off, or does not
            overlap with it; a mask is on another grid; or a reference cannot be read.
    """
    broken: dict[str, str] = {}
    elsewhere: list[str] = []
    owners = Counter(paths.values())
    for item in found:
        truth = read_header(item.truth)
        if item.mask is not None:
            require_same_grid(read_header(item.mask), truth)
        if item.case not in paths:
            broken[item.case] = "there is no prediction"
            continue
        if owners[paths[item.case]] > 1:
            broken[item.case] = f"{paths[item.case].name} is the prediction of another case, too"
            continue
        if paths[item.case].samefile(item.truth):
            raise UsageError(
                f"the prediction of '{item.case}' is the file of its own reference",
                where=paths[item.case],
                fix="give the folder of the predictions, not that of the data",
            )
        try:
            header = read_header(paths[item.case])
        except (InputError, PathError) as error:
            broken[item.case] = error.what
            continue
        if not _on_one_grid(header, truth, resample=resample):
            elsewhere.append(item.case)
    return broken, tuple(elsewhere)


def copies(found: Sequence[Reference], paths: Mapping[str, Path]) -> list[str]:
    """A note on predictions that are byte for byte their reference; no method writes such a file."""
    same = [item.case for item in found if item.case in paths and cmp(paths[item.case], item.truth, shallow=False)]
    return [f"the prediction is a copy of its own reference, byte for byte: {listed(same)}"] if same else []


def _on_one_grid(prediction: Grid, truth: Grid, *, resample: bool | None) -> bool:
    """Whether a prediction is on the grid of its reference; raises if it is not and must be."""
    try:
        require_same_grid(prediction, truth)
    except (InputError, PathError) as error:
        if not (prediction.has_world_position and truth.has_world_position):
            raise
        if not resample:
            allowed = "" if resample is None else ", or resample it with --resample-to-reference"
            raise InputError(
                f"the prediction is on another grid, {_described(prediction)}, than its reference, "
                f"{_described(truth)}: {error.what}",
                where=error.where,
                fix=f"predict on the grid of the reference{allowed}",
            ) from error
        if overlap(truth, prediction) == 0:
            raise InputError(
                "the prediction does not overlap with its reference in space",
                where=error.where,
                fix="check that both are of the same patient and session",
            ) from error
        return False
    return True


def _described(grid: Grid) -> str:
    size, spacing = (" x ".join(f"{number:g}" for number in numbers) for numbers in (grid.shape, grid.spacing))
    return f"{size} voxels of {spacing} mm ({''.join(grid.axis_codes)})"
