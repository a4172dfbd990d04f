"""All steps from end to end: phantom, training, prediction, evaluation, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

from medgen.baselines.scoring import score_baselines
from medgen.cases import read_cases
from medgen.errors import MedgenError, UsageError
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.inference.cohort import predict
from medgen.phantom import make_head_phantom
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import Recipe, load_recipe
from medgen.report import write_report
from medgen.run.experiment import prepare, train
from medgen.types import Progress

RECIPE: dict[str, Any] = {
    "method": "context_aware_gan",
    "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
    "preparation": {"spacing": None},
    "schedule": {"steps": 2000, "validate_every": 1000, "save_every": 1000},
}
"""The defaults of the method, with few steps: two CPU cores then need minutes."""


class Demo(NamedTuple):
    """Results of the demo."""

    report: Path
    scores: dict[str, Scores]


def run_demo(
    out: str | Path = "demo",
    *,
    subjects: int = 8,
    spacing: float = 3.0,
    seed: int = 0,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Demo:
    """Make a head phantom, train the context-aware GAN on it, and report how well it predicts CT from MR.

    Args:
        out: a new folder, for ``data/``, ``run/``, ``predictions/``, ``baselines/``, ``scores/``, ``report.html``.
        subjects: number of virtual patients.
        spacing: voxel size of the phantom in mm.
        seed: random seed of the phantom and of the training.
        overrides: ``key=value`` changes to :data:`RECIPE`.
        progress: called with (done, total, what).

    Returns:
        The report, and the scores of the baselines and the GAN.

    Raises:
        UsageError: the folder exists and is not empty, or a change to the recipe is wrong; then nothing is left.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UsageError("the folder is not empty", where=out, fix="remove it, or choose another folder with --out")
    recipe = _recipe(seed, overrides)
    table = make_head_phantom(out / "data", subjects=subjects, seed=seed, spacing=spacing, progress=progress)
    try:
        run = train(recipe, table, out / "run", device="cpu", progress=progress)
    except MedgenError as error:
        if not (out / "run").exists():  # refused for what only the cases tell: the next call begins anew
            rmtree(out / "data")
        error.where = error.where or _place(overrides)
        raise
    store = prepare(recipe, table, out / "run" / "store")
    training = store.select(split="train")
    cases = read_cases(table).select(split="test")
    scores = score_baselines(training, store.preparation, cases, table, out, seed=seed, progress=progress)
    predictions = predict(run, table, out / "predictions", device="cpu", split="test", progress=progress)
    scores["context_aware_gan"] = evaluate_synthesis(predictions, table)
    scores["context_aware_gan"].write(out / "scores" / "context_aware_gan.json")
    return Demo(write_report(out, out / "report.html", progress=progress), scores)


def _recipe(seed: int, overrides: Sequence[str]) -> Recipe:
    """The recipe with its changes, checked before any work."""
    try:
        recipe = load_recipe({**RECIPE, "seed": seed}, overrides)
    except UsageError as error:
        error.where = error.where or _place(overrides)
        raise
    check_recipe(recipe, where=_place(overrides))
    return recipe


def _place(overrides: Sequence[str]) -> str:
    """Where a key of the recipe is wrong, which stands in no file."""
    changes = "".join(f" --set {each}" for each in overrides)
    return f"the recipe of the demo{' with' * bool(changes)}{changes}"
