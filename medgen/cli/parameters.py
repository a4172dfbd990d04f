"""Options that several commands share, and defaults of all options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def _shown_default(value: object) -> str | None:
    """Text of the default in a help text; none for a flag that is off, an empty list and a value that is not set."""
    return None if value is False or value is None or value == () else str(value)


DEFAULTS = Parameter(negative=(), show_default=_shown_default)
"""Flags have no '--no-' form, because all are off by default."""

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Overrides = Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")]
AllowModule = Annotated[tuple[str, ...], Parameter(name="--allow-module", metavar="MODULE")]
