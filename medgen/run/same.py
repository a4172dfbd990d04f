"""Whether a run goes on with the recipe that it began with."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.files import PARTIAL, storage_errors, write_json
from medgen.inference.boosting import FILE as BOOSTED
from medgen.preparation.store import CASES
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.first_context import OUT_OF_FOLD, TREES
from medgen.run.origin import FILES as ORIGIN
from medgen.training.unfinished import FILE as DESCRIPTION

FREE_TO_CHANGE = {"workers", "tensorboard", "save_every", "snapshots"}
"""Keys of the schedule that may differ when a run is resumed: they do not change the result."""
_BEGAN = "checkpoints/recipe.json"
"""The recipe beside the weights that were trained with it; ``recipe.yaml`` is there to be read, and can be edited."""

log = logging.getLogger(__name__)


def require_unused(folder: Path) -> None:
    """Refuse to begin a run in a folder that holds one; one that ended before its first step is none.

    Raises:
        UsageError: there is a recipe, weights whose recipe was removed, another file that a run writes, or a link in
            the place of a folder of contexts.
    """
    _require_no_links(folder)
    files: tuple[str, ...] = ("run.json",)
    if not untrained(folder):
        files = ("recipe.yaml", "metrics.jsonl", CASES, "run.json")
        if (folder / "recipe.yaml").is_file():
            fix = "add --resume, or choose another"
            raise UsageError("there is a run in this folder already", where=folder, fix=fix)
        kept = [folder / name for name in ORIGIN]  # of a run that was killed before it kept its recipe
        for left in ("checkpoints", "contexts", "model"):
            if any(path not in kept for path in _whole(folder, f"{left}/*")):
                raise UsageError(
                    f"there is the folder '{left}' of a run without its recipe.yaml",
                    where=folder,
                    fix="put recipe.yaml back and add --resume, or choose another folder",
                )
    for name in files:
        if os.path.lexists(folder / name):
            raise UsageError("the run would replace this file", where=folder / name, fix="choose another folder")


def take_over(folder: Path) -> None:
    """Remove the boosted trees that a run fitted before it ended without a step, e.g. for lack of memory.

    They would else pass for those of the run that begins now, and are fitted in seconds. The run's record stays, until
    that of the new run replaces it, and so do prepared volumes.

    Raises:
        UsageError: see :func:`require_unused`.
        StorageError: a file cannot be removed.
    """
    require_unused(folder)
    estimates = (path for place in _estimates() for path in folder.glob(f"{place}/*.npy"))
    with storage_errors(folder):
        for path in (*estimates, *(folder / "checkpoints" / name / BOOSTED for name in TREES)):
            path.unlink(missing_ok=True)
        (folder / "checkpoints" / DESCRIPTION).unlink(missing_ok=True)


def untrained(folder: Path) -> bool:
    """Whether a run began here without a step of a network: no weights, no estimate, and no line of a step."""
    made = any(_whole(folder, files) for files in ("checkpoints/stage*/*", "contexts/stage*/*", "model/*"))
    log = folder / "metrics.jsonl"
    return (folder / _BEGAN).is_file() and not made and not (log.is_file() and log.stat().st_size)


def begins_anew(folder: Path, now: Recipe) -> bool:
    """Whether a run that is to be resumed begins anew: no step was trained, and it goes on with another recipe.

    Args:
        folder: the run, with its ``recipe.yaml``.
        now: the recipe to go on with.

    Raises:
        UsageError: as :func:`require_same_recipe`, if a step was trained; or if the two records of the recipe differ,
            because one was edited, or the run was killed between them and may lack what it was to start from.
    """
    if untrained(folder):
        read, kept = (_binding(load_recipe(folder / name)) for name in ("recipe.yaml", _BEGAN))
        changed = _changed(kept, _binding(now))
        if changed and not _changed(read, kept):
            log.warning("the run begins anew: no step was trained, and the recipe differs in: %s", ", ".join(changed))
            return True
    require_same_recipe(folder, now)
    return False


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
                fix="leave --resume out: no step was trained yet" if untrained(folder) else fix,
            )


def keep_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe beside the weights that will be trained with it."""
    write_json(folder / _BEGAN, recipe.model_dump(mode="json"))


def _whole(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern without those that a killed process was writing."""
    return [path for path in folder.glob(pattern) if not path.name.startswith(PARTIAL)]


def _estimates() -> list[str]:
    """The folders of the estimates of boosted trees."""
    return [f"contexts/{name}{end}" for name in TREES for end in ("", OUT_OF_FOLD)]


def _require_no_links(folder: Path) -> None:
    for name in ("contexts", *_estimates(), *(f"checkpoints/{name}" for name in TREES)):
        if (folder / name).is_symlink():
            fix = "remove the link, or choose another folder"
            raise UsageError("this is a link, and the run would write where it leads", where=folder / name, fix=fix)


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
