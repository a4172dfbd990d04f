"""The options of a prediction, as one value from the command line to the reader of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from medgen.errors import UsageError
from medgen.inference.limits import NO_LIMITS, Limits
from medgen.methods.base import Direction
from medgen.recipe.prediction import InferenceConfig
from medgen.volume import Geometry

COVERAGE = 0.9
"""Nominal coverage of the interval of ``--samples`` where none is named."""

MOST_SAMPLES = 10_000
"""More would run for days, and change the standard deviation by less than a hundredth."""

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
        threshold: of a label map, in (0, 1), in place of the model's ``inference.threshold``; None: the model's.
        uncertainty: whether the standard deviation over flips and members of an ensemble is written too.
        samples: draws at random, 2 to 10,000, of a model with chance or with ``dropout``; their mean is the result,
            and their standard deviation is written too. They are dealt round the members of an ensemble and the
            flips. None: no draws.
        dropout: whether the dropout layers drop in each draw.
        interval: nominal coverage, in (0, 1), of the interval of an image that is written too; None: that of
            ``samples`` is 0.9, and there is none without.
        keep_samples: whether each draw is written too.
        limits: what one case may take of memory and time.
        strict: whether a warning fails the case: nothing of it is kept.
        dicom: whether results and maps are written as DICOM too, into the study of the first image.
        contours: of a segmentation, with ``dicom``: whether the outlines of its classes are written too.
        anonymize: of these: whether nothing in them tells who the patient is.

    Raises:
        UsageError: the seed is negative or too large, the threshold is not in (0, 1), or the options on samples
            contradict each other.
    """

    read: ReadOptions = ReadOptions()
    direction: Direction | None = None
    seed: int | None = None
    probabilities: bool = False
    uncertainty: bool = False
    limits: Limits = NO_LIMITS
    strict: bool = False
    samples: int | None = None
    dropout: bool = False
    interval: float | None = None
    keep_samples: bool = False
    threshold: float | None = None
    dicom: bool = False
    contours: bool = False
    anonymize: bool = False

    def decided(self, settings: InferenceConfig) -> InferenceConfig:
        """The settings of a model with the threshold that is asked for."""
        return settings if self.threshold is None else settings.model_copy(update={"threshold": self.threshold})

    @property
    def spreads(self) -> bool:
        """Whether the standard deviation of the estimates is wanted."""
        return self.uncertainty or self.samples is not None

    @property
    def coverage(self) -> float | None:
        """Nominal coverage of the interval; None where none is wanted."""
        return COVERAGE if self.interval is None and self.samples is not None else self.interval

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each draw: a function of its number and of ``seed``, which is 0 where it is None."""
        numbers = range(self.samples or 0)
        states = [np.random.SeedSequence((self.seed or 0, number)).generate_state(1, np.uint64) for number in numbers]
        return tuple(int(state[0] >> np.uint64(1)) for state in states)

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 2:
            raise UsageError(
                f"a standard deviation needs at least 2 samples, got {self.samples}", fix="choose --samples 16"
            )
        if self.samples is not None and self.samples > MOST_SAMPLES:
            raise UsageError(
                f"at most {MOST_SAMPLES:,} samples are drawn, got {self.samples}", fix="choose --samples 16"
            )
        require_coverage(self.interval, "--interval")
        for option, given in (("--dropout", self.dropout), ("--keep-samples", self.keep_samples)):
            if given and self.samples is None:
                raise UsageError(f"{option} is of draws at random, and none are asked for", fix="add --samples 16")
        if self.interval is not None and not self.spreads:
            raise UsageError(
                "--interval is of several estimates, and one is asked for", fix="add --samples 16, or --uncertainty"
            )
        for option, given in (("--contours", self.contours), ("--anonymize", self.anonymize)):
            if given and not self.dicom:
                raise UsageError(f"{option} is of DICOM, and none is asked for", fix="add --dicom, or leave it out")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UsageError(
                f"the threshold of a probability lies between 0 and 1, got {self.threshold:g}",
                fix="choose --threshold 0.5, or leave it out",
            )
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(
                f"the seed must be at least 0 and below 2^63, got {self.seed}", fix="choose another --seed"
            )


def require_coverage(coverage: float | None, option: str) -> None:
    """Refuse a nominal coverage that no interval can have.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if coverage is not None and not 0 < coverage < 1:
        raise UsageError(
            f"the coverage of an interval lies between 0 and 1, got {coverage:g}", fix=f"choose {option} 0.9"
        )
