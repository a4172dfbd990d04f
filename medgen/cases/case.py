"""One row of the case table: a patient, or one examination of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from medgen.types import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SOURCE, TARGET = DOMAINS = ("source", "target")
"""Values of the column ``domain``: the second marks cases to adapt to; every other case has labels."""
_NAMED = 5
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
"""A role is a column of the case table, and part of the names of files."""


@dataclass(frozen=True)
class Case:
    """One patient, or one examination of one.

    Args:
        name: unique in the table; names the output files.
        split: ``train``, ``val`` or ``test``.
        domain: ``source``, ``target`` or None.
        images: role -> absolute path; a role whose cell is empty is absent.
        patient: of which the case is one of several examinations; None is a patient of its own.
    """

    name: str
    split: Split
    domain: str | None
    images: Mapping[str, Path]
    patient: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))

    def __reduce__(self) -> tuple[type[Case], tuple[str, Split, str | None, dict[str, Path], str | None]]:
        return Case, (self.name, self.split, self.domain, dict(self.images), self.patient)

    def path(self, role: str) -> Path | None:
        """The image of a role; ``"ge|swi"`` means whichever of the two the case has, the first one first.

        ``"ge?"`` is the role ``ge`` of an input that a case may lack.

        >>> case = Case("head_01", "train", None, {"swi": Path("/data/swi.nii.gz")})
        >>> case.path("ge|swi").name
        'swi.nii.gz'
        >>> case.path("t1") is None
        True
        """
        return next((self.images[name] for name in columns_of(role) if name in self.images), None)


def columns_of(role: str) -> tuple[str, ...]:
    """The columns that an input can mean, in the order of preference.

    >>> columns_of("ge|swi"), columns_of("swi?")
    (('ge', 'swi'), ('swi',))
    """
    return tuple(role.removesuffix("?").split("|"))


def is_role(column: str) -> bool:
    """Whether a column of the case table can be a role: letters, digits, ``_`` and ``-``, at most 48.

    >>> is_role("t1"), is_role("x/../t1")
    (True, False)
    """
    return _ROLE.fullmatch(column) is not None


def is_optional(role: str) -> bool:
    """Whether a case may lack the image of an input."""
    return role.endswith("?")


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
