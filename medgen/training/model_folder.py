"""The folder of a trained model: ``weights.safetensors`` and ``model.json``, all that prediction needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError
from torch import Tensor

import medgen
from medgen.errors import ModelError, UsageError
from medgen.files import sha256, write_json
from medgen.methods.base import Method, Shape, stages_of
from medgen.methods.catalogue import create
from medgen.training.checkpoint import load_weights, save_weights
from medgen.training.engine import channels_last

FORMAT = 2
"""Of ``model.json``: 1 named channels alone and kept the weights of all networks."""


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


def read_model(folder: Path) -> dict[str, Any]:
    """The checked content of ``model.json`` in a model folder, or in a run folder with ``model/``; reads no weights.

    Raises:
        ModelError: it is missing, damaged or of a newer format.
    """
    return _read_description(folder / "model" if (folder / "model").is_dir() else folder)


def exported_state(method: Method) -> dict[str, Tensor]:
    """The tensors of a method that a trained model needs; not those of discriminators and the like."""
    parts = set(method.exported())
    return {name: tensor for name, tensor in method.state_dict().items() if name.partition(".")[0] in parts}


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
