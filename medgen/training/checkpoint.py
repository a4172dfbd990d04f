"""Saving and loading: atomic, hashed, and never able to run code."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils import get_total_norm

from medgen.errors import ModelError, StorageError
from medgen.files import atomic_path, sha256, write_json
from medgen.training.packed import unpacked

KEPT = 2
"""Checkpoints of a run that stay on disk: the newest, and one to fall back on."""

log = logging.getLogger(__name__)


class _Entry(BaseModel):
    """A complete checkpoint in ``index.json``."""

    file: str
    step: int
    sha256: str


_ENTRIES = TypeAdapter(list[_Entry])


@torch.no_grad()
def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The name of the first tensor with a number that is not finite; empty where all are finite.

    The norm of all is found without a copy. It is finite only where all numbers are; where it is not, huge numbers may
    have overflowed it, so each tensor is looked at.
    """
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if math.isfinite(get_total_norm([tensor for _, tensor in named])):
        return ""
    return next((name for name, tensor in named if not bool(torch.isfinite(tensor).all())), "")


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Add a checkpoint; the older ones beyond the last two are removed when it is complete.

    Args:
        folder: of one part of a run; ``index.json`` in it lists the complete checkpoints with their hashes.
        step: steps that are done.
        state: tensors, and plain Python values in dicts and lists.

    Raises:
        StorageError: no space or no permission. What was there before is intact.
        ModelError: a number is not finite. Nothing is written.
    """
    path = folder / f"step-{step:08d}.pt"
    _require_finite(_named_tensors(state), path)
    with atomic_path(path) as temporary:
        _save(dict(state), temporary, path)
        digest = sha256(temporary)
    before = [entry for entry in _index(folder) if entry.step < step]
    entries = [*before, _Entry(file=path.name, step=step, sha256=digest)][-KEPT:]
    write_json(folder / "index.json", [entry.model_dump() for entry in entries])
    for old in folder.glob("step-*.pt"):
        if old.name not in {entry.file for entry in entries}:
            old.unlink()


def load_checkpoint(folder: Path, *, until: int | None = None) -> dict[str, Any] | None:
    """The newest checkpoint whose hash is right, or None where there is none.

    A damaged one is reported and the one before it is used.

    Args:
        folder: of one part of a run.
        until: leave out those of more steps.

    Raises:
        ModelError: there are checkpoints, and all are damaged.
    """
    entries = [entry for entry in _index(folder) if until is None or entry.step <= until]
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
    """Write named tensors as safetensors, atomically.

    Raises:
        ModelError: a number is not finite. Nothing is written.
    """
    _require_finite(weights.items(), path)
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
    return unpacked(weights)


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
        need = sum(tensor.numel() * tensor.element_size() for _, tensor in _named_tensors(state))
        free = shutil.disk_usage(path.parent).free
        if free >= need and "unexpected pos" not in str(error):
            raise
        raise StorageError(
            f"no space left on the disk: a checkpoint needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB free",
            where=path,
            fix="free some space and resume; the checkpoint before is intact",
        ) from error


def _require_finite(tensors: Iterable[tuple[str, Tensor]], path: Path) -> None:
    """Refuse to write what nobody could use: every weight and checkpoint passes here."""
    if name := first_not_finite(tensors):
        raise ModelError(
            f"'{name}' is not finite, so it is not saved",
            where=path,
            fix="lower the learning rate, or set schedule.clip",
        )


def _named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dicts, lists and tuples, by their keys."""
    if isinstance(value, Tensor):
        yield name, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _named_tensors(item, f"{name}.{key}" if name else str(key))
