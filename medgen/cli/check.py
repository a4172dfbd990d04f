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
    """List every fault of a dataset, before time is spent on training.

    Looks for images that cannot be read, roles on different grids, NaN,
    wrong units, HU that are not HU, labels outside the declared set, and
    one patient in two splits. Exits 3 if there is an error.

    For example:

        medgen check cases.csv
        medgen check cases.csv --recipe recipe.yaml
        medgen check cases.csv --classes 1,2

    Args:
        cases: the case table.
        recipe: check only what this recipe uses, by its rules, and that it is there; and the recipe itself.
        classes: numbers that may occur in the label map beside 0, such as 1,2; without a recipe that is 'label'.
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
            where = "the recipe names no 'data.labels'" if recipe else "the table has no column 'label'"
            raise UsageError(f"--classes is about a label map, and {where}", where=recipe or cases, fix="leave it out")
    with progress_display() as progress:
        faults = check_cases(table, **options, progress=progress)
    cases_seen = f"{len(table.cases)} case{'s' * (len(table.cases) != 1)}"
    if not faults:
        say(f"{cases_seen}, no fault found")
        return
    rows = [(fault.severity, fault.case, fault.role, fault.what, fault.fix) for fault in faults]
    show_table(("severity", "case", "role", "what", "do"), rows)
    errors = sum(fault.severity == "error" for fault in faults)
    if errors:
        found = f"{errors} error{'s' * (errors != 1)} in {cases_seen}"
        raise InputError(found, where=cases, fix="mend what the table names")


def _from_recipe(path: Path) -> dict[str, Any]:
    """What the recipe says about images, as ``check_cases`` wants it: the check must agree with the preparation."""
    from medgen.preparation import Preparation
    from medgen.recipe.check import check_recipe
    from medgen.recipe.settings import load_recipe

    recipe = load_recipe(path)
    if "." not in recipe.method:  # a module of the user's own is imported when it is trained and allowed, not before
        check_recipe(recipe, where=path)
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
    }


def _numbers(text: str) -> tuple[int, ...]:
    from medgen.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"the classes '{text}' are no whole numbers", fix="write e.g. --classes 1,2")
    return tuple(int(part) for part in parts)
