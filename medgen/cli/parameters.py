"""Options that several commands share, and defaults of all options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter, Token, convert


def _shown_default(value: object) -> str | None:
    """Text of the default in a help text; none for a flag that is off, an empty list and a value that is not set."""
    return None if value is False or value is None or value == () else str(value)


def _converted(kind: Any, tokens: Sequence[Token]) -> Any:
    """What cyclopts makes of the text, but a fraction is no whole number: it would round 1.5 patients to 2."""
    if int in (kind, *get_args(kind)):
        for token in tokens:
            if "." in token.value:
                raise ValueError(f"{token.value} is no whole number")
    return convert(kind, tokens)


DEFAULTS = Parameter(negative=(), show_default=_shown_default, converter=_converted)
"""Flags have no '--no-' form, because all are off by default; whole numbers are not rounded."""

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
TextOutput = Annotated[Path | None, Parameter(name=["--output", "-o"])]
Overrides = Annotated[tuple[str, ...], Parameter(name="--set", metavar="KEY=VALUE")]
AllowModule = Annotated[tuple[str, ...], Parameter(name="--allow-module", metavar="MODULE")]
