"""The folder of a trained model: ``weights.safetensors`` and ``model.json``, all that prediction needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

import medgen
from medgen.config import Config
from medgen.errors import ModelError, UsageError, did_you_mean
from medgen.files import sha256, write_json
from medgen.methods.base import Method, Shape, stages_of
from medgen.methods.catalogue import create
from medgen.shipped import folder_of, names
from medgen.training.checkpoint import load_weights, save_weights
from medgen.training.engine import channels_last
from medgen.training.unfinished import load_unfinished
from medgen.types import Checkpoint

FORMAT = 2
"""Of ``model.json``: 1 named channels alone and kept the weights of all networks."""


_AGAIN = "copy the model folder again"
_LONGEST = 4_000_000
"""Bytes of a ``model.json``; those of real models have some thousands."""

_Count = Annotated[int, Field(ge=1, le=4096)]


class _Part(BaseModel):
    """A table of ``model.json``; what else stands in it is left alone, since another version may know it."""

    model_config = ConfigDict(strict=True)


class _Sizes(_Part):
    """What a method is built for; up to format 1 the size was that of the key ``patches``."""

    inputs: _Count
    outputs: _Count
    size: Annotated[list[_Count], Field(min_length=2, max_length=3)]
    context: Annotated[int, Field(ge=0, le=4096)] = 0


class _Preparation(_Part):
    roles: dict[str, Any]
    config: dict[str, Any]
    training: dict[str, dict[str, Any]] = {}


class _Data(_Part):
    classes: dict[str, list[int]] | None = None


class _Recipe(_Part):
    data: _Data | None = None
    patches: dict[str, Any] | None = None


class _Content(_Part):
    """What a model cannot be loaded without, and the kinds of the other values that are read."""

    method: str
    config: dict[str, Any]
    shape: _Sizes
    weights_sha256: str
    task: str = ""
    classes: list[str] = []
    preparation: _Preparation | None = None
    inference: dict[str, Any] | None = None
    patches: list[_Count] | None = None
    recipe: _Recipe | None = None
    context: dict[str, str] | None = None


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
    content = described(stages[0].config, stages[0].shape, description)
    write_json(folder / "model.json", {**content, "weights_sha256": sha256(path)})


def described(config: Config, shape: Shape, description: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``model.json`` but for the hash of the weights.

    Args:
        config: of the method.
        shape: of the first network.
        description: whatever else the model should carry.
    """
    return {
        "format": FORMAT,
        "medgen": medgen.__version__,
        "research_use_only": True,
        **description,
        "config": config.model_dump(mode="json"),
        "shape": {**shape._asdict(), "size": list(shape.size), "dimensions": shape.dimensions},
    }


def load_stages(
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
) -> tuple[list[Method], dict[str, Any]]:
    """Read a model folder, or a run folder with ``model/`` in it.

    Args:
        folder: of the model or the run.
        device: where the networks go.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, which of its weights; see :func:`load_unfinished`.

    Returns:
        The networks of the cascade in evaluation mode on ``device``, and the content of ``model.json``.

    Raises:
        ModelError: something is missing, damaged, of a newer format, or names a module that was not allowed.
    """
    if checkpoint is not None:
        parts, description = load_unfinished(folder, checkpoint)
    else:
        folder = model_folder(folder)
        parts, description = read_weights(folder)
    stages: list[Method] = []
    count = 1
    while len(stages) < count:
        index = len(stages)
        part = parts[index] if index < len(parts) else {}
        shape = _shape_of(description, index)
        _require_sizes(description, shape, part, allow_modules, folder)
        method = _create(description, shape, allow_modules, folder)
        count = stages_of(method.config)
        _fill(method, part, folder)
        stages.append(channels_last(method.to(device)).eval())
    return stages, description


def model_folder(run: str | Path) -> Path:
    """Where the weights stand: the ``model`` folder of a run, the folder itself, or that of a shipped model."""
    folder = folder_of(run)
    return folder / "model" if (folder / "model").is_dir() else folder


def files_of_run(run: str | Path) -> tuple[Path, ...]:
    """What commands read of a run: its model, its recipe and its records. None of them replaces these."""
    folder = model_folder(run)
    model = (path for path in folder.glob("*") if path.suffix in {".json", ".safetensors"})
    records = ("recipe.yaml", "run.json", "cases.json", "metrics.jsonl") if folder.name == "model" else ()
    return (*model, *(folder.parent / name for name in records))


