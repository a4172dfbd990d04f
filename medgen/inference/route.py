"""The images that a prediction reads and makes, as the abilities of a method allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from medgen.errors import UsageError
from medgen.inference.stages import Request
from medgen.methods.base import Direction, Method, Predicts, Translates, abilities_of
from medgen.preparation.settings import Roles
from medgen.preparation.task import NORMALISED, Task, ValueRange


@dataclass(frozen=True)
class Route:
    """What one prediction reads and makes.

    Attributes:
        reads: roles of the images that are read; the result lies on the grid of the first.
        makes: roles of the images that are made, in the order of the channels.
        values: range of what the networks return.
        direction: of a model that translates; None for one that predicts.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    values: ValueRange
    direction: Direction | None = None

    def request(self, seed: int | None, *, dropout: bool = False) -> Request:
        """What the networks are asked for."""
        return Request(self.values, self.direction or "forward", seed, dropout)


def route_of(stages: Sequence[Method], task: Task, roles: Roles, direction: str | None, where: str = "") -> Route:
    """What a model reads and makes in a direction.

    Args:
        stages: its networks.
        task: what it makes.
        roles: its images.
        direction: ``forward`` or ``backward`` for a model that translates, ``forward`` by default; else None.
        where: the model, for messages.

    Raises:
        UsageError: the model makes no prediction, has no direction, or not this one.
    """
    method, place = stages[0], where or None
    can = ", ".join(abilities_of(type(method))) or "nothing"
    if isinstance(method, Translates):
        return _translation(stages, task, roles, direction, place)
    if not isinstance(method, Predicts):
        raise UsageError(
            f"this model makes no prediction; it can: {can}",
            where=place,
            fix="give a model that predicts or translates",
        )
    if direction is not None:
        raise UsageError(
            f"this model has no direction '{direction}'; it can: {can}", where=place, fix="leave out --direction"
        )
    return Route(roles.inputs, task.made(roles), task.values)


def _translation(stages: Sequence[Method], task: Task, roles: Roles, direction: str | None, where: str | None) -> Route:
    inputs, target = roles.inputs, task.made(roles)
    if direction not in (None, *get_args(Direction)):
        ways = f"forward ({', '.join(inputs)} to {target[0]}), backward ({target[0]} to {', '.join(inputs)})"
        raise UsageError(
            f"there is no direction '{direction}'; this model can translate: {ways}",
            where=where,
            fix="choose forward or backward",
        )
    if direction != "backward":
        return Route(inputs, target, task.values, "forward")
    if len(stages) > 1:
        raise UsageError(
            f"a cascade of {len(stages)} networks translates forward alone: its later networks also read the estimate "
            "of the one before",
            where=where,
            fix="leave out --direction",
        )
    return Route(target, inputs, NORMALISED, "backward")
