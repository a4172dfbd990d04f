"""From mean and standard deviation to an interval: by a normal distribution, or calibrated; and the gate of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from medgen.errors import ModelError, UsageError
from medgen.files import write_json
from medgen.inference.options import COVERAGE
from medgen.metrics.tissue import Tissue, tissue
from medgen.training.model_folder import model_folder
from medgen.volume import Volume

FILE = "intervals.json"
"""In the model folder, beside the weights; ``medgen calibrate`` writes it."""
TISSUES: tuple[Tissue, ...] = get_args(Tissue)
ALL = "all"
"""Key of the quantile of an interval that is not calibrated by tissue."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Scale:
    """How many standard deviations an interval reaches to each side of the mean.

    Attributes:
        coverage: nominal, in (0, 1).
        quantiles: by tissue of the mean, or one for all.
        floor: least standard deviation, in the unit of the image.
        calibrated: whether they were measured on patients.
    """

    coverage: Annotated[Finite, Field(gt=0, lt=1)]
    quantiles: Mapping[str, Annotated[Finite, Field(ge=0)]]
    floor: Annotated[Finite, Field(ge=0)] = 0.0
    calibrated: bool = True

    @property
    def by_tissue(self) -> bool:
        """Whether tissues have quantiles of their own."""
        return ALL not in self.quantiles

    def half_width(self, mean: NDArray[np.floating], sd: NDArray[np.floating]) -> NDArray[np.floating]:
        """Half the width of the interval of each voxel, in the unit of the image."""
        spread: NDArray[np.floating] = np.maximum(sd, sd.dtype.type(self.floor))
        if not self.by_tissue:
            spread *= sd.dtype.type(self.quantiles[ALL])
            return spread
        for name in TISSUES:
            spread[tissue(mean, name)] *= sd.dtype.type(self.quantiles[name])
        return spread

    def bounds(self, mean: Volume, sd: Volume, lowest: float | None = None) -> tuple[Volume, Volume]:
        """Lower and upper end of the interval, float32; nothing is below ``lowest``."""
        lower, upper = (np.empty(mean.data.shape, np.float32) for _ in range(2))
        for x in range(mean.data.shape[1]):  # a slab at a time
            middle = mean.data[:, x]
            half = self.half_width(middle, sd.data[:, x])
            np.subtract(middle, half, out=lower[:, x])
            np.add(middle, half, out=upper[:, x])
        if lowest is not None:
            np.maximum(lower, np.float32(lowest), out=lower)
        return mean.with_data(lower), mean.with_data(upper)


def gaussian(coverage: float) -> Scale:
    """The interval of a normal distribution, for a model that was not calibrated.

    >>> round(gaussian(0.9).quantiles["all"], 3)
    1.645
    """
    return Scale(coverage, {ALL: NormalDist().inv_cdf((1 + coverage) / 2)}, calibrated=False)


@dataclass(frozen=True)
class Gate:
    """Accepts a case by the mean standard deviation in its body.

    Attributes:
        threshold: largest mean standard deviation that is accepted, in the unit of the image.
        slope: of the regression of the mean absolute error on it, over the validation cases.
        intercept: of that regression, in the unit of the image.
    """

    threshold: Finite
    slope: Finite
    intercept: Finite

    @property
    def expected(self) -> float:
        """Mean absolute error to be expected of a case at the threshold."""
        return max(0.0, self.intercept + self.slope * self.threshold)

    def measured(self, mean_sd: float) -> dict[str, float | bool]:
        """What the report says about a case."""
        predicted = max(0.0, self.intercept + self.slope * mean_sd)
        return {"predicted_mae": round(predicted, 3), "accepted": bool(mean_sd <= self.threshold)}

    def warnings(self, mean_sd: float, unit: str) -> tuple[str, ...]:
        """A warning on a case that is rejected."""
        if mean_sd <= self.threshold:
            return ()
        expected = self.measured(mean_sd)["predicted_mae"]
        return (
            f"rejected by the gate: the mean standard deviation in the body is {mean_sd:.4g}{unit}, and at most "
            f"{self.threshold:.4g}{unit} is accepted; expected mean absolute error {expected:.4g}{unit}",
        )


