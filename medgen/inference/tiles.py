"""A volume in tiles: same-size networks, and valid convolutions whose output is smaller than their input.

A tile is placed by its *output*: the input reaches ``margin`` voxels further on every side, and where it
reaches over the border of the volume the edge voxels are repeated (as in the code of Nie et al. 2017).
Each axis carries a partition of unity over its tiles, so the weighted tiles just add up: no second volume of
weights, no division. A voxel inside the mask is covered by no tile that is left out, hence its value does
not depend on the mask.

A network with sub-sampled pathways (DeepMedic) gives a voxel the value that the whole volume gives it where its
output begins at a multiple of its sub-sampling factors: ``align``.

A network of the same size may name a ``halo``: the border of a tile, where its padding shows, is then left to the
neighbouring tile.

A network of slices gets tiles of one voxel across its plane, in which it has no margin and tiles do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.errors import ModelError, UsageError
from medgen.methods.base import Window
from medgen.recipe.prediction import fitting_edge
from medgen.types import Progress

Blend = Literal["gaussian", "constant"]

ANY_SIZE = Window()
"""Of a network that takes any size and returns it."""
SIGMA = 0.125
"""Standard deviation of the Gaussian blending weight as a fraction of the tile's output edge, as in MONAI."""


@dataclass(frozen=True, eq=False)
class Span:
    """What one tile contributes along one axis.

    Attributes:
        start: where the tile's output begins; below 0 where the tile is larger than the volume.
        low: first voxel of the volume that the tile contributes to.
        high: one past the last such voxel.
        weight: (high - low,) float32; over all spans that cover a voxel the weights sum to 1.
    """

    start: int
    low: int
    high: int
    weight: Tensor

    @property
    def kept(self) -> slice:
        """The contributing part of the tile's output."""
        return slice(self.low - self.start, self.high - self.start)


