"""One run of a benchmark in its own process: train, predict the test cases, score them.

:mod:`medgen.benchmark.running` writes a description of the run into its folder and starts
``python -m medgen.benchmark.worker RUN``. The worker writes one JSON object per line to standard output: its progress,
or the error that ended it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medgen.benchmark.runs import FACTS, SCORES, TRAINING_TABLE, read_facts, test_table
from medgen.cases import read_cases
from medgen.errors import MedgenError
from medgen.evaluation import evaluate_segmentation
from medgen.files import write_json
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.experiment import train
from medgen.types import Progress

SECONDS_BETWEEN = 1.0


def execute(
    folder: Path,
    *,
    store: Path,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> None:
    """Start or continue the run described in ``folder``.

    Args:
        folder: folder with the files that :meth:`~medgen.benchmark.runs.Run.write` made.
        store: folder of prepared volumes, shared by all runs.
        device: as for ``train``.
        allow_modules: modules outside medgen that the recipe may name.
        progress: called with (done, total, what).
    """
    facts = read_facts(folder)
    recipe = load_recipe(facts["recipe"])
    if not (folder / "run.json").is_file():  # this file is written at the end of the training
        train(
            recipe,
            folder / TRAINING_TABLE,
            folder,
            resume=(folder / "recipe.yaml").is_file(),
            device=device,
            store=store,
            init_from=folder / facts["start"] if facts.get("start") else None,
            allow_modules=allow_modules,
            progress=progress,
        )
    seconds = {"training": json.loads((folder / "run.json").read_text())["training_seconds"]}
    for domain in facts["tested"]:
        began = time.monotonic()
        _score(folder, recipe, domain, device, allow_modules, progress)
        seconds[f"testing_{domain}"] = round(time.monotonic() - began, 1)
    write_json(folder / FACTS, {**facts, "seconds": seconds, "finished": True})


def _score(
    folder: Path, recipe: Recipe, domain: str, device: str, allow_modules: Sequence[str], progress: Progress | None
) -> None:
    """Predict and score the test cases of one domain; a case that cannot be predicted counts as failed."""
    table, predictions = folder / test_table(domain), folder / "predictions" / domain
    model = load_model(folder, device=device, allow_modules=allow_modules)
    predict_cohort(model, read_cases(table).cases, predictions, resume=True, progress=progress)
    scores = evaluate_segmentation(
        predictions, table, role=str(recipe.data.labels), classes=recipe.data.classes or None, progress=progress
    )
    scores.write(folder / SCORES[domain])


class _Lines:
    """Progress as lines of JSON, at most one per second."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self, done: int, total: int, what: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self._last = time.monotonic()
            say({"done": done, "total": total, "what": what})


def say(content: dict[str, Any]) -> None:
    """Write one line of JSON to the parent process."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one run and return an exit code, as ``medgen train`` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--allow-module", action="append", default=[])
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        execute(
            options.run,
            store=options.store,
            device=options.device,
            allow_modules=options.allow_module,
            progress=_Lines(),
        )
    except MedgenError as error:
        where = None if error.where is None else str(error.where)
        say({"error": {"what": error.what, "where": where, "fix": error.fix}})
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the parent process has ended; the next call continues from the saved state
        return 75
    except Exception as error:
        traceback.print_exc()  # into the log of the run
        say({"error": {"what": f"{type(error).__name__}: {error}", "where": None, "fix": ""}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
