"""``medgen check``."""

from __future__ import annotations

from pathlib import Path


def check(cases: Path, /, *, recipe: Path | None = None) -> None:
    """List every fault of a dataset, before time is spent on training.

    Looks for images that cannot be read, roles on different grids, NaN,
    wrong units, HU that are not HU, labels outside the declared set, and
    one patient in two splits. Exits 3 if there is an error.

    For example:

        medgen check cases.csv
        medgen check cases.csv --recipe recipe.yaml

    Args:
        cases: the case table.
        recipe: check only what this recipe uses, and that it is there.
    """
    from medgen.cases import read_cases
    from medgen.checks import check_cases
    from medgen.cli.output import say, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import InputError

    table = read_cases(cases)
    data = None
    if recipe is not None:
        from medgen.recipe import load_recipe

        data = load_recipe(recipe).data
    with progress_display() as progress:
        faults = check_cases(
            table,
            inputs=data.inputs if data else (),
            target=data.target if data else None,
            labels=data.labels if data else None,
            progress=progress,
        )
    if not faults:
        say(f"{len(table.cases)} cases, no fault found")
        return
    rows = [(fault.severity, fault.case, fault.role, fault.what, fault.fix) for fault in faults]
    show_table(("severity", "case", "role", "what", "do"), rows)
    errors = sum(fault.severity == "error" for fault in faults)
    if errors:
        raise InputError(f"{errors} errors in {len(table.cases)} cases", where=cases, fix="mend what the table names")