def predict_tiles(
    function: Callable[[Tensor], Tensor],
    image: NDArray[Any],
    *,
    size: Sequence[int],
    window: Window = ANY_SIZE,
    across: int | None = None,
    channels: int = 1,
    blend: Blend = "gaussian",
    overlap: float = 0.0,
    mask: NDArray[Any] | None = None,
    fill: float = 0.0,
    batch: int = 1,
    device: str | torch.device = "cpu",
    stitch_on: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Run ``function`` over a volume that does not fit through it at once.

    The volume is read tile by tile (a memory-mapped array stays on the disk); besides the result no array
    of the volume's size is made. Precision, evaluation mode and memory format are the caller's.

    Along an axis that is shorter than the tile, the tile shrinks to the volume, so a volume that fits is
    predicted in one piece. With a margin the tiles of an axis also shrink as far as their number allows, rather
    than doing the work of the last ones twice; without one they keep the size, because a same-size network that
    normalises by its input (instance normalisation) is best fed with the size of its training patches.

    Args:
        function: float32 (B, C, x, y, z) on ``device`` -> (B, K, x - 2 margin, y - 2 margin, z - 2 margin); with
            ``across`` one axis less.
        image: (C, X, Y, Z), any real type, array or memory map.
        size: largest input tile in voxels, three edges, rounded up to what ``window`` allows.
        window: of the network; each tile of an exact one has the edges ``size``.
        across: axis of ``image`` across the slices that ``function`` takes, along which ``size`` is 1; None for boxes.
        channels: K.
        blend: weight of a tile where tiles overlap.
        overlap: fraction of a tile's output that its neighbour covers again, 0 <= overlap < 1. At 0 and with
            a margin the tiles abut; without a margin the last tile of an axis blends with the one before it,
            where it was shifted back over it.
        mask: (X, Y, Z), non-zero where a result is wanted. Only tiles that touch it are run.
        fill: value outside the mask.
        batch: tiles that go through ``function`` together.
        device: where ``function`` runs.
        stitch_on: where the tiles are added up; a GPU here spares copies and costs K volumes of its memory.
        progress: called with (tiles done, tiles in all, "tiles").

    Returns:
        (K, X, Y, Z) float32.

    Raises:
        UsageError: a tile that the margins eat up, an overlap outside [0, 1).
        ModelError: ``function`` returned a shape that contradicts window and channels.
    """
    shape = _checked_shape(image, mask, overlap)
    _require_room(size, window.margin, across)
    axes, tile, lost = [], [], []
    for axis, (edge, length) in enumerate(zip(size, shape, strict=True)):
        here, shared = (ANY_SIZE, 0.0) if axis == across else (window, overlap)
        tile.append(tile_edge(edge, length, here, overlap=shared))
        axes.append(axis_spans(length, tile[-1] - 2 * here.margin, here, overlap=shared, blend=blend))
        lost.append(here.margin)
    tiles = [spans for spans in product(*axes) if mask is None or _touches(mask, spans)]
    result = torch.zeros((channels, *shape), dtype=torch.float32, device=stitch_on)
    with torch.inference_mode():
        for first in range(0, len(tiles), batch):
            group = tiles[first : first + batch]
            places = [[span.start - margin for span, margin in zip(spans, lost, strict=True)] for spans in group]
            inputs = torch.from_numpy(np.stack([read_tile(image, place, tile) for place in places])).to(device)
            expected = (len(group), channels, *(edge - 2 * margin for edge, margin in zip(tile, lost, strict=True)))
            outputs = _run(function, inputs, expected, across, window.margin)
            for spans, values in zip(group, outputs, strict=True):
                _add(result, spans, values)
            if progress:
                progress(first + len(group), len(tiles), "tiles")
    return _fill_outside(result.cpu().numpy(), mask, fill)


def tile_edge(edge: int, length: int, window: Window, *, overlap: float) -> int:
    """Edge of the input tile along one axis, at most ``edge`` rounded up to what the network can take.

    Args:
        edge: the largest wanted; of an exact window, the one that is taken.
        length: voxels of the volume along the axis.
        window: of the network.
        overlap: fraction of a tile's output shared with the next tile.

    >>> tile_edge(80, 130, Window(margin=8), overlap=0)
    60
    """
    if window.exact:
        return edge
    margin, multiple, align = window.margin, window.multiple, window.align

    def fit(wanted: int) -> int:
        return fitting_edge(wanted, window)

    largest = fit(edge)
    # Two multiples at least: at one, the innermost feature map is a single voxel, which instance
    # normalisation cannot take.
    smallest = fit(max(2 * multiple if multiple > 1 else 1, window.least))
    if length + 2 * margin <= largest or margin == 0:
        return min(largest, max(smallest, fit(length + 2 * margin)))
    count = len(_starts(length, largest - 2 * margin, overlap, align))
    candidates = range(smallest, largest, math.lcm(multiple, align))
    fewest = (each for each in candidates if len(_starts(length, each - 2 * margin, overlap, align)) == count)
    return next(fewest, largest)


def axis_spans(length: int, output: int, window: Window, *, overlap: float, blend: Blend) -> tuple[Span, ...]:
    """Cover ``length`` voxels with tiles of ``output`` voxels.

    The last tile is shifted back to end at the border. An aligned one cannot be: it hangs over the border.

    Args:
        length: voxels of the volume along the axis.
        output: voxels of a tile's output along the axis.
        window: of the network; with a margin and without overlap each voxel belongs to one tile alone.
        overlap: fraction of ``output`` shared with the next tile.
        blend: shape of the weights before they are made to sum to 1.
    """
    align = window.align
    if output >= length:
        return (Span(0 if align > 1 else -((output - length) // 2), 0, length, torch.ones(length)),)
    if window.halo:
        return _haloed_spans(length, output, window, overlap)
    starts = _starts(length, output, overlap, align)
    highs = [min(start + output, length) for start in starts]
    if window.margin > 0 and overlap == 0:
        lows = [0, *highs[:-1]]
        return tuple(
            Span(start, low, high, torch.ones(high - low)) for start, low, high in zip(starts, lows, highs, strict=True)
        )
    weight = _weight(output, blend)
    total = np.zeros(starts[-1] + output)
    for start in starts:
        total[start : start + output] += weight
    shares = (weight / total[start : start + output] for start in starts)
    return tuple(
        Span(start, start, high, torch.from_numpy(share[: high - start].astype(np.float32)))
        for start, high, share in zip(starts, highs, shares, strict=True)
    )


def _haloed_spans(length: int, output: int, window: Window, overlap: float) -> tuple[Span, ...]:
    """Tiles that begin at multiples of ``align`` and abut inside their halos, of which each end of the axis has none.

    The halo takes a quarter of the tile at most. The last tile ends where a tile of the whole axis would. With an
    overlap, tiles come closer together, and each voxel is taken from where it lies deeper.
    """
    align = window.align
    halo = min(window.halo, output // 4)  # the step, not the halo, is a multiple of align
    step = max(align, int((output - 2 * halo) * (1 - overlap) + 1e-6) // align * align)
    last = fitting_edge(length, window) - output
    starts = [*range(0, last, step), last]
    seams = [(first + output + second) // 2 for first, second in pairwise(starts)]
    bounds = pairwise([0, *seams, length])
    return tuple(
        Span(start, low, high, torch.ones(high - low)) for start, (low, high) in zip(starts, bounds, strict=True)
    )


def read_tile(image: NDArray[Any], start: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
    """Cut (C, *size) float32 out of ``image`` (C, X, Y, Z) at ``start``, repeating edge voxels beyond the border."""
    low = [max(s, 0) for s in start]
    high = [min(s + n, length) for s, n, length in zip(start, size, image.shape[1:], strict=True)]
    inside = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    part = np.asarray(image[inside], dtype=np.float32)
    if part.shape[1:] == tuple(size):
        return part
    beyond = [(a - s, s + n - b) for a, b, s, n in zip(low, high, start, size, strict=True)]
    return np.pad(part, [(0, 0), *beyond], mode="edge")


def _checked_shape(image: NDArray[Any], mask: NDArray[Any] | None, overlap: float) -> tuple[int, ...]:
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"the image has shape {image.shape}, expected (C, X, Y, Z) without a zero")
    if mask is not None and mask.shape != image.shape[1:]:
        raise ValueError(f"the mask has shape {mask.shape}, the image {image.shape[1:]}")
    if not 0 <= overlap < 1:
        raise UsageError(f"the overlap of tiles is {overlap}", fix="choose 0 <= overlap < 1")
    return image.shape[1:]


def _require_room(size: Sequence[int], margin: int, across: int | None) -> None:
    if min(edge for axis, edge in enumerate(size) if axis != across) <= 2 * margin:
        raise UsageError(
            f"the tile {tuple(size)} is not larger than the network's two margins of {margin} voxels",
            fix=f"set inference.size above {2 * margin}, for example {[10 * margin] * 3}",
        )


def _starts(length: int, output: int, overlap: float, align: int) -> list[int]:
    """Where the outputs of tiles begin, for ``output`` below ``length``."""
    step = max(1, int(output * (1 - overlap) + 1e-6))
    if align == 1:
        return [*range(0, length - output, step), length - output]
    step = max(align, step // align * align)
    return [*range(0, length - output, step), -(-(length - output) // step) * step]


def _weight(edge: int, blend: Blend) -> NDArray[np.float64]:
    if blend == "constant":
        return np.ones(edge)
    distance = np.arange(edge, dtype=np.float64) - (edge - 1) / 2
    bell: NDArray[np.float64] = np.exp(-0.5 * (distance / (SIGMA * edge)) ** 2)
    return bell


def _region(spans: Sequence[Span]) -> tuple[slice, ...]:
    return tuple(slice(span.low, span.high) for span in spans)


def _touches(mask: NDArray[Any], spans: Sequence[Span]) -> bool:
    return bool(np.any(mask[_region(spans)]))


def _add(result: Tensor, spans: Sequence[Span], values: Tensor) -> None:
    x, y, z = (span.weight.to(result.device) for span in spans)
    weight = x[:, None, None] * y[:, None] * z
    kept = values[:, spans[0].kept, spans[1].kept, spans[2].kept].to(result.device, torch.float32)
    result[(slice(None), *_region(spans))].addcmul_(kept, weight)


def _fill_outside(result: NDArray[np.float32], mask: NDArray[Any] | None, fill: float) -> NDArray[np.float32]:
    if mask is not None:
        for x in range(result.shape[1]):  # one slab at a time: no temporary of the volume's size
            np.copyto(result[:, x], np.float32(fill), where=(mask[x] == 0)[None])
    return result


def _run(
    function: Callable[[Tensor], Tensor], inputs: Tensor, expected: tuple[int, ...], across: int | None, margin: int
) -> Tensor:
    """``function`` of some tiles, of which a network of slices sees two axes; (B, K, x, y, z) as ``expected``."""
    if across is None:
        outputs = function(inputs)
    else:
        outputs = function(inputs.squeeze(2 + across))
        outputs = outputs.unsqueeze(2 + across) if outputs.dim() == 4 else outputs
    if outputs.shape != expected:
        raise ModelError(
            f"the network turned {tuple(inputs.shape)} into {tuple(outputs.shape)}, expected {expected}",
            fix=f"its margin is declared as {margin} voxels: correct the method's window or channels",
        )
    return outputs
