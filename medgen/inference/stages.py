"""The auto-context cascade over one prepared volume: stage s sees the image and the whole-volume estimate of s - 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.errors import ModelError, UsageError
from medgen.inference.boosting import BoostedEstimator
from medgen.inference.memory import Plan, within_memory
from medgen.inference.reading import size_text
from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Direction, Method, Predicts, Translates
from medgen.networks.blocks import active_dropout
from medgen.preparation.task import IMAGE, ValueRange
from medgen.recipe.prediction import InferenceConfig
from medgen.types import Array, Progress

_ROUNDING = 1e-3
"""How far beyond the range a probability may be: sums of blended tiles, and of half precision, are not exact."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """The result of the last stage for one volume.

    Attributes:
        data: (K, X, Y, Z) float32 in the value range asked for.
        clipped: voxels inside the body that were outside that range; 0 for probabilities.
        voxels: voxels inside the body.
    """

    data: NDArray[np.float32]
    clipped: int
    voxels: int


@dataclass(frozen=True)
class Request:
    """What is asked of the networks.

    Attributes:
        values: range of what they return.
        direction: of a method that translates; any other has one direction alone.
        seed: of every call of a network, so that no tile differs from another by its noise; None: without chance.
        dropout: whether dropout layers drop; needs a seed. Tiles then go through the network one by one, each with
            the same draw.
    """

    values: ValueRange = IMAGE
    direction: Direction = "forward"
    seed: int | None = None
    dropout: bool = False

    def channels(self, stage: Method) -> tuple[int, int]:
        """Channels that a network reads and makes."""
        inputs, outputs = stage.shape.inputs, stage.shape.outputs
        return (inputs, outputs) if self.direction == "forward" else (outputs, inputs)

    def function(self, stage: Method) -> Callable[[Tensor], Tensor]:
        """A network as a function of a batch of tiles."""

        def call(tiles: Tensor) -> Tensor:
            generator = None if self.seed is None else torch.Generator(tiles.device).manual_seed(self.seed)
            if isinstance(stage, Translates):
                return stage.predict(tiles, self.direction, generator)
            assert isinstance(stage, Predicts)
            return stage.predict(tiles, generator)

        def drop(tiles: Tensor) -> Tensor:
            results = []
            for tile in torch.split(tiles, 1):
                with active_dropout(stage, self.seed or 0):
                    results.append(call(tile))
            return torch.cat(results)

        return drop if self.dropout else call


class Stacked:
    """Several (C, X, Y, Z) arrays as one with more channels; only the regions that are cut out are read and joined."""

    def __init__(self, *arrays: Array) -> None:
        self._arrays = arrays
        self.shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
        self.ndim = 4
        if any(array.shape[1:] != self.shape[1:] for array in arrays):
            raise ValueError(f"arrays of shapes {[array.shape for array in arrays]} do not share a grid")

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        """All channels of a region: (slice(None), x, y, z)."""
        return np.concatenate([array[index] for array in self._arrays])


@dataclass(frozen=True, eq=False)
class Cascade:
    """The networks of one model in their order, and how a prepared volume goes through them.

    Attributes:
        stages: in evaluation mode, on ``device``.
        settings: of the tiles.
        patch: size of the training patch in voxels, from which the tile follows where ``settings`` names none.
        device: where the networks are.
        across: axis of the prepared volume across the slices that the networks read; None for boxes.
        first: makes the context of the first network, where that has one.
        engines: what computes in place of each network, e.g. onnxruntime; a function of a batch of tiles. Empty: torch.
    """

    stages: tuple[Method, ...]
    settings: InferenceConfig
    patch: tuple[int, ...]
    device: torch.device
    across: int | None = None
    first: BoostedEstimator | None = None
    engines: tuple[Callable[[Tensor], Tensor], ...] = ()

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a cascade has at least one stage")

    def plan(self, *, stitch_on: torch.device | None = None) -> Plan:
        """The plan that the settings ask for; tiles are added up on the device unless another place is named."""
        edges = list(self.settings.tile_size(self.patch, self.stages[0].window))
        if self.across is not None:
            edges.insert(self.across, 1)
        x, y, z = edges
        return Plan(self.device, stitch_on or self.device, self.settings.batch, (x, y, z))

    def require(self, request: Request) -> None:
        """Refuse what only torch can do.

        Raises:
            UsageError: says what to do.
        """
        if self.engines and (request.seed is not None or request.dropout or request.direction != "forward"):
            raise UsageError(
                "another engine has the forward prediction without chance alone: no --seed, --samples or --dropout, "
                "and no --direction backward",
                fix="leave them out, or --engine",
            )

    def first_context(self, image: Array, body: Array | None, progress: Progress | None = None) -> Array | None:
        """What the first network sees beside ``image``, ``(1, X, Y, Z)``; None where it sees nothing."""
        return None if self.first is None else self.first.predict(image, body, progress)

    def predict(
        self,
        image: Array,
        body: Array,
        request: Request,
        *,
        context: Array | None = None,
        progress: Progress | None = None,
    ) -> tuple[Estimate, tuple[str, ...]]:
        """:meth:`run` by the first of ever thriftier plans that fits into memory, with a note on each step down.

        Raises:
            MemoryExhausted: the thriftiest does not fit either.
        """
        first = self.stages[0]
        bytes_needed = math.prod(body.shape) * 4 * (len(image) + 2 * request.channels(first)[1])

        def attempt(plan: Plan) -> Estimate:
            self._move(plan.device)
            return self.run(image, body, plan, request, context=context, progress=progress)

        try:
            return within_memory(
                attempt,
                self.plan(),
                first.window,
                need=f"{size_text(body.shape)} voxels take {bytes_needed / 1e9:.2f} GB besides the network",
            )
        finally:
            self._move(self.device)

    def run(
        self,
        image: Array,
        body: Array | None,
        plan: Plan,
        request: Request,
        *,
        context: Array | None = None,
        progress: Progress | None = None,
    ) -> Estimate:
        """All stages by one plan; arguments and errors as for :func:`predict_prepared`."""
        values, clipped = request.values, 0
        self.require(request)
        for number, stage in enumerate(self.stages, start=1):
            name = f"stage {number} of {len(self.stages)}" if len(self.stages) > 1 else "the network"
            inputs: Any = image if context is None else Stacked(image, context)
            reads, makes = request.channels(stage)
            _require_channels(inputs.shape[0], reads, name)
            context = predict_tiles(
                self.engines[number - 1] if self.engines else request.function(stage),
                inputs,
                size=plan.size,
                window=stage.window,
                across=self.across,
                channels=makes,
                blend=self.settings.blend,
                overlap=self.settings.tile_overlap(stage.window),
                mask=body,
                fill=values.outside[1],
                batch=plan.batch,
                device=plan.device,
                stitch_on=plan.stitch_on,
                progress=_named(progress, name if len(self.stages) > 1 else "prediction"),
            )
            _fill_first(context, body, values)
            clipped = _into_range(context, values, name)
        assert context is not None
        voxels = context[0].size if body is None else int(np.count_nonzero(body))
        return Estimate(context, clipped, voxels * len(context))

    def _move(self, device: torch.device) -> None:
        for stage in self.stages:
            stage.to(device)


def predict_prepared(
    stages: Sequence[Method],
    image: Array,
    body: Array | None,
    *,
    settings: InferenceConfig,
    patch: Sequence[int],
    across: int | None = None,
    context: Array | None = None,
    values: ValueRange = IMAGE,
    seed: int | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Predict one volume of the store, or one prepared patient; forward, where the method translates.

    Args:
        stages: networks of the cascade in their order, on ``device`` and in evaluation mode. A single later
            stage can be run with the estimate before it as ``context``.
        image: (C, X, Y, Z), array or memory map.
        body: (X, Y, Z), non-zero where a result is wanted; None: everywhere.
        settings: of the tiles.
        patch: size of the training patch in voxels.
        across: axis across the slices that the networks read; None for boxes.
        context: (K, X, Y, Z) as this function returns it, joined to ``image`` for the first of ``stages``.
        values: range of what the networks make: ``IMAGE``, or ``PROBABILITIES`` for a segmentation.
        seed: of every call of a network; None: prediction without chance.
        device: where the networks are.
        progress: called with (tiles done, tiles in all, what).

    Returns:
        (K, X, Y, Z) float32. Images are in [-1, 1], -1 outside the body; probabilities in [0, 1], and outside the
        body 1 for the first channel, the background, and 0 for the others.

    Raises:
        ModelError: a network returned NaN or infinity, another size than it declares, or logits for probabilities.
    """
    cascade = Cascade(tuple(stages), settings, tuple(patch), torch.device(device), across)
    plan = cascade.plan(stitch_on=torch.device("cpu"))
    return cascade.run(image, body, plan, Request(values, seed=seed), context=context, progress=progress).data


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
            f"{name} returned {wrong} voxels that are not finite numbers",
            fix="the weights or the input are damaged: check the training log, and the input's range",
        )
    if not values.strict:
        return clipped
    if low < values.low - _ROUNDING or high > values.high + _ROUNDING:
        raise ModelError(
            f"{name} returned values in [{low:.3g}, {high:.3g}]; probabilities must lie in [0, 1] "
            "(was the softmax forgotten?)",
            fix="return the softmax of the logits from the method's predict()",
        )
    return 0


def _require_channels(given: int, reads: int, name: str) -> None:
    if given != reads:
        raise ModelError(
            f"{name} reads {reads} channels and was given {given}",
            fix="use the model with the inputs it was trained on",
        )


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, what: progress(done, total, f"{name}: {what}")
