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
    """Reorient, resample and normalise a dataset into a reusable store.

    Optional: 'medgen train' does this itself. Do it beforehand to inspect
    the result, or so that no GPU has to wait for it.

    For example:

        medgen prepare recipe.yaml --cases cases.csv --store store

    Args:
        recipe: the YAML recipe; only its keys 'data' and 'preparation' are used.
        cases: the case table.
        store: output folder; cases already prepared from the same images and settings are kept.
        overrides: replace a key of the recipe, for example 'preparation.spacing=[1,1,1]'; repeatable.
        workers: number of parallel processes; by default the number of cores, but at most 4.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.run.experiment import prepare as prepare_cases

    with progress_display() as progress:
        prepare_cases(recipe, cases, store, overrides=overrides, workers=workers, progress=progress)
    say(str(store))
