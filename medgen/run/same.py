"""Whether a run goes on with the recipe that it began with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.files import write_json
from medgen.preparation.store import CASES
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.first_context import TREES
from medgen.run.origin import FILES as ORIGIN
from medgen.training.unfinished import FILE as DESCRIPTION

FREE_TO_CHANGE = {"workers", "tensorboard", "save_every", "snapshots"}
"""Keys of the schedule that may differ when a run is resumed: they do not change the result."""
_BEGAN = "checkpoints/recipe.json"
"""The recipe beside the weights that were trained with it; ``recipe.yaml`` is there to be read, and can be edited."""


def require_unused(folder: Path) -> None:
    """Refuse to begin a run in a folder that holds one; one that ended before its first step is none.

    Raises:
        UsageError: there is a recipe, weights whose recipe was removed, or another file that a run writes.
    """
    if _untrained(folder):
        return
    if (folder / "recipe.yaml").is_file():
        raise UsageError("there is a run in this folder already", where=folder, fix="add --resume, or choose another")
    left = next((name for name in ("checkpoints", "contexts", "model") if any((folder / name).glob("*"))), None)
    if left is not None:
        raise UsageError(
            f"there is the folder '{left}' of a run without its recipe.yaml",
            where=folder,
            fix="put recipe.yaml back and add --resume, or choose another folder",
        )
    for name in ("metrics.jsonl", CASES, "run.json"):
        if (folder / name).exists():
            raise UsageError("the run would replace this file", where=folder / name, fix="choose another folder")


def forget_untrained(folder: Path) -> None:
    """Remove what a run that ended before its first step left behind, e.g. one whose recipe its method refused.

    Its recipe, cases, origin and boosted trees would else pass for those of the run that begins now. Trees are fitted
    in seconds, and prepared volumes stay.
    """
    if _untrained(folder):
        for trees in ("contexts", *(f"checkpoints/{name}" for name in TREES)):
            shutil.rmtree(folder / trees, ignore_errors=True)
        for name in ("recipe.yaml", CASES, f"checkpoints/{DESCRIPTION}", *ORIGIN, _BEGAN):  # the record comes last
            (folder / name).unlink(missing_ok=True)


def _untrained(folder: Path) -> bool:
    """Whether a run began here without a step of a network: no weights, no estimate, and no line of a step."""
    made = any(any(folder.glob(files)) for files in ("checkpoints/stage*/*", "contexts/stage*/*", "model/*"))
    log = folder / "metrics.jsonl"
    return (folder / _BEGAN).is_file() and not made and not (log.is_file() and log.stat().st_size)


def require_same_recipe(folder: Path, now: Recipe) -> None:
    """Refuse to go on with another recipe than that which a run began with.

    Args:
        folder: the run, with its ``recipe.yaml``.
        now: the recipe to go on with.

    Raises:
        UsageError: names the keys that differ.
    """
    for path in (folder / "recipe.yaml", folder / _BEGAN):
        if not path.is_file():  # a run of an earlier version has no second record
            continue
        changed = _changed(_binding(load_recipe(path)), _binding(now))
        if changed:
            fix = "resume with the same recipe and --set options, or start a new run in another folder"
            raise UsageError(
                f"the recipe differs from the run's in: {', '.join(changed)}",
                where=path,
                fix="leave --resume out: no step was trained yet" if _untrained(folder) else fix,
            )


def keep_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe beside the weights that will be trained with it."""
    write_json(folder / _BEGAN, recipe.model_dump(mode="json"))


def _binding(recipe: Recipe) -> dict[str, Any]:
    """The recipe without what may change."""
    values = recipe.model_dump(mode="json")
    values["schedule"] = {key: value for key, value in values["schedule"].items() if key not in FREE_TO_CHANGE}
    return values


def _changed(old: dict[str, Any], new: dict[str, Any], above: str = "") -> list[str]:
    """The keys that differ, each as far down as both sides are tables."""
    found = []
    for key in dict.fromkeys((*old, *new)):
        before, after = (json.loads(json.dumps(each.get(key))) for each in (old, new))
        if isinstance(before, dict) and isinstance(after, dict):
            found += _changed(before, after, f"{above}{key}.")
        elif before != after:
            found.append(f"{above}{key}")
    return found
