"""Scores with baselines beside them, for ``medgen evaluate ... --baselines RUN``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgen.evaluation import Scores


def scores_of(
    task: str, predictions: Path, references: Path, *, baselines: Path | None, store: Path | None, **options: Any
) -> Scores:
    """Score predictions, with the baselines of a run beside them where one is named.

    Raises:
        UsageError: a store is named without a run.
    """
    from medgen.errors import UsageError

    if baselines is not None:
        from medgen.baselines.beside import evaluate_with_baselines

        return evaluate_with_baselines(task, predictions, references, baselines, store=store, **options)
    if store is not None:
        raise UsageError("--store is that of a run, and no run is named", fix="add --baselines RUN")
    from medgen.evaluation import evaluate

    score: Callable[..., Scores] = evaluate
    return score(task, predictions, references, **options)


def show_baselines(scores: Scores) -> None:
    """Show the differences from the baselines, and the sentence on them, where there are any."""
    if "baselines" not in scores.details:
        return
    from medgen.baselines.table import difference_table
    from medgen.cli.output import say, show_table

    heading, *rows = difference_table(scores)
    show_table(heading, rows, title="these predictions minus the baseline")
    if "verdict" in scores.details:
        say(scores.details["verdict"]["text"])
