"""A volume in tiles: same-size networks, and valid convolutions whose output is smaller than their input.

A tile is placed by its *output*: the input reaches ``margin`` voxels further on every side, and where it
reaches over the border of the volume the edge voxels are repeated (as in the code of Nie et al. 2017).
Each axis carries a partition of unity over its tiles, so the weighted tiles just add up: no second volume of
weights, no division. A voxel inside the mask is covered by no tile that is left out, hence its value does
not depend on the mask.

A network with sub-sampled pathways (DeepMedic) gives a voxel the value that the whole volume gives it where its
output begins at a multiple of its sub-sampling factors: ``align``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.errors import ModelError, UsageError
from medgen.recipe.prediction import fitting_edge
from medgen.types import Progress

Blend = Literal["gaussian", "constant"]

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
    margin: int = 0,
    channels: int = 1,
    blend: Blend = "gaussian",
    overlap: float = 0.0,
    mask: NDArray[Any] | None = None,
    fill: float = 0.0,
    batch: int = 1,
    multiple: int = 1,
    align: int = 1,
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
    normalises by its input (instance normalisation) is best fed with what it was trained on.

    Args:
        function: float32 (B, C, x, y, z) on ``device`` -> (B, K, x - 2 margin, y - 2 margin, z - 2 margin).
        image: (C, X, Y, Z), any real type, array or memory map.
        size: largest input tile in voxels, three edges, rounded up to what ``multiple`` and ``align`` allow.
        margin: voxels that ``function`` loses on each side.
        channels: K.
        blend: weight of a tile where tiles overlap.
        overlap: fraction of a tile's output that its neighbour covers again, 0 <= overlap < 1. At 0 and with
            a margin the tiles abut; without a margin the last tile of an axis blends with the one before it,
            where it was shifted back over it.
        mask: (X, Y, Z), non-zero where a result is wanted. Only tiles that touch it are run.
        fill: value outside the mask.
        batch: tiles that go through ``function`` together.
        multiple: what the input edges must be divisible by.
        align: what the starts and the edges of the outputs must be divisible by (sub-sampled pathways).
        device: where ``function`` runs.
        stitch_on: where the tiles are added up; a GPU here spares copies and costs K volumes of its memory.
        progress: called with (tiles done, tiles in all, "tiles").

    Returns:
        (K, X, Y, Z) float32.

    Raises:
        UsageError: a tile that the margins eat up, an overlap outside [0, 1).
        ModelError: ``function`` returned another shape than margin and channels say.
    """
    shape = _checked_shape(image, mask, overlap)
    _require_room(size, margin)
    tile = [
        tile_edge(edge, length, margin=margin, multiple=multiple, overlap=overlap, align=align)
        for edge, length in zip(size, shape, strict=True)
    ]
    output = [edge - 2 * margin for edge in tile]
    axes = [
        axis_spans(length, edge, overlap=overlap, blend=blend, abut=margin > 0 and overlap == 0, align=align)
        for length, edge in zip(shape, output, strict=True)
    ]
    tiles = [spans for spans in product(*axes) if mask is None or _touches(mask, spans)]
    result = torch.zeros((channels, *shape), dtype=torch.float32, device=stitch_on)
    with torch.inference_mode():
        for first in range(0, len(tiles), batch):
            group = tiles[first : first + batch]
            inputs = np.stack([read_tile(image, [span.start - margin for span in spans], tile) for spans in group])
            outputs = function(torch.from_numpy(inputs).to(device))
            if outputs.shape != (len(group), channels, *output):
                raise _wrong_shape(inputs.shape, tuple(outputs.shape), (len(group), channels, *output), margin)
            for spans, values in zip(group, outputs, strict=True):
                _add(result, spans, values)
            if progress:
                progress(first + len(group), len(tiles), "tiles")
    return _fill_outside(result.cpu().numpy(), mask, fill)


def tile_edge(edge: int, length: int, *, margin: int, multiple: int, overlap: float, align: int = 1) -> int:
    """Edge of the input tile along one axis, at most ``edge`` rounded up to what the network can take.

    Args:
        edge: the largest wanted.
        length: voxels of the volume along the axis.
        margin: voxels that the network loses on each side.
        multiple: what the edge must be divisible by.
        overlap: fraction of a tile's output shared with the next tile.
        align: what the edge of the output must be divisible by.

    >>> tile_edge(80, 50, margin=8, multiple=1, overlap=0), tile_edge(80, 130, margin=8, multiple=1, overlap=0)
    (66, 60)
    """

    def fit(wanted: int) -> int:
        return fitting_edge(wanted, margin=margin, multiple=multiple, align=align)

    largest = fit(edge)
    # Two multiples at least: at one, the innermost feature map is a single voxel, which instance
    # normalisation cannot take.
    smallest = fit(2 * multiple if multiple > 1 else 1)
    if length + 2 * margin <= largest or margin == 0:
        return min(largest, max(smallest, fit(length + 2 * margin)))
    count = len(_starts(length, largest - 2 * margin, overlap, align))
    candidates = range(smallest, largest, math.lcm(multiple, align))
    fewest = (each for each in candidates if len(_starts(length, each - 2 * margin, overlap, align)) == count)
    return next(fewest, largest)


def axis_spans(
    length: int, output: int, *, overlap: float, blend: Blend, abut: bool, align: int = 1
) -> tuple[Span, ...]:
    """Cover ``length`` voxels with tiles of ``output`` voxels.

    The last tile is shifted back to end at the border. An aligned one cannot be: it hangs over the border.

    Args:
        length: voxels of the volume along the axis.
        output: voxels of a tile's output along the axis.
        overlap: fraction of ``output`` shared with the next tile.
        blend: shape of the weights before they are made to sum to 1.
        abut: give each voxel to one tile alone.
        align: what the starts must be divisible by.
    """
    if output >= length:
        return (Span(0 if align > 1 else -((output - length) // 2), 0, length, torch.ones(length)),)
    starts = _starts(length, output, overlap, align)
    highs = [min(start + output, length) for start in starts]
    if abut:
        lows = [0, *highs[:-1]]
        return tuple(
            Span(start, low, high, torch.ones(high - low)) for start, low, high in zip(starts, lows, highs, strict=True)
        )
    window = _window(output, blend)
    total = np.zeros(starts[-1] + output)
    for start in starts:
        total[start : start + output] += window
    shares = (window / total[start : start + output] for start in starts)
    return tuple(
        Span(start, start, high, torch.from_numpy(share[: high - start].astype(np.float32)))
        for start, high, share in zip(starts, highs, shares, strict=True)
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


def _require_room(size: Sequence[int], margin: int) -> None:
    if min(size) <= 2 * margin:
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


def _window(edge: int, blend: Blend) -> NDArray[np.float64]:
    if blend == "constant":
        return np.ones(edge)
    distance = np.arange(edge, dtype=np.float64) - (edge - 1) / 2
    weight: NDArray[np.float64] = np.exp(-0.5 * (distance / (SIGMA * edge)) ** 2)
    return weight


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


def _wrong_shape(given: Sequence[int], got: Sequence[int], expected: Sequence[int], margin: int) -> ModelError:
    return ModelError(
        f"the network turned {tuple(given)} into {tuple(got)}, expected {tuple(expected)}",
        fix=f"its margin is declared as {margin} voxels: correct the method's margin, multiple or channels",
    )
