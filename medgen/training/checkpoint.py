"""Saving and loading: atomic, hashed, and never able to run code."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import medgen
from medgen.errors import ModelError, StorageError, UsageError
from medgen.files import atomic_path, sha256, write_json
from medgen.methods.base import Method, Shape, stages_of
from medgen.methods.catalogue import create
from medgen.training.engine import channels_last

FORMAT = 2
"""Of ``model.json``: 1 named channels alone and kept the weights of all networks."""
KEPT = 2
"""Checkpoints of a run that stay on disk: the newest, and one to fall back on."""

log = logging.getLogger(__name__)


class _Entry(BaseModel):
    """A complete checkpoint in ``index.json``."""

    file: str
    step: int
    sha256: str


class _Sizes(BaseModel):
    """What a method is built for; up to format 1 the size was that of the key ``patches``."""

    inputs: PositiveInt
    outputs: PositiveInt
    size: tuple[PositiveInt, ...] = ()
    context: NonNegativeInt = 0


class _Needed(BaseModel):
    """What a model cannot be loaded without."""

    method: str
    config: dict[str, Any]
    shape: _Sizes
    weights_sha256: str


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


def save_model(folder: Path, stages: Sequence[Method], description: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``model.json``: what prediction, sampling and encoding need, and no more.

    Args:
        folder: ``RUN/model``.
        stages: the networks of the cascade in their order; their tensors are named ``stage0.``, ``stage1.``, ...
        description: ``method`` (name), ``preparation``, ``inference`` and whatever else the model should carry.
    """
    weights = {
        f"stage{index}.{name}": tensor.detach().cpu().contiguous()
        for index, stage in enumerate(stages)
        for name, tensor in exported_state(stage).items()
    }
    path = folder / "weights.safetensors"
    save_weights(path, weights)
    first = stages[0]
    write_json(
        folder / "model.json",
        {
            "format": FORMAT,
            "medgen": medgen.__version__,
            "research_use_only": True,
            **description,
            "config": first.config.model_dump(mode="json"),
            "shape": {**first.shape._asdict(), "size": list(first.shape.size), "dimensions": first.shape.dimensions},
            "weights_sha256": sha256(path),
        },
    )


def load_stages(
    folder: Path, device: torch.device | str = "cpu", *, allow_modules: Sequence[str] = ()
) -> tuple[list[Method], dict[str, Any]]:
    """Read a model folder, or a run folder with ``model/`` in it.

    Returns:
        The networks of the cascade in evaluation mode on ``device``, and the content of ``model.json``.

    Raises:
        ModelError: something is missing, damaged, of a newer format, or names a module that was not allowed.
    """
    folder = folder / "model" if (folder / "model").is_dir() else folder
    description = _read_description(folder)
    weights = load_weights(folder / "weights.safetensors", digest=description["weights_sha256"])
    stages: list[Method] = []
    count = 1
    while len(stages) < count:
        index = len(stages)
        method = _create(description, _shape_of(description, index), allow_modules, folder)
        count = stages_of(method.config)
        prefix = f"stage{index}."
        part = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        _fill(method, part, folder)
        stages.append(channels_last(method.to(device)).eval())
    return stages, description


def exported_state(method: Method) -> dict[str, Tensor]:
    """The tensors of a method that a trained model needs; not those of discriminators and the like."""
    parts = set(method.exported())
    return {name: tensor for name, tensor in method.state_dict().items() if name.partition(".")[0] in parts}


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


def _create(description: Mapping[str, Any], shape: Shape, allow_modules: Sequence[str], folder: Path) -> Method:
    try:
        return create(description["method"], description["config"], shape, allow_modules=allow_modules)
    except UsageError as error:  # nothing that was typed is wrong: the model asks for what is not here
        raise ModelError(
            f"the model does not fit this medgen: {error.what}",
            where=folder,
            fix=f"use medgen {description.get('medgen', 'of the version that wrote it')}, or train the model again",
        ) from error


def _shape_of(description: Mapping[str, Any], stage: int) -> Shape:
    """The shape of one network; ``model.json`` has that of the first, with its context where it has one."""
    size = description["shape"]
    first = Shape(size["inputs"], size["outputs"], tuple(size["size"]), size.get("context", 0))
    return first.with_context() if stage else first


def _fill(method: Method, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Give a method the weights of a model, which may lack what is not exported, or hold it as in format 1."""
    needed = exported_state(method).keys()
    try:
        found = method.load_state_dict(weights, strict=False)
        if missing := needed & set(found.missing_keys) or set(found.unexpected_keys):
            raise RuntimeError(f"missing or unexpected: {', '.join(sorted(missing)[:5])}")
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the weights do not fit the network: {reason}", where=folder, fix="train the model again"
        ) from None


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    try:
        description: dict[str, Any] = json.loads(path.read_text())
        kind = description["format"]
    except (FileNotFoundError, NotADirectoryError):
        fix = "give the folder that 'medgen train --out' wrote; if training has not ended, resume it"
        raise ModelError("there is no model here", where=folder, fix=fix) from None
    except (ValueError, KeyError, TypeError):
        raise ModelError("model.json is damaged", where=path, fix="copy the model folder again") from None
    if kind not in (1, FORMAT):
        raise ModelError(
            f"the model has format {kind}, this medgen reads {FORMAT}", where=path, fix="use a newer medgen"
        )
    if kind == 1 and isinstance(channels := description.pop("channels", None), dict):
        description["shape"] = {**channels, "size": description.get("patches") or [32, 32, 32]}
    try:
        _Needed.model_validate(description)
    except ValidationError as error:
        keys = ", ".join(sorted({".".join(str(key) for key in fault["loc"]) for fault in error.errors()}))
        raise ModelError(
            f"model.json lacks or garbles: {keys}", where=path, fix="copy the model folder again"
        ) from None
    return description


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
