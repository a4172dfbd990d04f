"""Files of scores that belong to a model: those of ``medgen evaluate`` in its folder or in that of its run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from medgen.errors import InputError
from medgen.evaluation.provenance import KEY

_NAMES = "scores*.json"

log = logging.getLogger(__name__)


def scores_of_weights(sha256: str, folder: Path, files: Sequence[Path] = ()) -> dict[str, Mapping[str, Any]]:
    """By the name of its file, ``task`` and ``summary`` of what was scored of these weights.

    A file that does not name the weights is taken at its word.

    Args:
        sha256: of the weights.
        folder: of the model.
        files: to read; by default those in ``folder``, or else those of its run. What lies beside a model folder that
            is in no run is of others.

    Raises:
        InputError: a file is none of scores, or one of ``files`` has those of other weights.
    """
    found = {}
    for file in files or scores_in(folder) or (scores_in(folder.parent) if folder.name == "model" else []):
        scores, weights = _read(file)
        if {*weights} <= {sha256}:
            found[file.name] = scores
        elif files:
            raise InputError("these are scores of other weights", where=file, fix="score predictions of this model")
        else:
            log.warning("%s has scores of other weights and is left out of the card: score this model again", file)
    return found


def scores_in(folder: Path) -> list[Path]:
    """Files that are found without being named."""
    return sorted(folder.glob(_NAMES))


def found_name(name: str) -> str:
    """The name of a file, or one by which it is found."""
    return name if fnmatch(name, _NAMES) else f"scores_{Path(name).stem}.json"


def _read(path: Path) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Task and means, and hashes of the weights whose predictions were scored, where the file has them."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content.get("summary"), dict) or "task" not in content:
            raise ValueError("no summary")
        if not all({"mean", "n"} <= each.keys() for each in content["summary"].values()):
            raise ValueError("no means")
        weights = [str(each) for each in content.get("settings", {}).get(KEY, {}).get("weights_sha256", ())]
    except FileNotFoundError:
        raise InputError("there is no such file of scores", where=path, fix="check the name") from None
    except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InputError("this is no file of scores", where=path, fix="give one of 'medgen evaluate'") from error
    return {"task": content["task"], "summary": content["summary"]}, weights
