"""The rows of the study, and the job that makes one number of it: train, predict the test patients, score."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.cases import Case, read_cases, write_cases
from medgen.evaluation import evaluate_detection
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.run.experiment import train
from medgen.volume import read_volume

RECIPE = Path(__file__).with_name("recipe.yaml")
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "cross_entropy": ("cross-entropy", {"config.adversarial_weight": 0}),
    "dice": ("Dice + cross-entropy", {"config.adversarial_weight": 0, "config.dice_weight": 1}),
    "adversarial": ("adversary alone", {"config.adversarial_weight": 1}),
    "both": ("cross-entropy + adversary", {}),
}
"""Key of each row, what the table calls it, and how its recipe differs from recipe.yaml."""
SIZES = (8, 16, 32, 64)
"""Patients that a network learns from."""
TUMOUR = 3
"""Value of aggressive tumour in the role ``label``."""


@dataclass(frozen=True)
class Job:
    """One training run and its scores.

    Attributes:
        row: key of :data:`ROWS`.
        size: training patients.
        seed: of their choice and of the training.
        data: case table of the phantom.
        out: folder of the study.
        overrides: of the recipe, the same for every row.
        device: as for ``medgen train``.
    """

    row: str
    size: int
    seed: int
    data: Path
    out: Path
    overrides: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.out / "runs" / self.row / f"n{self.size}" / f"seed{self.seed}"

    @property
    def scores(self) -> Path:
        """Of the test patients; written last."""
        return self.folder / "scores.json"

    def run(self) -> None:
        """Train, predict, score; what a stopped run has done is kept."""
        torch.set_num_threads(1)
        table = self._table()
        changes = [f"{key}={value}" for key, value in ROWS[self.row][1].items()]
        run = train(
            RECIPE,
            table,
            self.folder / "run",
            overrides=[*self.overrides, *changes, f"seed={self.seed}"],
            resume=(self.folder / "run" / "recipe.yaml").is_file(),
            device=self.device,
            store=self.out / "store",
        )
        predictions = self.folder / "predictions"
        tested = read_cases(self.data).select(split="test")
        predict_cohort(load_model(run, device=self.device), tested, predictions, overwrite=True).require_complete()
        scores = evaluate_detection(predictions, self.data, split="test")
        if (self.size, self.seed) != (max(SIZES), 0):  # those are kept for the report and the picture of the misses
            shutil.rmtree(predictions)
        scores.write(self.scores)

    def _table(self) -> Path:
        """The training patients: the first of an order that the seed chooses, as many with a tumour as without."""
        table = read_cases(self.data)
        cases = table.select(split="train")
        generator = np.random.default_rng(self.seed)
        sick = [case for case in cases if _has_tumour(case)]
        well = [case for case in cases if case not in sick]
        if self.size > 2 * min(len(sick), len(well)):
            raise ValueError(
                f"there are too few for {self.size} patients: {len(sick)} with a tumour, {len(well)} without"
            )
        orders = [[group[number] for number in generator.permutation(len(group))] for group in (sick, well)]
        chosen = [case for pair in zip(*orders, strict=False) for case in pair][: self.size]
        return write_cases(chosen, self.folder / "cases.csv")


def _has_tumour(case: Case) -> bool:
    path = case.path("label")
    assert path is not None
    return bool((read_volume(path).data == TUMOUR).any())
