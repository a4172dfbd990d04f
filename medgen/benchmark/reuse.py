"""Trained once, tested twice: the runs of another benchmark whose training was the same.

Two target scanners may share one source. What learns from the source alone is then the same network in both benchmarks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from medgen.benchmark.runs import FACTS, SCORES, Run, read_facts
from medgen.files import PARTIAL

_FRESH = {FACTS, "predictions", "checkpoints", "worker.log", *SCORES.values()}
"""What a run does not take over."""


def reuse_trainings(runs: Sequence[Run], others: Sequence[Path]) -> list[str]:
    """Copy the models that ``runs`` would train, where another benchmark has trained them: same recipe, same cases.

    Args:
        runs: those that have been trained already are left as they are.
        others: folders of other benchmarks.

    Returns:
        Names of the runs that need no training any more.
    """
    taken = []
    for run in runs:
        if run.start is not None or (run.folder / "recipe.yaml").exists():
            continue
        for other in others:
            folder = other / "runs" / run.regime.name / run.folder.name
            if (folder / "run.json").is_file() and run.trained_as(read_facts(folder)):
                unfinished = run.folder.with_name(PARTIAL + run.folder.name)
                shutil.rmtree(unfinished, ignore_errors=True)
                shutil.copytree(folder, unfinished, ignore=lambda _, names: _FRESH.intersection(names))
                unfinished.rename(run.folder)
                taken.append(run.name)
                break
    return taken