def read_weights(folder: Path) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
    """The weights of each network of a model or run folder, by name, and the content of ``model.json``.

    Raises:
        ModelError: something is missing, damaged or of a newer format.
    """
    folder = model_folder(folder)
    description = _read_description(folder)
    return by_stage(load_weights(folder / "weights.safetensors", digest=description["weights_sha256"])), description


def by_stage(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each network, whose names begin with ``stage0.``, ``stage1.``, ..."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        stage, _, rest = name.partition(".")
        parts.setdefault(stage, {})[rest] = tensor
    return [parts[stage] for index in range(len(parts)) if (stage := f"stage{index}") in parts]


def read_model(folder: Path) -> dict[str, Any]:
    """The checked content of ``model.json`` in a model folder, or in a run folder with ``model/``; reads no weights.

    Raises:
        ModelError: it is missing, damaged or of a newer format.
    """
    return _read_description(model_folder(folder))


def exported_state(method: Method) -> dict[str, Tensor]:
    """The tensors of a method that a trained model needs; not those of discriminators and the like."""
    parts = set(method.exported())
    return {name: tensor for name, tensor in method.state_dict().items() if name.partition(".")[0] in parts}


def _create(description: Mapping[str, Any], shape: Shape, allow_modules: Sequence[str], folder: Path) -> Method:
    try:
        return create(description["method"], description["config"], shape, allow_modules=allow_modules)
    except (UsageError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Nothing that was typed is wrong: the model asks for what is not here, or what no network can be.
        reason = error.what if isinstance(error, UsageError) else f"{type(error).__name__}: {str(error)[:300]}"
        raise ModelError(
            f"the model does not fit this medgen: {reason}",
            where=folder,
            fix=f"use medgen {description.get('medgen', 'of the version that wrote it')}, or train the model again",
        ) from error


def _require_sizes(
    description: Mapping[str, Any],
    shape: Shape,
    weights: Mapping[str, Tensor],
    allow_modules: Sequence[str],
    folder: Path,
) -> None:
    """Compare the networks with the weights before memory is taken for them: a size in a file can be anything."""
    try:
        with torch.device("meta"):
            method = create(description["method"], description["config"], shape, allow_modules=allow_modules)
    except Exception:  # a network that needs real numbers to be built; whatever else is wrong is told by _create
        return
    for name, tensor in exported_state(method).items():
        if name in weights and weights[name].shape != tensor.shape:
            found, needed = (list(each.shape) for each in (weights[name], tensor))
            raise _misfit(f"{name} is {found}, and the settings make it {needed}", folder)


def _misfit(reason: str, folder: Path) -> ModelError:
    return ModelError(f"the weights do not fit the network: {reason}", where=folder, fix="train the model again")


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
        raise _misfit(" ".join(str(error).split())[:300], folder) from None


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    try:
        if path.stat().st_size > _LONGEST:
            raise ModelError(
                f"model.json has {path.stat().st_size} bytes, at most {_LONGEST} can be one", where=path, fix=_AGAIN
            )
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = description["format"]
    except (FileNotFoundError, NotADirectoryError):
        fix = "give the folder of 'medgen train --out'; if training has not ended, resume it (or --checkpoint last)"
        fix = fix if folder.exists() else did_you_mean(str(folder), names(), fix)
        raise ModelError("there is no model here", where=folder, fix=fix) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError("model.json is damaged", where=path, fix=_AGAIN) from None
    if isinstance(kind, bool) or kind not in (1, FORMAT):
        raise ModelError(
            f"the model has format {str(kind)[:100]}, this medgen reads {FORMAT}", where=path, fix="use a newer medgen"
        )
    if kind == 1 and isinstance(channels := description.pop("channels", None), dict):
        description["shape"] = {**channels, "size": description.get("patches") or [32, 32, 32]}
    try:
        _Content.model_validate(description)
    except ValidationError as error:
        keys = ", ".join(sorted({".".join(str(key) for key in fault["loc"]) for fault in error.errors()}))
        raise ModelError(f"model.json lacks or garbles: {keys}", where=path, fix=_AGAIN) from None
    return description
