"""Options that several commands share, and how options behave."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def _shown_default(value: object) -> str | None:
    """A flag that is off, a list that is empty and a value that is not set need no '[default: ...]'."""
    return None if value is False or value is None or value == () else str(value)


DEFAULTS = Parameter(negative=(), show_default=_shown_default)
"""A flag has no '--no-' form: all are off by default."""

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Overrides = Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")]
AllowModule = Annotated[tuple[str, ...], Parameter(name="--allow-module", metavar="MODULE")]