@dataclass(frozen=True)
class Settings:
    """What a calibration holds for.

    Attributes:
        weights: SHA-256 of the weights of every member.
        samples: draws; None: flips and members alone.
        dropout: whether dropout layers dropped.
        inference: the ``inference`` block of every member, in which the flips stand.
    """

    weights: tuple[str | None, ...]
    samples: Annotated[int, Field(ge=2)] | None
    dropout: bool
    inference: tuple[str, ...]

    @property
    def text(self) -> str:
        """In the words of the command line."""
        words = ["--uncertainty"] if self.samples is None else [f"--samples {self.samples}"]
        words += ["--dropout"] * self.dropout + [f"--ensemble of {len(self.weights)} runs"] * (len(self.weights) > 1)
        return " ".join(words)


@dataclass(frozen=True)
class Calibration:
    """A scale and a gate, and what they were measured on.

    Attributes:
        settings: that a prediction must share.
        scale: of the interval.
        gate: of the cases.
        patients: validation cases.
        guaranteed: whether the quantile is the one with a guarantee for few patients.
        left_out: mean, least and largest coverage of a patient by the plain quantile of the others.
        split: of the validation cases.
        cases_sha256: of their case table.
    """

    settings: Settings
    scale: Scale
    gate: Gate
    patients: Annotated[int, Field(ge=1)]
    guaranteed: bool
    left_out: tuple[()] | tuple[Finite, Finite, Finite]
    split: str = ""
    cases_sha256: str = ""

    @property
    def origin(self) -> dict[str, str]:
        """Which cases it was measured on: scores of these are no test of it."""
        return {"split": self.split, "cases_sha256": self.cases_sha256}


@dataclass(frozen=True)
class _Stored:
    """The content of the file."""

    version: Literal[1]
    calibrations: tuple[Calibration, ...]


_STORED = TypeAdapter(_Stored)


def read_calibrations(run: str | Path) -> tuple[Calibration, ...]:
    """The calibrations of a model; none where it was not calibrated.

    Raises:
        ModelError: the file is damaged.
    """
    path = model_folder(run) / FILE
    try:
        found = _STORED.validate_json(path.read_bytes(), strict=True).calibrations
        if any(set(each.scale.quantiles) not in ({ALL}, set(TISSUES)) for each in found):
            raise ValueError("a tissue lacks its quantile")
    except FileNotFoundError:
        return ()
    except (ValueError, RecursionError, IsADirectoryError):
        raise ModelError(
            "the calibration of the intervals is damaged",
            where=path,
            fix="delete this file, and run 'medgen calibrate' again",
        ) from None
    return found


def keep_calibration(run: str | Path, new: Calibration) -> Path:
    """Add a calibration to those of a model; one of the same settings and coverage is replaced.

    Raises:
        ModelError: the file that is there is damaged.
        StorageError: the folder cannot be written.
    """
    path = model_folder(run) / FILE
    old = [each for each in read_calibrations(run) if each.settings != new.settings or _scope(each) != _scope(new)]
    write_json(path, {"version": 1, "calibrations": [asdict(each) for each in (*old, new)]})
    return path


def matching(
    calibrations: Sequence[Calibration], settings: Settings, coverage: float | None, where: str = ""
) -> Calibration | None:
    """The calibration of a prediction; None where the model has none at all.

    Args:
        calibrations: of the model.
        settings: of the prediction.
        coverage: of its interval; None: for the gate alone, 0.9 as where an interval is made by default, or else that
            of the newest.
        where: the model, for messages.

    Raises:
        UsageError: an interval is wanted, and the model is calibrated for other settings or another coverage alone.
        ModelError: all calibrations are of other weights.
    """
    alike = [each for each in reversed(calibrations) if each.settings == settings]
    for wanted in (COVERAGE, *(each.scale.coverage for each in alike)) if coverage is None else (coverage,):
        for each in alike:
            if each.scale.coverage == wanted:
                return each
    if not calibrations or coverage is None:
        return None
    own = [each for each in calibrations if each.settings.weights == settings.weights]
    if not own:
        raise ModelError(
            "the intervals of this model were calibrated with other weights, or for another ensemble",
            where=where or None,
            fix="run 'medgen calibrate' again, with the same --ensemble",
        )
    there = ", ".join(f"{each.settings.text} --interval {each.scale.coverage:g}" for each in own)
    raise UsageError(
        f"the intervals of this model are calibrated for {there}, not for {settings.text} --interval {coverage:g}",
        where=where or None,
        fix="predict with those options, or run 'medgen calibrate' for these",
    )


def _scope(calibration: Calibration) -> float:
    return calibration.scale.coverage
