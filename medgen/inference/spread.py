"""Whether a model has several estimates of one patient at all, and how they are told apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medgen.errors import UsageError
from medgen.inference.ensemble import count_estimates
from medgen.inference.images import slope_of
from medgen.inference.intervals import Gate
from medgen.inference.options import PredictOptions
from medgen.inference.stages import Cascade, Request
from medgen.methods.base import Method, Predicts, Translates
from medgen.metrics.uncertainty import mean_sd
from medgen.networks.blocks import dropout_layers
from medgen.preparation.settings import IntensityConfig
from medgen.preparation.task import Task
from medgen.types import Array


def is_stochastic(stage: Method) -> bool:
    """Whether its prediction with a generator is drawn at random."""
    return isinstance(stage, Predicts | Translates) and stage.stochastic


def require_chance(task: Task, cascades: Sequence[Cascade], options: PredictOptions) -> None:
    """Refuse draws of a model without chance, dropout of one without such layers, and too few estimates.

    Args:
        task: what the model makes.
        cascades: of its members.
        options: of the prediction.

    Raises:
        UsageError: says what is wrong, and what to do.
    """
    drawn = 0 if options.samples is not None else options.seed
    request = Request(direction=options.direction or "forward", seed=drawn, dropout=options.dropout)
    for cascade in cascades:
        cascade.require(request)
    chance = all(any(is_stochastic(stage) for stage in cascade.stages) for cascade in cascades)
    if options.dropout and not all(any(map(dropout_layers, cascade.stages)) for cascade in cascades):
        raise UsageError(
            "--dropout needs a network with dropout, and this model has none",
            fix="train it with config.dropout: 0.1, or use --ensemble RUN2 --uncertainty",
        )
    if not chance and not options.dropout and (options.samples is not None or options.seed is not None):
        option = "--seed" if options.samples is None else "--samples"
        raise UsageError(
            f"{option} is for a model that draws at random, and this one always makes the same result",
            fix="leave it out; --uncertainty takes flips and an --ensemble, --dropout a network with dropout",
        )
    if options.samples is not None and options.samples < len(cascades):
        raise UsageError(
            f"{options.samples} samples are fewer than the {len(cascades)} models of the ensemble",
            fix=f"choose --samples {4 * len(cascades)}",
        )
    if options.interval is not None and task.labels:
        raise UsageError("--interval is of an image, and the model makes a label map", fix="leave it out")
    if options.uncertainty and options.samples is None:
        require_several(cascades)


def judged(
    sd: NDArray[np.float32], body: Array, unit: IntensityConfig, gate: Gate | None
) -> tuple[dict[str, float | bool], tuple[str, ...]]:
    """The mean standard deviation in the body, what a gate says of it, and its warnings.

    Args:
        sd: (X, Y, Z) of the normalised image.
        body: (X, Y, Z), non-zero inside.
        unit: of the image.
        gate: of a calibrated model.
    """
    score = mean_sd(sd, body != 0) * slope_of(unit)
    if gate is None:
        return {"mean_sd": score}, ()
    return {"mean_sd": score, **gate.measured(score)}, gate.warnings(score, " HU" if unit.hounsfield else "")


def require_several(cascades: Sequence[Cascade]) -> None:
    """Refuse the standard deviation of a single estimate.

    Raises:
        UsageError: says what to do.
    """
    if count_estimates(cascades) < 2:
        raise UsageError(
            "--uncertainty needs two estimates or more, and this model makes one",
            fix="add a further run with --ensemble RUN2, or train with inference.flips: [x] in the recipe",
        )
