"""The main job from end to end: phantom, training, prediction, evaluation, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from medgen.cases import read_cases
from medgen.comparison import score_baselines
from medgen.errors import UsageError
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.experiment import prepare, train
from medgen.inference.cohort import predict
from medgen.phantom import make_head_phantom
from medgen.report import write_report

Progress = Callable[[int, int, str], None]

RECIPE: dict[str, Any] = {
    "method": "context_aware_gan",
    # The network of the paper at a quarter of its width, so that two CPU cores need minutes and not days.
    "config": {"preset": "code", "width": 0.25, "stages": 2, "context_folds": 2, "learning_rate": 2e-3},
    "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
    "preparation": {"spacing": [3, 3, 3]},
    "patches": {"size": [32, 32, 32], "augmentation": {"flip": ["x"]}},
    "schedule": {
        "steps": 130,
        "batch": 4,
        "learning_rate": {"kind": "cosine"},
        "averaging": 0.95,
        "validate_every": 65,
        "save_every": 65,
    },
}


class Demo(NamedTuple):
    """What the demonstration made."""

    report: Path
    scores: dict[str, Scores]


def run_demo(out: str | Path = "demo", *, subjects: int = 8, seed: int = 0, progress: Progress | None = None) -> Demo:
    """Make a head phantom, train the context-aware GAN on it, and report how well it turns MR into CT.

    Args:
        out: a new folder; gets ``data/``, ``run/``, ``predictions/``, ``baselines/``, ``scores/``, ``report.html``.
        subjects: virtual patients.
        seed: of the phantom and of the training.
        progress: called with (done, total, what).

    Returns:
        The report and the scores of the constant, the voxel-wise baseline and the GAN.

    Raises:
        UsageError: the folder exists and is not empty.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UsageError("the folder is not empty", where=out, fix="remove it, or choose another with --out")
    table = make_head_phantom(out / "data", subjects=subjects, seed=seed, spacing=3.0, progress=progress)
    recipe = {**RECIPE, "seed": seed}
    run = train(recipe, table, out / "run", device="cpu", progress=progress)
    store = prepare(recipe, table, out / "run" / "store")
    training = [case for case in store.cases if case.split == "train"]
    cases = read_cases(table).select(split="test")
    scores = score_baselines(training, store.preparation, cases, table, out, seed=seed, progress=progress)
    predictions = predict(run, table, out / "predictions", device="cpu", split="test", progress=progress)
    scores["context_aware_gan"] = evaluate_synthesis(predictions, table)
    scores["context_aware_gan"].write(out / "scores" / "context_aware_gan.json")
    return Demo(write_report(out, out / "report.html", progress=progress), scores)
