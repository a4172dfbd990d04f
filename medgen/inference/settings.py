"""How a volume is predicted: the recipe's ``inference:`` block; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from medgen.config import Config
from medgen.errors import ModelError

Edge = Annotated[int, Field(ge=1)]

SAME_SIZE_OVERLAP = 0.5
"""Overlap of tiles of a same-size network: its border voxels saw padding, so they should count for little."""

VALID_OVERLAP = 0.25
"""Overlap of tiles of a network with a margin. Pure valid convolutions need none, but the published generator of
Nie et al. also pads inside, and a few border voxels of its output differ from what a larger tile would give."""

VALID_SIZE_IN_MARGINS = 10
"""Tile edge of a valid-convolution network in margins: at 10 the input is 1.95 times the output, at 4 it is 8 times."""

ALIGNED_SIZE_IN_MARGINS = 4
"""The same for a network with sub-sampled pathways. Most of its margin is read by those alone, which is cheap: at 4
the convolutions of DeepMedic do 1.5 times the work of the whole volume at once."""


class InferenceConfig(Config):
    """Tiles of prediction.

    Attributes:
        blend: weight of a tile's voxels where tiles overlap: ``gaussian`` (standard deviation an eighth of the
            tile's edge) or ``constant`` (plain average).
        overlap: least fraction of a tile's output that the next tile covers again, from 0 to below 1. ``None``:
            0.5 for networks whose output is as large as their input, 0.25 for those that lose a margin, 0 for those
            whose tiles are aligned and so equal the whole volume. At 0 the tiles of the last two abut.
        size: largest edges of a tile's input in voxels. ``None``: the size of the training patch, enlarged for
            networks with a margin, where a small tile wastes most of the work on it.
        batch: tiles that go through the network together.
        minimum_ml: of a label map, connected pieces (26 neighbours) of a class that are smaller than this many
            millilitres become background; 0 keeps all. Probability maps and the validation of training are as the
            network says.
    """

    blend: Literal["gaussian", "constant"] = "gaussian"
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    size: tuple[Edge, Edge, Edge] | None = None
    batch: Annotated[int, Field(ge=1)] = 1
    minimum_ml: NonNegativeFloat = 0.0

    def tile_size(
        self, patch: Sequence[int], *, margin: int = 0, multiple: int = 1, align: int = 1
    ) -> tuple[int, int, int]:
        """Edges of a tile's input in voxels that the network can take.

        Args:
            patch: the size of the training patch, three voxel counts.
            margin: voxels that the network loses on each side.
            multiple: what the network's input must be divisible by.
            align: what the network's output must be divisible by.

        >>> InferenceConfig().tile_size((32, 32, 32), margin=8)
        (80, 80, 80)
        >>> InferenceConfig(size=(40, 40, 24)).tile_size((32, 32, 32), multiple=16)
        (48, 48, 32)
        """
        margins = VALID_SIZE_IN_MARGINS if align == 1 else ALIGNED_SIZE_IN_MARGINS
        wanted = self.size or tuple(max(edge, margins * margin) for edge in patch)
        x, y, z = (fitting_edge(edge, margin=margin, multiple=multiple, align=align) for edge in wanted)
        return x, y, z

    def tile_overlap(self, margin: int = 0, align: int = 1) -> float:
        """The overlap in force for a network with this margin and alignment.

        >>> InferenceConfig().tile_overlap(), InferenceConfig().tile_overlap(8), InferenceConfig().tile_overlap(26, 3)
        (0.5, 0.25, 0.0)
        """
        if self.overlap is not None:
            return self.overlap
        if align > 1:
            return 0.0
        return VALID_OVERLAP if margin else SAME_SIZE_OVERLAP


def fitting_edge(edge: int, *, margin: int = 0, multiple: int = 1, align: int = 1) -> int:
    """The smallest edge, ``edge`` or above, of an input that a network can take and that leaves an output.

    Args:
        edge: voxels that are wanted.
        margin: voxels that the network loses on each side.
        multiple: what the edge must be divisible by.
        align: what the edge of the output must be divisible by.

    Raises:
        ModelError: no edge fits.

    >>> fitting_edge(60, margin=26, align=3), fitting_edge(20, margin=0, multiple=8), fitting_edge(5, margin=4)
    (61, 24, 9)
    """
    smallest = max(edge, 2 * margin + 1)
    for candidate in range(smallest, smallest + multiple * align):
        if candidate % multiple == 0 and (candidate - 2 * margin) % align == 0:
            return candidate
    raise ModelError(
        f"no tile can be divisible by {multiple} and leave a multiple of {align} inside margins of {margin}",
        fix="correct the method's margin, multiple or align",
    )


def round_up(number: int, multiple: int) -> int:
    """The smallest number divisible by ``multiple`` that is not below ``number``.

    >>> round_up(33, 16), round_up(32, 16)
    (48, 32)
    """
    return -(-number // multiple) * multiple
