"""The rows of the phantom study: what each one trains, and the jobs that make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medgen.baselines.scoring import score_baselines
from medgen.cases import read_cases
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.inference.cohort import predict_cohort
from medgen.inference.model import LoadedModel, load_model
from medgen.run.experiment import prepare, train

ROWS = {
    "constant": "one value (training median)",
    "voxelwise": "voxel-wise boosting",
    "fcn_mse": "FCN, MSE",
    "fcn_mse_gdl": "FCN, MSE + gradient difference",
    "gan": "+ adversary (stage 1)",
    "gan_context1": "+ 1 auto-context stage",
    "gan_context2": "+ 2 auto-context stages",
}
"""Key of each row and what the table calls it."""

NETWORKS: dict[str, dict[str, Any]] = {
    "fcn_mse": {"method": "supervised", "config": {"gradient_difference_weight": 0.0}},
    "fcn_mse_gdl": {"method": "supervised", "config": {}},
    "gan_only": {"method": "context_aware_gan", "config": {"reduction": "mean"}},
    "cascade": {"method": "context_aware_gan", "config": {"reduction": "mean", "stages": 3, "context_folds": 2}},
}
"""What is trained; ``gan_only`` is for tuning. The last three rows are the cascade cut after 1, 2 and 3 networks."""


@dataclass(frozen=True)
class Budget:
    """What every network of a study gets.

    Attributes:
        steps: optimiser steps of one network.
        width: factor on the published number of filters.
        batch: patches a step.
        learning_rate: of Adam, falling to 0 by a cosine.
        adversarial_weight: of the GAN rows; per-voxel means.
        precision: ``32`` or ``bf16``.
        device: as for ``medgen train``.
        workers: processes that cut patches.
    """

    steps: int = 300
    width: float = 0.5
    batch: int = 8
    learning_rate: float = 1e-3
    adversarial_weight: float = 1e-3
    precision: str = "bf16"
    device: str = "auto"
    workers: int = 0

    def recipe(self, network: str, seed: int) -> dict[str, Any]:
        """The recipe of one training run."""
        chosen = NETWORKS[network]
        config = {"preset": "code", "width": self.width, "learning_rate": self.learning_rate, **chosen["config"]}
        if chosen["method"] == "context_aware_gan":
            config["adversarial_weight"] = self.adversarial_weight
        return {
            "method": chosen["method"],
            "config": config,
            "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
            "preparation": {"spacing": None, "bias_correction": "none"},
            "patches": {"size": [32, 32, 32], "augmentation": {"flip": ["x"]}},
            "schedule": {
                "steps": self.steps,
                "batch": self.batch,
                "precision": self.precision,
                "learning_rate": {"kind": "cosine"},
                "averaging": 0.99,
                "validate_every": self.steps,
                "save_every": max(1, self.steps // 2),
                "workers": self.workers,
            },
            "seed": seed,
        }


@dataclass(frozen=True)
class Job:
    """One training run and its scores; a job whose scores are there is not done again.

    Attributes:
        network: a key of :data:`NETWORKS`, or ``baselines``.
        seed: of the training.
        data: folder of the phantom.
        out: folder of this phantom's results.
        budget: of each network.
    """

    network: str
    seed: int
    data: Path
    out: Path
    budget: Budget

    @property
    def rows(self) -> tuple[str, ...]:
        """Rows of the table that this job fills."""
        if self.network == "baselines":
            return ("constant", "voxelwise")
        stages = {"gan_only": ("gan",), "cascade": ("gan", "gan_context1", "gan_context2")}
        return stages.get(self.network, (self.network,))

    @property
    def done(self) -> bool:
        """Whether all its scores are there."""
        return all(self.scores(row).is_file() for row in self.rows)

    def scores(self, row: str) -> Path:
        """Where the scores of a row go."""
        return self.out / f"seed{self.seed}" / "scores" / f"{row}.json"

    def run(self) -> None:
        """Train, predict the test subjects, evaluate."""
        table, folder = self.data / "cases.csv", self.out / f"seed{self.seed}"
        recipe = self.budget.recipe("fcn_mse" if self.network == "baselines" else self.network, self.seed)
        store = self.out / "store"
        if self.network == "baselines":
            prepared = prepare(recipe, table, store)
            training = prepared.select(split="train")
            test = read_cases(table).select(split="test")
            score_baselines(training, prepared.preparation, test, table, folder, seed=self.seed)
            return
        run = folder / self.network
        train(recipe, table, run, resume=(run / "recipe.yaml").is_file(), device=self.budget.device, store=store)
        whole = load_model(run, device=self.budget.device)
        for count, row in enumerate(self.rows, start=1):
            kept = LoadedModel(whole.stages[:count], whole.description, whole.device)
            self._score(kept, row, table, folder).write(self.scores(row))

    def _score(self, model: LoadedModel, row: str, table: Path, folder: Path) -> Scores:
        predictions = folder / "predictions" / row
        test = read_cases(table).select(split="test")
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.budget.precision == "bf16"):
            predict_cohort(model, test, predictions, overwrite=True).require_complete()
        return evaluate_synthesis(predictions, table)
