"""A trained model from the folder that ``medgen train`` wrote."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medgen.inference.boosting import load_first
from medgen.inference.intervals import read_calibrations
from medgen.inference.model import LoadedModel
from medgen.training.engine import parse_device
from medgen.training.model_folder import load_stages
from medgen.types import Checkpoint, Engine

log = logging.getLogger(__name__)


def load_model(
    run: str | Path,
    *,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
    engine: Engine = "torch",
) -> LoadedModel:
    """Load what ``medgen train`` wrote.

    Args:
        run: the run folder, its ``model`` folder, or a bundle of ``medgen export``, of which the folder ``model`` is
            read and none of MONAI's configurations.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, its ``last`` weights or those of the ``best`` validation so far; all
            that is made with them says so.
        engine: what computes the networks: ``torch``, or ``onnx``, for which they are exported to onnxruntime first
            (seconds). ``auto`` is then the CPU.

    Raises:
        UsageError: there is no such device here; the message names those that there are. Or a checkpoint of a run is
            asked for that has ended. Or the networks have no form for the engine, or it is not installed.
        ModelError: something is missing, damaged, of a newer format, or names a module that was not allowed.
    """
    kind, index = parse_device("cpu" if engine == "onnx" and device == "auto" else device)
    place = torch.device(kind if index is None else f"{kind}:{index}")
    if device == "auto":
        log.info("predicting on %s", place)
    stages, description = load_stages(Path(run), place, allow_modules=allow_modules, checkpoint=checkpoint)
    model = LoadedModel(stages, description, place, source=str(run), first=load_first(Path(run), description))
    if engine == "onnx":
        from medgen.inference.portable import onnx_engines

        model.cascade = replace(model.cascade, engines=onnx_engines(stages, place))
    model.calibrations = () if checkpoint else read_calibrations(run)
    for notice in model.notices.values():
        log.info(notice)
    if model.preparation.calibration is None:
        log.info("the model is of an earlier version: images unlike those of its training may pass without a warning")
    return model
