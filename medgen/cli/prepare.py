"""``medgen prepare``."""

from __future__ import annotations

from pathlib import Path

from medgen.cli.parameters import Overrides


def prepare(
    recipe: Path,
    /,
    *,
    cases: Path,
    store: Path,
    overrides: Overrides = (),
    workers: int | None = None,
) -> None:
    """Reorient, resample and normalise a dataset once, into a store.

    'medgen train' does this by itself; do it beforehand to look at the
    result, or to keep a GPU from waiting for it.

    For example:

        medgen prepare recipe.yaml --cases cases.csv --store store

    Args:
        recipe: the recipe whose 'data' and 'preparation' are used.
        cases: the case table.
        store: the folder to write; images that are already there with the same content are kept.
        overrides: replace a key of the recipe, for example 'preparation.spacing=[1,1,1]'; repeatable.
        workers: processes that work at once; by default one a core, at most 4.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.run.experiment import prepare as prepare_cases

    with progress_display() as progress:
        prepare_cases(recipe, cases, store, overrides=overrides, workers=workers, progress=progress)
    say(str(store))
