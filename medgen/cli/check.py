"""``medgen check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from medgen.cases import CaseTable
    from medgen.checks import Described, Fault
    from medgen.config import Config
    from medgen.methods.base import Method
    from medgen.recipe.settings import Recipe


def check(
    cases: Path,
    /,
    *,
    recipe: Path | None = None,
    classes: Annotated[str | None, Parameter(metavar="NUMBERS")] = None,
) -> None:
    """Check a dataset before training, or describe any volume or folder.

    Of a case table, faults are: unreadable images, images of one case on
    different grids, NaN, wrong units, CT values that cannot be HU, a CT and an
    MR that are swapped, undeclared label values, one patient in two splits,
    and splits that leave nothing to validate on. Exit code 3 if there is an
    error.

    Of a volume, a DICOM folder or a folder of many, each volume is described:
    format, voxels, spacing in mm, orientation, range and unit of the values,
    what it looks like, and its faults. Nothing that names a patient is shown
    but the names of files and folders themselves.

    For example:

        medgen check cases.csv
        medgen check cases.csv --recipe recipe.yaml
        medgen check cases.csv --classes 1,2
        medgen check downloads

    Args:
        cases: the case table (.csv); or a volume, or a folder.
        recipe: check this recipe too, and of each case only the images that it needs, by its rules.
        classes: label values that may occur besides 0, such as 1,2; without --recipe in the column 'label'.
    """
    from dataclasses import asdict

    from medgen.cases import read_cases
    from medgen.checks import LABEL_ROLES, check_cases
    from medgen.cli.output import answer, say, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import InputError, UsageError

    if cases.suffix.lower() != ".csv":
        _describe(cases, recipe, classes)
        return
    table = read_cases(cases)
    options = _from_recipe(recipe) if recipe else {}
    if classes is not None:
        options["classes"] = _numbers(classes)
        if not (options["labels"] if recipe else set(LABEL_ROLES).intersection(table.roles)):
            reason = "the recipe names no 'data.labels'" if recipe else "the table has no column 'label'"
            raise UsageError(f"--classes needs label maps, but {reason}", where=recipe or cases, fix="omit --classes")
    start = options.pop("start", None)
    with progress_display() as progress:
        faults = check_cases(table, **options, progress=progress)
    if start:
        faults = (*start(table), *faults)
    answer([asdict(fault) for fault in faults])
    cases_seen = f"{len(table.cases)} case{'s' * (len(table.cases) != 1)}"
    if not faults:
        say(f"{cases_seen}, no fault found")
        return
    rows = [(fault.severity, fault.case, fault.role, fault.what, fault.fix) for fault in faults]
    show_table(("severity", "case", "role", "fault", "fix"), rows)
    errors = sum(fault.severity == "error" for fault in faults)
    if errors:
        found = f"{errors} error{'s' * (errors != 1)} in {cases_seen}"
        raise InputError(found, where=cases, fix="correct the faults in the table above and check again")


def _from_recipe(path: Path) -> dict[str, Any]:
    """Options of ``check_cases`` from the recipe, so that the check agrees with the preparation."""
    from medgen.preparation import Preparation
    from medgen.recipe.check import check_recipe
    from medgen.recipe.settings import load_recipe
    from medgen.sampling.streams import lacking

    recipe = load_recipe(path)
    wants: dict[str, Any] = {}
    if "." not in recipe.method:  # a method outside medgen is imported only by a command that has --allow-module
        recipe, kind, config = check_recipe(recipe, where=path)
        wants = {
            "lacking": lambda case: lacking(case, kind.batch_class, recipe.data),
            "start": lambda table: _start_faults(table, recipe, kind, config),
        }
    data, rules = recipe.data, Preparation(recipe.data, recipe.preparation)
    images = (*data.inputs, *([data.target] if data.target else []))
    return {
        "inputs": data.inputs,
        "target": data.target,
        "labels": data.labels,
        "mask": data.mask,
        "hounsfield": [role for role in images if rules.intensity(role).hounsfield],
        "resample_target": recipe.preparation.resample_target,
        "geometry": recipe.preparation.geometry,
        "allow_nan": recipe.preparation.nan != "error",
        **wants,
    }


def _start_faults(table: CaseTable, recipe: Recipe, kind: type[Method], config: Config) -> list[Fault]:
    """What would keep 'medgen train' from beginning, beside the images of single cases."""
    from medgen.checks import ALL, Fault
    from medgen.errors import MedgenError
    from medgen.run.start import chosen_cases, require_learnable

    try:
        require_learnable(chosen_cases(table, recipe.data, kind), recipe.data, kind, config)
    except MedgenError as error:
        return [Fault(ALL, "split", error.what, error.fix)]
    return []


def _describe(path: Path, recipe: Path | None, classes: str | None) -> None:
    """Show what a volume, or each in a folder, is."""
    from dataclasses import asdict

    from medgen.checks import describe
    from medgen.cli.output import answer, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import InputError, UsageError

    for option, value in (("--recipe", recipe), ("--classes", classes)):
        if value is not None:
            raise UsageError(f"{option} is for a case table", where=path, fix=f"give a .csv, or leave {option} out")
    with progress_display() as progress:
        found = describe(path, progress=progress)
    answer([asdict(each) for each in found])
    columns = ("volume", "format", "voxels", "mm", "axes", "values", "unit", "looks like", "faults and notes")
    show_table(columns, [_row(each) for each in found])
    faulty = sum(bool(each.faults) for each in found)
    if faulty:
        told = f"{faulty} of {len(found)} volumes cannot be used as they are"
        raise InputError(told, where=path, fix="see the table above; 'medgen fix --help' says what can be repaired")


def _row(each: Described) -> tuple[str, ...]:
    return (
        each.name,
        each.format,
        " x ".join(map(str, each.shape or ())),
        " x ".join(f"{step:.3g}" for step in each.spacing or ()),
        each.orientation,
        "" if each.low is None else f"{each.low:.4g} to {each.high:.4g}",
        each.unit,
        each.looks,
        "; ".join((*each.faults, *each.notes)),
    )


def _numbers(text: str) -> tuple[int, ...]:
    from medgen.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--classes must be whole numbers, got '{text}'", fix="write for example --classes 1,2")
    return tuple(int(part) for part in parts)
