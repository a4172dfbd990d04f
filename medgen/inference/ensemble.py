"""Several trained models as one: the voxel-wise mean of what they make, e.g. the folds of a cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from medgen.errors import UsageError
from medgen.inference.memory import Plan, within_memory
from medgen.inference.reading import size_text
from medgen.inference.stages import Estimate, first_plan, run_stages
from medgen.methods.base import Method
from medgen.preparation import Prepared
from medgen.preparation.task import ValueRange
from medgen.recipe.prediction import InferenceConfig
from medgen.types import Progress

if TYPE_CHECKING:
    from medgen.inference.model import LoadedModel


@dataclass(frozen=True, eq=False)
class Member:
    """What of one model makes an estimate.

    Attributes:
        stages: networks of its cascade, in evaluation mode on ``device``.
        settings: its tiles.
        patch: size of its training patch in voxels.
        device: where it is.
    """

    stages: tuple[Method, ...]
    settings: InferenceConfig
    patch: tuple[int, ...]
    device: torch.device


def estimate_mean(
    members: Sequence[Member], prepared: Prepared, values: ValueRange, progress: Progress | None
) -> tuple[Estimate, tuple[str, ...]]:
    """The mean of the estimates of all members, with what was noted on the way.

    Raises:
        ModelError: a network returned NaN, or what are no probabilities.
        MemoryExhausted: nothing that was tried fits into memory.
    """
    mean, notes = _estimate(members[0], prepared, values, _numbered(progress, 1, len(members)))
    clipped, voxels = mean.clipped, mean.voxels
    for number, member in enumerate(members[1:], start=2):
        each, more = _estimate(member, prepared, values, _numbered(progress, number, len(members)))
        notes += more
        clipped, voxels = clipped + each.clipped, voxels + each.voxels
        # The running mean stays in the range of the values, where a sum would not.
        for total, new in zip(mean.data, each.data, strict=True):
            new -= total
            new /= np.float32(number)
            total += new
    return Estimate(mean.data, clipped, voxels), notes


def require_alike(models: Sequence[LoadedModel]) -> None:
    """Refuse models whose results cannot be averaged.

    Raises:
        UsageError: two models differ in what they read, make or prepare, or one is there twice.
    """
    first = models[0]
    for number, other in enumerate(models[1:], start=2):
        for what, one, two in (
            ("task", first.task.name, other.task.name),
            ("inputs", first.inputs, other.inputs),
            ("classes", first.classes, other.classes),
            ("target", first.target, other.target),
            *_preparations(first, other),
        ):
            if one != two:
                raise UsageError(
                    f"model {number} of the ensemble has {what} {_text(two)}, the first has {_text(one)}",
                    where=other.source or None,
                    fix="average runs of one recipe, such as its folds or seeds",
                )
    hashes = [model.description.get("weights_sha256") for model in models]
    if len(set(hashes)) < len(hashes):
        raise UsageError("a model is in the ensemble twice", fix="name each run once")


def _preparations(first: LoadedModel, other: LoadedModel) -> list[tuple[str, object, object]]:
    one, two = (model.preparation.config.model_dump(mode="json") for model in (first, other))
    return [(f"preparation.{key}", one[key], two[key]) for key in one]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _estimate(
    member: Member, prepared: Prepared, values: ValueRange, progress: Progress | None
) -> tuple[Estimate, tuple[str, ...]]:
    first, image, body = member.stages[0], prepared.image, prepared.body
    plan = first_plan(member.stages, member.settings, member.patch, member.device)
    bytes_needed = math.prod(body.shape) * 4 * (len(image) + 2 * first.shape.outputs)

    def attempt(plan: Plan) -> Estimate:
        for stage in member.stages:
            stage.to(plan.device)
        return run_stages(member.stages, image, body, plan, member.settings, values=values, progress=progress)

    try:
        return within_memory(
            attempt,
            plan,
            first.window,
            need=f"{size_text(body.shape)} voxels take {bytes_needed / 1e9:.2f} GB besides the network",
        )
    finally:
        for stage in member.stages:
            stage.to(member.device)


def _numbered(progress: Progress | None, number: int, count: int) -> Progress | None:
    if progress is None or count == 1:
        return progress
    return lambda done, total, what: progress(done, total, f"model {number} of {count}, {what}")
