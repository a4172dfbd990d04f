"""The rows of the phantom study: what each one trains, for how long, and the jobs that make them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medgen.baselines.scoring import score_baselines
from medgen.cases import read_cases
from medgen.errors import UsageError
from medgen.evaluation import evaluate_synthesis
from medgen.files import write_json
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.run.experiment import prepare, train

ROWS = {
    "constant": "one value (training median)",
    "voxelwise": "voxel-wise boosting",
    "neighbourhood": "neighbourhood boosting",
    "published": "context-aware GAN, released form",
    "unet": "half-resolution U-Net",
    "context": "+ voxel-wise context",
    "trees": "neighbourhood context instead",
    "gradient": "+ gradient difference",
    "gan": "+ adversary (the default)",
    "stage2": "+ second stage",
}
"""Key of each row and what the table calls it; each differs from the one before in one thing, from ``unet`` on."""
UNTRAINED = ("constant", "voxelwise", "neighbourhood")

_PLAIN = {"gradient_difference_weight": 0.0}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "published": ("context_aware_gan", {"preset": "code"}),
    "unet": ("supervised", {**_PLAIN, "context": "none"}),
    "context": ("supervised", {**_PLAIN, "context": "voxelwise"}),
    "trees": ("supervised", _PLAIN),
    "gradient": ("supervised", {}),
    "gan": ("context_aware_gan", {}),
    "stage2": ("context_aware_gan", {"stages": 2, "context_folds": 2}),
}
"""Method and config of each row that is trained."""
TRAINED = {"stage2": 4}
"""Networks that a row trains: both stages, and one for each inner fold. They share its time."""
CALIBRATION = 40
"""Steps from which the time of a step is taken."""


@dataclass(frozen=True)
class Budget:
    """What every row of a study gets.

    Attributes:
        minutes: of training by one core (or by the device), from which the number of steps follows.
        adversarial_weight: of the rows with an adversary; None: the default of the method.
        precision: ``auto``, ``32`` or ``bf16``.
        device: as for ``medgen train``.
    """

    minutes: float = 30.0
    adversarial_weight: float | None = None
    precision: str = "auto"
    device: str = "auto"

    def recipe(self, network: str, seed: int, steps: int) -> dict[str, Any]:
        """The recipe of one training run: the defaults of its method, but for what the row is about."""
        method, config = NETWORKS[network]
        if self.adversarial_weight is not None and network in ("gan", "stage2"):
            config = {**config, "adversarial_weight": self.adversarial_weight}
        schedule: dict[str, Any] = {"steps": steps, "validate_every": steps, "save_every": max(1, min(500, steps))}
        return {
            "method": method,
            "config": config,
            "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
            "preparation": {"spacing": None},
            "schedule": {**schedule, "precision": self.precision},
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
        return UNTRAINED if self.network == "baselines" else (self.network,)

    @property
    def done(self) -> bool:
        """Whether all its scores are there."""
        return all(self.scores(row).is_file() for row in self.rows)

    def scores(self, row: str) -> Path:
        """Where the scores of a row go."""
        return self.out / f"seed{self.seed}" / "scores" / f"{row}.json"

    def run(self) -> None:
        """Train, predict the test subjects, evaluate."""
        torch.set_num_threads(1)
        table, folder = self.data / "cases.csv", self.out / f"seed{self.seed}"
        if self.network == "baselines":
            prepared = self.prepared()
            test = read_cases(table).select(split="test")
            training = prepared.select(split="train")
            score_baselines(training, prepared.preparation, test, table, folder, seed=self.seed)
            return
        run, predictions = folder / self.network, folder / "predictions" / self.network
        recipe = self.budget.recipe(self.network, self.seed, self._steps())
        self._train(recipe, run)
        test = read_cases(table).select(split="test")
        model = load_model(run, device=self.budget.device)
        predict_cohort(model, test, predictions, overwrite=True).require_complete()
        evaluate_synthesis(predictions, table).write(self.scores(self.network))

    def prepared(self) -> Any:
        """The store, made where it is missing; it is the same for all rows."""
        return prepare(self.budget.recipe("gan", 0, 1), self.data / "cases.csv", self.out / "store")

    def _train(self, recipe: dict[str, Any], run: Path) -> None:
        resume = (run / "recipe.yaml").is_file()
        table, store = self.data / "cases.csv", self.out / "store"
        train(recipe, table, run, resume=resume, device=self.budget.device, store=store)

    def _steps(self) -> int:
        """Steps of each network in the time of the row, by a short run that is made once a study."""
        file = self.out / "calibration" / f"{self.network}.json"
        if not file.is_file():
            measured = {"stage2": "gan"}.get(self.network, self.network)
            run = file.with_name(f"{self.network}_seed{self.seed}")
            recipe = self.budget.recipe(measured, self.seed, CALIBRATION)
            resume = (run / "recipe.yaml").is_file()
            train(
                recipe, self.data / "cases.csv", run, resume=resume, device=self.budget.device, store=self.out / "store"
            )
            seconds = json.loads((run / "checkpoints" / "stage0" / "done.json").read_text())["seconds"] / CALIBRATION
            steps = max(1, round(60 * self.budget.minutes / seconds / TRAINED.get(self.network, 1)))
            write_json(file, {"seconds_a_step": seconds, "steps": steps, "budget": asdict(self.budget)})
        known = json.loads(file.read_text())
        if known["budget"] != asdict(self.budget):
            raise UsageError("the steps of this study were found for another budget", where=file, fix="use a new --out")
        return int(known["steps"])
