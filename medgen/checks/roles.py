"""A fault of a dataset, and what a check asks of each role."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medgen.cases import Case, columns_of
from medgen.volume import Geometry

Severity = Literal["error", "warning"]
ALL = "all cases"
"""The case of a fault that is one of the whole table."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image.

    Args:
        case: name of the case.
        role: column of the table.
        what: what is wrong.
        fix: what to do.
        severity: ``error`` stops training, ``warning`` does not.
    """

    case: str
    role: str
    what: str
    fix: str
    severity: Severity = "error"


@dataclass(frozen=True)
class Plan:
    """What is asked of each role."""

    inputs: tuple[str, ...]
    required: tuple[str, ...]
    labels: tuple[str, ...]
    maps: tuple[str, ...]
    masks: tuple[str, ...]
    classes: Collection[int] | None
    hounsfield: tuple[str, ...]
    resampled: tuple[str, ...]
    target: tuple[str, ...]
    geometry: Geometry | None
    allow_nan: bool
    folder: Path

    @property
    def whole(self) -> tuple[str, ...]:
        """Roles that hold whole numbers in place of an image."""
        return self.labels + self.maps + self.masks

    def roles(self, case: Case) -> tuple[str, ...]:
        """The roles of a case to look at; ``a|b`` becomes whichever the case has."""
        everything = (*self.inputs, *self.target, *case.images)  # the first input is the reference of all grids
        wanted = (*self.required, *self.labels, *self.masks) if self.required else everything
        found = (next((name for name in columns_of(role) if name in case.images), None) for role in wanted)
        return tuple(dict.fromkeys(name for name in found if name))


def names_of(roles: Iterable[str | None]) -> tuple[str, ...]:
    """The columns that roles can mean, each once: ``a|b`` means two."""
    return tuple(dict.fromkeys(name for role in roles if role for name in columns_of(role)))
