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
from medgen.errors import InputError, ModelError, UsageError, content_errors
from medgen.files import PARTIAL, sha256, write_json
from medgen.training.model_folder import read_weights

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
        if run.folder.exists():
            continue
        for other in others:
            folder = other / "runs" / run.regime.name / run.folder.name
            if _serves(folder, run):
                unfinished = run.folder.with_name(PARTIAL + run.folder.name)
                shutil.rmtree(unfinished, ignore_errors=True)
                shutil.copytree(folder, unfinished, ignore=lambda _, names: _FRESH.intersection(names))
                write_json(unfinished / REUSED, {"from": os.path.relpath(folder, run.folder)})
                unfinished.rename(run.folder)
                log.info("%s: trained already in %s", run.name, folder)
                break


def _begins_with(run: Run) -> str | None:
    """Hash of the weights that a run begins with; None: it begins with none. Empty where they are not trained yet."""
    if run.start is None:
        return None
    weights = run.start.folder / "model" / "weights.safetensors"
    return sha256(weights) if weights.is_file() else ""


def _serves(folder: Path, run: Run) -> bool:
    """Whether the training of another benchmark ended, with this version, as ``run`` would, and its model is whole."""
    manifest = folder / "run.json"
    if not manifest.is_file():
        return False
    try:
        with content_errors("the record of the run is damaged", where=manifest, fix="train again"):
            record = json.loads(manifest.read_text())
            began = (record.get("init_from") or {}).get("weights_sha256")
            same = record["medgen"] == __version__ and began == _begins_with(run)
        if not (same and run.trained_as(read_facts(folder))):
            return False
        read_weights(folder)
    except (InputError, ModelError) as error:
        log.warning("%s is trained here: its run in %s cannot serve (%s)", run.name, folder, error.what)
        return False
    return True
