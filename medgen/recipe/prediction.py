"""How a volume is predicted: the recipe's ``inference:`` block; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from medgen.config import Config
from medgen.errors import ModelError, UsageError

if TYPE_CHECKING:  # the settings are read without torch
    from medgen.methods.base import Window

Edge = Annotated[int, Field(ge=1, le=4096)]

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


class DetectionConfig(Config):
    """How lesions are found in the probability of one class; see :func:`medgen.inference.candidates.find_candidates`.

    The defaults are those of the PI-CAI baselines, with their "more than 10 voxels" of 0.5 x 0.5 x 3 mm as a volume.

    >>> DetectionConfig.model_validate({"class": "tumour"}).threshold
    'dynamic'
    """

    model_config = ConfigDict(populate_by_name=True)

    target_class: str = Field(alias="class", min_length=1)
    """Name of the class whose probability is searched for lesions, as in ``data.classes``. The key is ``class``."""
    threshold: Literal["dynamic"] | Annotated[float, Field(gt=0, lt=1)] = "dynamic"
    """``dynamic``: each lesion reaches down to its own highest probability divided by ``factor``. A number: everything
    connected from that probability on is one lesion."""
    factor: Annotated[float, Field(gt=1)] = 2.5
    """Of the dynamic threshold; larger makes larger lesions."""
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """With the dynamic threshold, the lowest confidence that a lesion may have."""
    minimum_mm3: NonNegativeFloat = 8.25
    """Smaller pieces are no lesions; in mm^3 on the patient's own grid."""
    most: PositiveInt = 5
    """Lesions of a patient; the most confident are kept."""
    near: tuple[str, ...] = ()
    """Names of the classes that make up the organ, e.g. ``[peripheral zone, transition zone]``: lesions lie in the
    largest connected piece that these classes and the lesion's own make in the label map, and ``near_mm`` around it.
    For a model that was trained in a mask around the organ and predicts whole images. Empty: anywhere in the
    body; so too, with a note, where the label map has none of these classes."""
    near_mm: NonNegativeFloat = 5.0
    """mm around that piece."""

    @model_serializer(mode="wrap")
    def _with_key(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {"class": values.pop("target_class", self.target_class), **values}


class PiecesConfig(Config):
    """Which connected pieces (26 neighbours) of a class stay in a label map; what does not becomes background.

    First the pieces are chosen, then the holes of those that stay are filled.

    >>> PiecesConfig(keep="largest").minimum_ml
    0.0
    """

    keep: Literal["all", "largest"] = "all"
    """``largest``: the largest piece alone, of an organ that is one; of equal ones the first."""
    minimum_ml: NonNegativeFloat = 0.0
    """Smaller pieces do not stay; in ml on the patient's own grid."""
    fill: Literal["none", "holes", "rings"] = "none"
    """Background that becomes the class: ``holes``, which it encloses on all sides; ``rings``, also what it encloses in
    a slice along any of the three axes of the grid, such as a necrosis that is open at one end. Other classes inside
    stay."""


class InferenceConfig(Config):
    """Tiles and flips of prediction, and how its result is cleaned and searched for lesions."""

    blend: Literal["gaussian", "constant"] = "gaussian"
    """Weight of a tile's voxels where tiles overlap: ``gaussian`` (standard deviation an eighth of the tile's edge) or
    ``constant`` (plain average)."""
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Least fraction of a tile's output that the next tile covers again, from 0 to below 1. ``null``: 0.5 for networks
    whose output is as large as their input, 0.25 for those that lose a margin, 0 for those whose tiles are aligned and
    so equal the whole volume. At 0 the tiles of the last two abut."""
    size: Annotated[tuple[Edge, ...], Field(min_length=2, max_length=3)] | None = None
    """Largest edges of a tile's input in voxels, as many as the training patch has. ``null``: the size of the training
    patch, enlarged for networks with a margin, where a small tile wastes most of the work on it."""
    batch: Annotated[int, Field(ge=1, le=65536)] = 1
    """Tiles that go through the network together."""
    flips: tuple[Literal["x", "y", "z"], ...] = ()
    """Axes (x: right-left, y: posterior-anterior, z: inferior-superior). The result is the voxel-wise mean over all
    combinations of their flips: 2 passes for ``[x]``, 4 for ``[x, y]``, 8 for all three. Each pass predicts the flipped
    volume, with every network of a cascade, and its result is flipped back. The time grows with the passes. Validation
    during training is without flips."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of a label map with one class, the probability, in (0, 1), above which a voxel is of the class; less finds more.
    With several classes a voxel is of the most probable one, where the background's probability counts threshold / (1 -
    threshold) times: it decides between a class and background, not between two classes. At 0.5 it is the most probable
    class. Probability maps, detected lesions (which have a threshold of their own) and the validation during training
    are not changed. Of an ensemble the first model decides."""
    minimum_ml: NonNegativeFloat = 0.0
    """Of a label map, connected pieces (26 neighbours) of a class that are smaller than this many millilitres become
    background; 0 keeps all. Probability maps and the validation during training are not changed."""
    pieces: dict[str, PiecesConfig] = {}
    """Of a label map, by name of the class, the pieces that stay, and whether their holes are filled, e.g.
    ``{peripheral zone: {keep: largest}, tumour: {minimum_ml: 0.05}}``; of other classes ``minimum_ml`` decides. A
    prediction says how much was removed and filled."""
    intensities: tuple[str, ...] = ()
    """Of a segmentation of tissues, the classes whose borders with one another are drawn again by the first input's own
    intensities, e.g. ``[grey, white, csf]``; the network's probability is the prior
    (:mod:`medgen.inference.intensities`). For a network that was trained on a coarser grid than the scans have, or in
    other contrasts. Probability maps change with the label map; the validation during training does not."""
    detection: DetectionConfig | None = None
    """Of a segmentation, the class in whose probability lesions are found; ``null``: none are. A prediction then has a
    detection map and a list of lesions besides."""
    licence: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n\r]*$")] = "not stated"
    """Terms under which the weights may be used and passed on, in words or as an SPDX identifier, on one line. It
    changes nothing; ``model.json`` says it."""

    @field_validator("intensities", mode="before")
    @classmethod
    def _once_a_mapping(cls, value: Any) -> Any:
        """Of models that were trained when each class had a number of Gaussians, the names."""
        return tuple(value) if isinstance(value, Mapping) else value

    @field_validator("flips")
    @classmethod
    def _flips_once(cls, flips: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(flips)) < len(flips):
            raise ValueError(f"flips names an axis twice: {', '.join(flips)}")
        return flips

    def pieces_of(self, name: str) -> PiecesConfig:
        """The rule for a class."""
        return self.pieces.get(name, PiecesConfig(minimum_ml=self.minimum_ml))

    @property
    def passes(self) -> tuple[tuple[int, ...], ...]:
        """The axes of a volume (X, Y, Z) that each pass flips; the first pass flips none.

        >>> InferenceConfig(flips=("x", "z")).passes
        ((), (0,), (2,), (0, 2))
        """
        axes = ["xyz".index(name) for name in self.flips]
        return tuple(flipped for count in range(len(axes) + 1) for flipped in combinations(axes, count))

    def tile_size(self, patch: Sequence[int], window: Window) -> tuple[int, ...]:
        """Edges of a tile's input in voxels that the network can take.

        Args:
            patch: the size of the training patch, two or three voxel counts.
            window: of the network; an exact one takes the training patch and nothing else.

        Raises:
            UsageError: ``size`` does not fit the training patch.

        >>> from medgen.methods.base import Window
        >>> InferenceConfig().tile_size((32, 32, 32), Window(margin=8))
        (80, 80, 80)
        >>> InferenceConfig(size=(40, 40, 24)).tile_size((32, 32, 32), Window(multiple=16))
        (48, 48, 32)
        """
        size = self.size
        if size is not None and size != tuple(patch) and (window.exact or len(size) != len(patch)):
            needed = f"{list(patch)} exactly" if window.exact else f"{len(patch)} edges"
            raise UsageError(
                f"inference.size is {list(size)}; the tiles of this network must have {needed}",
                fix="leave inference.size out: it follows from the training patch",
            )
        if window.exact:
            return tuple(patch)
        margins = VALID_SIZE_IN_MARGINS if window.align == 1 else ALIGNED_SIZE_IN_MARGINS
        wanted = size or [max(edge, margins * window.margin, window.tile) for edge in patch]
        return tuple(fitting_edge(edge, window) for edge in wanted)

    def tile_overlap(self, window: Window) -> float:
        """The overlap in force for a network with this window.

        >>> from medgen.methods.base import Window
        >>> InferenceConfig().tile_overlap(Window())
        0.5
        >>> InferenceConfig().tile_overlap(Window(margin=8))
        0.25
        """
        if self.overlap is not None:
            return self.overlap
        if window.align > 1:
            return 0.0
        return VALID_OVERLAP if window.margin else SAME_SIZE_OVERLAP


def fitting_edge(edge: int, window: Window) -> int:
    """The smallest edge, ``edge`` or above, of an input that a network can take and that leaves an output.

    Args:
        edge: voxels that are wanted.
        window: of the network; not an exact one.

    Raises:
        ModelError: no edge fits.

    >>> from medgen.methods.base import Window
    >>> fitting_edge(60, Window(margin=26, align=3))
    61
    >>> fitting_edge(20, Window(multiple=8))
    24
    """
    margin, multiple, align = window.margin, window.multiple, window.align
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
