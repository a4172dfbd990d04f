"""The auto-context cascade over one prepared volume: stage s sees the image and the whole-volume estimate of s - 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.errors import ModelError
from medgen.inference.memory import Plan
from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Method, Predicts
from medgen.preparation.task import IMAGE, ValueRange
from medgen.recipe.prediction import InferenceConfig
from medgen.types import Array, Progress

_ROUNDING = 1e-3
"""How far beyond the range a probability may be: sums of blended tiles, and of half precision, are not exact."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the last stage made of a volume.

    Attributes:
        data: (K, X, Y, Z) float32 in the range of the values asked for.
        clipped: voxels inside the body that were outside that range; 0 for probabilities.
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
    values: ValueRange = IMAGE,
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
        context: (K, X, Y, Z) as this function returns it, joined to ``image`` for the first of ``stages``.
        values: what the networks make: ``IMAGE``, or ``PROBABILITIES`` for a segmentation.
        device: where the networks are.
        progress: called with (tiles done, tiles in all, what).

    Returns:
        (K, X, Y, Z) float32. Images are in [-1, 1], -1 outside the body; probabilities in [0, 1], and outside the
        body 1 for the first channel, the background, and 0 for the others.

    Raises:
        ModelError: a network returned NaN or infinity, another size than it declares, or logits for probabilities.
    """
    plan = first_plan(stages, settings, patch, torch.device(device), stitch_on=torch.device("cpu"))
    return run_stages(stages, image, body, plan, settings, context=context, values=values, progress=progress).data


def first_plan(
    stages: Sequence[Method],
    settings: InferenceConfig,
    patch: Sequence[int],
    device: torch.device,
    *,
    stitch_on: torch.device | None = None,
) -> Plan:
    """The plan that the settings ask for; tiles are added up on the device unless another place is named."""
    x, y, z = settings.tile_size(patch, stages[0].window)
    return Plan(device, stitch_on or device, settings.batch, (x, y, z))


def run_stages(
    stages: Sequence[Method],
    image: Array,
    body: Array | None,
    plan: Plan,
    settings: InferenceConfig,
    *,
    context: Array | None = None,
    values: ValueRange = IMAGE,
    progress: Progress | None = None,
) -> Estimate:
    """The whole cascade by one plan of memory; arguments as for :func:`predict_prepared`."""
    if not stages:
        raise ValueError("a cascade has at least one stage")
    for number, stage in enumerate(stages, start=1):
        name = f"stage {number} of {len(stages)}" if len(stages) > 1 else "the network"
        inputs: Any = image if context is None else Stacked(image, context)
        _require_channels(stage, inputs.shape[0], name)
        assert isinstance(stage, Predicts)
        window = stage.window
        context = predict_tiles(
            stage.predict,
            inputs,
            size=plan.size,
            window=window,
            channels=stage.shape.outputs,
            blend=settings.blend,
            overlap=settings.tile_overlap(window),
            mask=body,
            fill=values.outside[1],
            batch=plan.batch,
            device=plan.device,
            stitch_on=plan.stitch_on,
            progress=_named(progress, name if len(stages) > 1 else "prediction"),
        )
        _fill_first(context, body, values)
        clipped = _into_range(context, values, name)
    assert context is not None
    voxels = context[0].size if body is None else int(np.count_nonzero(body))
    return Estimate(context, clipped, voxels * len(context))


def _fill_first(estimate: NDArray[np.float32], body: Array | None, values: ValueRange) -> None:
    """Give the first channel its own value outside the body."""
    if body is not None and values.outside[0] != values.outside[1]:
        for x in range(estimate.shape[1]):
            estimate[0, x][body[x] == 0] = values.outside[0]


def _into_range(estimate: NDArray[np.float32], values: ValueRange, name: str) -> int:
    """Clip in place to the range, slab by slab; the number of clipped voxels.

    Raises:
        ModelError: there are NaN or infinity, or numbers beyond the range where that is an error.
    """
    wrong = clipped = 0
    low, high = values.low, values.high
    for x in range(estimate.shape[1]):
        slab = estimate[:, x]
        wrong += int(np.count_nonzero(~np.isfinite(slab)))
        clipped += int(np.count_nonzero((slab < values.low) | (slab > values.high)))
        low, high = min(low, float(slab.min())), max(high, float(slab.max()))
        np.clip(slab, values.low, values.high, out=slab)
    if wrong:
        raise ModelError(
            f"{name} gave {wrong} voxels that are not finite numbers",
            fix="the weights or the input are damaged: check the training log, and the input's range",
        )
    if not values.strict:
        return clipped
    if low < values.low - _ROUNDING or high > values.high + _ROUNDING:
        raise ModelError(
            f"{name} gave numbers from {low:.3g} to {high:.3g}, which are no probabilities",
            fix="the method's predict() must return the softmax of its logits: correct the method",
        )
    return 0


def _require_channels(stage: Method, channels: int, name: str) -> None:
    if stage.shape.inputs != channels:
        raise ModelError(
            f"{name} reads {stage.shape.inputs} channels and was given {channels}",
            fix="use the model with the inputs it was trained on",
        )


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, what: progress(done, total, f"{name}: {what}")
