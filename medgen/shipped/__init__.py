"""Trained models that come with medgen: a name stands for the folder of such a run.

Each is a folder of this package with ``model.json``, ``weights.safetensors`` (in half precision, or kernels in eight
bits a number), ``scores.json`` (what its card says, no case) and ``CARD.md``, made by ``pipelines/shipped/ship.py``
from phantoms alone, and every result says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medgen.errors import UsageError

WEIGHTS = "weights.safetensors"
_FOLDER = Path(__file__).parent
_OF_A_RUN = ("model.json", WEIGHTS, "model", "checkpoints", "recipe.yaml", "run.json")
"""A folder with one of these is a run, finished or not, or the folder of a model, whole or not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shipped:
    """A model of the package.

    Attributes:
        name: what commands take in place of a run folder.
        summary: what it reads and makes, and what it learnt from.
        reads: roles of its images.
        makes: role of its image, or names of its classes.
        megabytes: size of its weights.
        sha256: of its weights.
        folder: where it stands.
    """

    name: str
    summary: str
    reads: Sequence[str]
    makes: Sequence[str]
    megabytes: float
    sha256: str
    folder: str

    def as_dict(self) -> dict[str, Any]:
        """The attributes, for JSON."""
        return asdict(self)


def names() -> list[str]:
    """Names of the models, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{WEIGHTS}"))


def folder_of(run: str | Path) -> Path:
    """The folder of a shipped model where ``run`` is the name of one and no run of this name is here; else ``run``.

    Where a file or folder has the name of a shipped model, which of the two is taken is logged, once.

    >>> folder_of("a/run/of/mine").as_posix()
    'a/run/of/mine'
    """
    path = Path(run)
    if str(run) not in names():
        return path
    own = any((path / part).exists() for part in _OF_A_RUN)
    if path.exists():
        _told(str(run), path.absolute(), own=own)
    return path if own else _FOLDER / path


@lru_cache(maxsize=64)
def _told(name: str, place: Path, *, own: bool) -> None:
    """Say which model is meant; the place is one of what it is said of, and not repeated."""
    if own:
        log.info("'%s' is the run in this folder; it hides the model of this name that comes with medgen", name)
    else:
        log.info("'%s' here holds no model; it is the model of this name that comes with medgen", name)


def available() -> list[Shipped]:
    """What is known of each model, from its ``model.json``."""
    return [_described(_FOLDER / name) for name in names()]


def require_own(run: str | Path) -> None:
    """Refuse to write beside a shipped model.

    Raises:
        UsageError: the name is that of one.
    """
    folder = folder_of(run)
    if folder != Path(run):
        raise UsageError(
            f"{run} comes with medgen and is not changed",
            fix=f"copy {folder} to a folder of your own, and name that",
        )


def _described(folder: Path) -> Shipped:
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    roles = content["preparation"]["roles"]
    makes = content.get("classes") or [roles["target"]]
    size = (folder / WEIGHTS).stat().st_size / 1e6
    return Shipped(
        folder.name, content["summary"], roles["inputs"], makes, round(size, 1), content["weights_sha256"], str(folder)
    )
