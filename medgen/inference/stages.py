"""The auto-context cascade over one prepared volume: stage s sees the image and the whole-volume estimate of s - 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.errors import ModelError
from medgen.inference.memory import Plan
from medgen.inference.settings import InferenceConfig
from medgen.inference.tiles import predict_tiles
from medgen.method import Method

Array = NDArray[Any]
Progress = Callable[[int, int, str], None]

LOW, HIGH = -1.0, 1.0
"""The range of every image target in a network; outside the body stands LOW, which is air."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the last stage made of a volume.

    Attributes:
        data: (K, X, Y, Z) float32 in [-1, 1], -1 outside the body.
        clipped: voxels inside the body that were outside [-1, 1].
        voxels: voxels inside the body.
    """

    data: NDArray[np.float32]
    clipped: int
    voxels: int


class Stacked:
    """Several (C, X, Y, Z) arrays as one with more channels; only what is cut out is read and joined."""

    def __init__(self, *arrays: Array) -> None:
        self._arrays = arrays
        self.shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
        self.ndim = 4
        if any(array.shape[1:] != self.shape[1:] for array in arrays):
            raise ValueError(f"arrays of shapes {[array.shape for array in arrays]} do not share a grid")

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        """All channels of a region: (slice(None), x, y, z)."""
        return np.concatenate([array[index] for array in self._arrays])


def predict_prepared(
    stages: Sequence[Method],
    image: Array,
    body: Array | None,
    *,
    settings: InferenceConfig,
    patch: Sequence[int],
    context: Array | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Predict one volume of the store, or one prepared patient.

    Args:
        stages: networks of the cascade in their order, on ``device`` and in evaluation mode. A single later
            stage can be run with the estimate before it as ``context``.
        image: (C, X, Y, Z), array or memory map.
        body: (X, Y, Z), non-zero where a result is wanted; None: everywhere.
        settings: tiles.
        patch: size of the training patch in voxels, from which the tile follows where ``settings`` names none.
        context: (K, X, Y, Z) in [-1, 1], joined to ``image`` for the first of ``stages``.
        device: where the networks are.
        progress: called with (tiles done, tiles in all, what).

    Returns:
        (K, X, Y, Z) float32 in [-1, 1], -1 outside the body.

    Raises:
        ModelError: a network returned NaN or infinity, or another size than it declares.
    """
    plan = first_plan(stages, settings, patch, torch.device(device), stitch_on=torch.device("cpu"))
    return run_stages(stages, image, body, plan, settings, context=context, progress=progress).data


def first_plan(
    stages: Sequence[Method],
    settings: InferenceConfig,
    patch: Sequence[int],
    device: torch.device,
    *,
    stitch_on: torch.device | None = None,
) -> Plan:
    """The plan that the settings ask for; tiles are added up on the device unless another place is named."""
    margin, multiple = stages[0].margin, stages[0].multiple
    size = settings.tile_size(patch, margin=margin, multiple=multiple)
    return Plan(device, stitch_on or device, settings.batch, size)


def run_stages(
    stages: Sequence[Method],
    image: Array,
    body: Array | None,
    plan: Plan,
    settings: InferenceConfig,
    *,
    context: Array | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """The whole cascade by one plan of memory; arguments as for :func:`predict_prepared`."""
    if not stages:
        raise ValueError("a cascade has at least one stage")
    for number, stage in enumerate(stages, start=1):
        name = f"stage {number} of {len(stages)}" if len(stages) > 1 else "the network"
        inputs: Any = image if context is None else Stacked(image, context)
        _require_channels(stage, inputs.shape[0], name)
        context = predict_tiles(
            stage.predict,
            inputs,
            size=plan.size,
            margin=stage.margin,
            channels=stage.channels.outputs,
            blend=settings.blend,
            overlap=settings.tile_overlap(stage.margin),
            mask=body,
            fill=LOW,
            batch=plan.batch,
            multiple=stage.multiple,
            device=plan.device,
            stitch_on=plan.stitch_on,
            progress=_named(progress, name if len(stages) > 1 else "prediction"),
        )
        wrong, clipped = _clip(context)
        if wrong:
            raise ModelError(
                f"{name} gave {wrong} voxels that are not finite numbers",
                fix="the weights or the input are damaged: check the training log, and the input's range",
            )
    assert context is not None
    voxels = context[0].size if body is None else int(np.count_nonzero(body))
    return Estimate(context, clipped, voxels * len(context))


def _clip(estimate: NDArray[np.float32]) -> tuple[int, int]:
    """Clip in place to [LOW, HIGH], slab by slab; the numbers of non-finite and of clipped voxels."""
    wrong = clipped = 0
    for x in range(estimate.shape[1]):
        slab = estimate[:, x]
        wrong += int(np.count_nonzero(~np.isfinite(slab)))
        clipped += int(np.count_nonzero((slab < LOW) | (slab > HIGH)))
        np.clip(slab, LOW, HIGH, out=slab)
    return wrong, clipped


def _require_channels(stage: Method, channels: int, name: str) -> None:
    if stage.channels.inputs != channels:
        raise ModelError(
            f"{name} reads {stage.channels.inputs} channels and was given {channels}",
            fix="use the model with the inputs it was trained on",
        )


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, what: progress(done, total, f"{name}: {what}")
