"""Fitted baselines, kept in the folder of their run with the hash of what made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medgen.baselines.classifiers import BoostedClasses, ConstantClass
from medgen.baselines.regressors import ConstantBaseline
from medgen.baselines.scoring import TREES, Baseline, fit_baseline
from medgen.baselines.trained import TrainedRun
from medgen.errors import ModelError
from medgen.files import write_json
from medgen.inference.boosting import BoostedEstimator

FOLDER, RECORD = "baselines", "baseline.json"


def fitted(run: TrainedRun, name: str) -> tuple[Baseline, str]:
    """A baseline of a run, fitted on its training cases alone; kept in ``baselines/<name>`` of the run.

    Args:
        run: the finished run.
        name: of the baseline.

    Returns:
        The baseline, and the hash of what made it. One that is kept with another hash, or damaged, is fitted anew.

    Raises:
        InputError: the training cases have nothing to learn from.
        StorageError: the folder of the run cannot be written.
    """
    settings = TREES[name].model_dump_json() if name in TREES else ""
    digest, folder = run.made_from(name, settings), run.folder / FOLDER / name
    kept = _read(folder, digest)
    if kept is None:
        kept = fit_baseline(name, run.training, classes=len(run.classes), seed=run.seed)
        write_json(folder / RECORD, {"made_from": digest, **_keep(kept, folder)})  # last: it marks it as complete
    return kept, digest


def _keep(baseline: Baseline, folder: Path) -> dict[str, Any]:
    """Write the trees of a baseline; what its record says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(baseline, ConstantBaseline):
        return {"kind": "constant", "statistic": baseline.statistic, "value": baseline.value}
    if isinstance(baseline, ConstantClass):
        return {"kind": "class", "classes": baseline.classes, "chosen": baseline.chosen}
    if isinstance(baseline, BoostedEstimator):
        return {"kind": "trees", "sha256": baseline.save(folder)["sha256"]}
    assert isinstance(baseline, BoostedClasses)
    trees = []
    for number, each in enumerate(baseline.estimators, start=1):
        if each is not None:
            (folder / f"class{number}").mkdir(exist_ok=True)
        trees.append(each and each.save(folder / f"class{number}")["sha256"])
    return {"kind": "classes", "sha256": trees, "thresholds": baseline.thresholds}


def _read(folder: Path, digest: str) -> Baseline | None:
    """The baseline that is kept; None where there is none, another one, or a damaged one."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if content["made_from"] != digest:
            return None
        if content["kind"] == "constant":
            constant = ConstantBaseline(content["statistic"])
            constant.value = float(content["value"])
            return constant
        if content["kind"] == "class":
            return ConstantClass(int(content["classes"]), int(content["chosen"]))
        if content["kind"] == "trees":
            return BoostedEstimator.load(folder, content["sha256"])
        trees = [
            hashed and BoostedEstimator.load(folder / f"class{number}", hashed)
            for number, hashed in enumerate(content["sha256"], start=1)
        ]
        return BoostedClasses(tuple(trees), tuple(content["thresholds"]))
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return None
