"""``medgen check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def check(
    cases: Path,
    /,
    *,
    recipe: Path | None = None,
    classes: Annotated[str | None, Parameter(metavar="NUMBERS")] = None,
) -> None:
    """Check a dataset before training and list every fault.

    Faults are: unreadable images, images of one case on different grids,
    NaN, wrong units, CT values that cannot be HU, undeclared label values,
    and one patient in two splits. Exit code 3 if there is an error.

    For example:

        medgen check cases.csv
        medgen check cases.csv --recipe recipe.yaml
        medgen check cases.csv --classes 1,2

    Args:
        cases: the case table.
        recipe: check this recipe too, and of each case only the images that it needs, by its rules.
        classes: label values that may occur besides 0, such as 1,2; without --recipe in the column 'label'.
    """
    from medgen.cases import read_cases
    from medgen.checks import LABEL_ROLES, check_cases
    from medgen.cli.output import say, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import InputError, UsageError

    table = read_cases(cases)
    options = _from_recipe(recipe) if recipe else {}
    if classes is not None:
        options["classes"] = _numbers(classes)
        if not (options["labels"] if recipe else set(LABEL_ROLES).intersection(table.roles)):
            reason = "the recipe names no 'data.labels'" if recipe else "the table has no column 'label'"
            raise UsageError(f"--classes needs label maps, but {reason}", where=recipe or cases, fix="omit --classes")
    with progress_display() as progress:
        faults = check_cases(table, **options, progress=progress)
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
        recipe, kind, _ = check_recipe(recipe, where=path)
        wants = {"lacking": lambda case: lacking(case, kind.batch_class, recipe.data)}
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


def _numbers(text: str) -> tuple[int, ...]:
    from medgen.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--classes must be whole numbers, got '{text}'", fix="write for example --classes 1,2")
    return tuple(int(part) for part in parts)
