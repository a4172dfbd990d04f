"""Trained once, tested twice: the runs of another benchmark whose training was the same.

Two target scanners may share one source. What learns from the source alone is then the same network in both benchmarks.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from medgen import __version__
from medgen.benchmark.runs import FACTS, SCORES, Run, read_facts
from medgen.errors import UsageError
from medgen.files import PARTIAL, write_json

REUSED = "reused.json"
"""In the folder of a run whose model was taken over: from where."""
_FRESH = {FACTS, "predictions", "checkpoints", "worker.log", *SCORES.values()}
"""What a run does not take over."""

log = logging.getLogger(__name__)


def reuse_trainings(runs: Sequence[Run], others: Sequence[Path]) -> None:
    """Copy the models that ``runs`` would train, where another benchmark has trained them: same recipe, cases, version.

    Where the code changed under one version, only the user knows whether a model of before may serve.

    Args:
        runs: those that have begun already are left as they are.
        others: folders of other benchmarks.

    Raises:
        UsageError: a folder holds no benchmark.
    """
    for other in others:
        if not (other / "runs").is_dir():
            raise UsageError("there is no benchmark to reuse", where=other, fix="name the --out of a benchmark")
    for run in runs:
        if run.start is not None or run.folder.exists():
            continue
        for other in others:
            folder = other / "runs" / run.regime.name / run.folder.name
            if _same_version(folder / "run.json") and run.trained_as(read_facts(folder)):
                unfinished = run.folder.with_name(PARTIAL + run.folder.name)
                shutil.rmtree(unfinished, ignore_errors=True)
                shutil.copytree(folder, unfinished, ignore=lambda _, names: _FRESH.intersection(names))
                write_json(unfinished / REUSED, {"from": os.path.relpath(folder, run.folder)})
                unfinished.rename(run.folder)
                log.info("%s: trained already in %s", run.name, folder)
                break


def _same_version(manifest: Path) -> bool:
    """Whether a run ended, with this version of medgen."""
    return manifest.is_file() and json.loads(manifest.read_text())["medgen"] == __version__
