"""A finished run, as far as its baselines need it: its training cases, and how they were prepared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from medgen.cases import listed
from medgen.config import build
from medgen.errors import ModelError, UsageError
from medgen.preparation import Preparation, StoredCase
from medgen.preparation.store import CASES, open_learnt
from medgen.preparation.task import TASKS, Task
from medgen.recipe.prediction import InferenceConfig
from medgen.training.model_folder import read_model

VERSION = 1
"""Raise it whenever the same training cases would give another baseline; what is kept is then fitted anew."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run without its network.

    Attributes:
        folder: where it is.
        task: what it makes.
        preparation: of its store.
        settings: how its label maps and lesions are made.
        classes: names of its classes, without the background.
        values: by class its values in the label maps; empty where the recipe groups none.
        training: its training cases that have the truth.
        learnt: names of its training and validation cases.
        seed: of its recipe.
        weights: SHA-256 of its weights.
    """

    folder: Path
    task: Task
    preparation: Preparation
    settings: InferenceConfig
    classes: tuple[str, ...]
    values: dict[str, list[int]]
    training: tuple[StoredCase, ...]
    learnt: frozenset[str]
    seed: int
    weights: str

    def made_from(self, name: str, settings: str) -> str:
        """A hash over all that a baseline depends on.

        Args:
            name: of the baseline.
            settings: of its fit.
        """
        cases = sorted((case.name, case.folder.parent.name) for case in self.training)
        content = [VERSION, name, settings, self.task.name, self.classes, self.seed, cases]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_run(run: str | Path, store: str | Path | None = None) -> TrainedRun:
    """Read a finished run.

    Args:
        run: the run folder.
        store: folder of its prepared cases; by default ``store`` in the run.

    Raises:
        ModelError: there is no finished run, or its ``model.json`` is damaged.
        UsageError: the run has no record of its training cases, or the store lacks some of them.
    """
    folder = Path(run)
    content = read_model(folder)
    folder = folder.parent if folder.name == "model" and not (folder / "model").is_dir() else folder
    try:
        preparation = Preparation.from_dict(content["preparation"])
        settings = build(InferenceConfig, content["inference"])
        recipe, task = content["recipe"], TASKS[content.get("task", "synthesis")]
        seed, values = int(recipe.get("seed", 0)), recipe["data"].get("classes") or {}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"model.json lacks or garbles {error}", where=folder / "model", fix="copy the run again"
        ) from None
    learnt = _learnt(folder, Path(store) if store else folder / "store")
    return TrainedRun(
        folder,
        task,
        preparation,
        settings,
        tuple(str(name) for name in content.get("classes") or ()),
        {str(name): list(each) for name, each in values.items()},
        task.scored([case for case in learnt if case.split == "train"]),
        frozenset(case.name for case in learnt),
        seed,
        str(content["weights_sha256"]),
    )


def _learnt(run: Path, store: Path) -> tuple[StoredCase, ...]:
    record = run / CASES
    if not record.is_file():
        raise UsageError(
            "the run has no record of its training cases, as earlier versions kept none",
            where=run,
            fix="run 'medgen train ... --resume' on it once, which writes the record and trains nothing anew",
        )
    learnt, lacking = open_learnt(record, store)
    if lacking:
        raise UsageError(
            f"the prepared images of {len(lacking)} of {len(lacking) + len(learnt)} cases of the run are not here: "
            f"{listed(lacking)}",
            where=store,
            fix="name the folder that 'medgen train --store' wrote with --store, or run 'medgen train ... --resume', "
            "which prepares them again",
        )
    return learnt
