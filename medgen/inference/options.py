"""The options of a prediction, as one value from the command line to the reader of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medgen.errors import UsageError
from medgen.inference.limits import NO_LIMITS, Limits
from medgen.methods.base import Direction
from medgen.volume import Geometry

NanRule = Literal["error", "zero", "min", "median"]


@dataclass(frozen=True)
class ReadOptions:
    """How images are read, where the user overrides the model's own rule; None leaves it.

    Attributes:
        nan: what takes the place of voxels that are NaN or infinite.
        geometry: which one to believe where sform and qform disagree.
        frame: which frame of a 4D file, from 0.
        allow_missing_channel: whether inputs that the model was trained to do without may be missing, or hold one
            value throughout.
    """

    nan: NanRule | None = None
    geometry: Geometry | None = None
    frame: int | None = None
    allow_missing_channel: bool = False


@dataclass(frozen=True)
class PredictOptions:
    """What is predicted, and how.

    Attributes:
        read: how the images are read.
        direction: of a model that translates: ``forward``, the default, makes the target from the inputs,
            ``backward`` the inputs from the target.
        seed: of a model with chance, for one draw; None: the prediction without chance, e.g. the mean.
        probabilities: of a segmentation, whether the map of each class is written too.
        uncertainty: of an image, whether the standard deviation over flips and members of an ensemble is written too.
        limits: what one case may take of memory and time.
        strict: whether a warning fails the case: nothing of it is kept.

    Raises:
        UsageError: the seed is negative or too large.
    """

    read: ReadOptions = ReadOptions()
    direction: Direction | None = None
    seed: int | None = None
    probabilities: bool = False
    uncertainty: bool = False
    limits: Limits = NO_LIMITS
    strict: bool = False

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(
                f"the seed must be at least 0 and below 2^63, got {self.seed}", fix="choose another --seed"
            )
