"""Saving and loading: atomic, hashed, and never able to run code."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from medgen.errors import ModelError, StorageError
from medgen.files import atomic_path, sha256, write_json

KEPT = 2
"""Checkpoints of a run that stay on disk: the newest, and one to fall back on."""

log = logging.getLogger(__name__)


class _Entry(BaseModel):
    """A complete checkpoint in ``index.json``."""

    file: str
    step: int
    sha256: str


_ENTRIES = TypeAdapter(list[_Entry])


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Add a checkpoint; the older ones beyond the last two are removed when it is complete.

    Args:
        folder: of one part of a run; ``index.json`` in it lists the complete checkpoints with their hashes.
        step: steps that are done.
        state: tensors, and plain Python values in dicts and lists.

    Raises:
        StorageError: no space or no permission. What was there before is intact.
    """
    path = folder / f"step-{step:08d}.pt"
    with atomic_path(path) as temporary:
        _save(dict(state), temporary, path)
        digest = sha256(temporary)
    before = [entry for entry in _index(folder) if entry.step < step]
    entries = [*before, _Entry(file=path.name, step=step, sha256=digest)][-KEPT:]
    write_json(folder / "index.json", [entry.model_dump() for entry in entries])
    for old in folder.glob("step-*.pt"):
        if old.name not in {entry.file for entry in entries}:
            old.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint whose hash is right, or None where there is none.

    A damaged one is reported and the one before it is used.

    Raises:
        ModelError: there are checkpoints, and all are damaged.
    """
    entries = _index(folder)
    for entry in reversed(entries):
        path = folder / entry.file
        if path.is_file() and sha256(path) == entry.sha256:
            state: dict[str, Any] = load_tensors(path)
            return state
        log.warning(
            "checkpoint %s is damaged (its sha256 is not the recorded one); trying the one before it",
            path.name,
        )
    if entries:
        raise ModelError("every checkpoint is damaged", where=folder, fix="start the run again in a new folder")
    return None


def load_tensors(path: Path) -> Any:
    """Read a file of tensors and plain values; a file that holds anything else is refused, not run.

    Raises:
        ModelError: the file is damaged, or holds pickled code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, and none of them is safe to go on from
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"not a file of weights that is safe to load: {reason}",
            where=path,
            fix="get the file from its source again",
        ) from None


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    with atomic_path(path) as temporary:
        try:
            save_file(dict(weights), temporary)
        except SafetensorError as error:  # it wraps the operating system's error and loses its number
            if "No space left" in str(error) or "StorageFull" in str(error):
                raise OSError(28, str(error)) from error
            raise


def load_weights(path: Path, *, digest: str | None = None) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        ModelError: missing, damaged, or not of the hash ``digest``.
    """
    if not path.is_file():
        raise ModelError("the weights are missing", where=path, fix="copy the whole model folder, or train again")
    if digest is not None and sha256(path) != digest:
        raise ModelError(
            "the weights are damaged: their sha256 is not the recorded one", where=path, fix="copy them again"
        )
    try:
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"the weights are damaged: {error}", where=path, fix="copy them again") from None
    return weights


def _index(folder: Path) -> list[_Entry]:
    path = folder / "index.json"
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except ValidationError:
        log.warning("%s of %s is damaged; no checkpoint there is known to be complete", path.name, folder.name)
        return []


def _save(state: dict[str, Any], temporary: Path, path: Path) -> None:
    try:
        torch.save(state, temporary)
    except RuntimeError as error:
        # torch loses the error number of a failed write: a full disk, or a full quota, which the free space does not
        # show, is "unexpected pos 704 vs 598".
        need = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
        free = shutil.disk_usage(path.parent).free
        if free >= need and "unexpected pos" not in str(error):
            raise
        raise StorageError(
            f"no space left on the disk: a checkpoint needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB free",
            where=path,
            fix="free some space and resume; the checkpoint before is intact",
        ) from error


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]
