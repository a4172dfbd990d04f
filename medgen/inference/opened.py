"""A trained model opened for something other than prediction: drawing samples, or encoding images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medgen.cases.phantoms import phantom_notice
from medgen.config import build
from medgen.errors import UsageError
from medgen.inference.description import Description, settings_of_model
from medgen.methods.base import Method, abilities_of
from medgen.sampling.augmentation import AugmentationConfig
from medgen.sampling.patches import PatchConfig
from medgen.training.engine import parse_device
from medgen.training.model_folder import load_stages
from medgen.types import Checkpoint

_COMMANDS = {
    "predict": "medgen predict",
    "translate": "medgen predict",
    "sample": "medgen sample",
    "encode": "medgen latent encode",
    "compute densities": "medgen evaluate likelihood",
    "compute features": "medgen evaluate samples --features",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A model on its device.

    Attributes:
        method: the last network of the cascade, in evaluation mode.
        content: of ``model.json``.
        known: the checked part of it.
        device: where the network is.
        run: name of the run folder, without its path.
        where: the folder as it was given, for messages.
    """

    method: Method
    content: Mapping[str, Any]
    known: Description
    device: torch.device
    run: str
    where: str

    @property
    def patches(self) -> PatchConfig:
        """Size, plane and place of the training patches, without augmentation and without labels."""
        saved = (self.content.get("recipe") or {}).get("patches") or {}
        with settings_of_model(self.where):
            config = build(PatchConfig, {**saved, "size": list(self.method.shape.size)})
        plain = {
            "sampling": "centred" if config.sampling == "centred" else "uniform",
            "augmentation": AugmentationConfig(),
            "transfer": None,
        }
        return config.model_copy(update=plain)

    @property
    def origin(self) -> dict[str, Any]:
        """Which model it is, for the JSON file beside a result."""
        unfinished = {"unfinished": facts} if (facts := self.content.get("unfinished")) else {}
        phantoms = {"phantoms": notice} if (notice := phantom_notice(self.content)) else {}
        origin = {"method": self.content["method"], "weights_sha256": self.content["weights_sha256"]}
        return {**origin, **unfinished, **phantoms}

    def lacks(self, what: str) -> UsageError:
        """The error for a model that cannot do ``what``; it names what the model can do."""
        can = abilities_of(type(self.method))
        commands = " or ".join(dict.fromkeys(f"'{_COMMANDS[each]}'" for each in can if each in _COMMANDS))
        return UsageError(
            f"the model cannot {what}; its method '{self.content['method']}' can: {', '.join(can) or 'nothing'}",
            where=self.where,
            fix=f"use {commands}, or give another model" if commands else "give another model",
        )


def open_model(
    run: str | Path, device: str, allow_modules: Sequence[str], checkpoint: Checkpoint | None = None
) -> Opened:
    """Load what ``medgen train`` wrote.

    Args:
        run: the run folder, or its ``model`` folder.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, see :func:`~medgen.inference.loading.load_model`.

    Raises:
        UsageError: there is no such device here.
        ModelError: something is missing, damaged, of a newer format, or names a module that was not allowed.
    """
    kind, index = parse_device(device)
    place = torch.device(kind if index is None else f"{kind}:{index}")
    if device == "auto":
        log.info("running on %s", place)
    stages, content = load_stages(Path(run), place, allow_modules=allow_modules, checkpoint=checkpoint)
    folder = Path(run).resolve()
    name = folder.parent.name if folder.name == "model" else folder.name
    known = Description.parse(content, stages[0].shape, str(run))
    return Opened(stages[-1], content, known, place, name, str(run))
