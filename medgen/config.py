"""Settings as frozen pydantic models; a misspelt key is an error that names the nearest valid key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from medgen.errors import UsageError, did_you_mean


class Config(BaseModel):
    """Base class of all settings: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    largest: ClassVar[float] = 1_000_000
    """No number of these settings is beyond this, in either direction, unless its field says so."""

    @field_validator("*", check_fields=False)
    @classmethod
    def _no_absurd_number(cls, value: Any, info: ValidationInfo) -> Any:
        """A number in a file can be anything; a field that means it names a higher limit of its own."""
        rules = cls.model_fields[str(info.field_name)].metadata
        own = any(hasattr(each, "le") or hasattr(each, "lt") for each in rules)
        if not own and any(abs(each) > cls.largest for each in _numbers(value)):
            raise ValueError(f"a number is beyond the limit of {cls.largest:,}")
        return value

    def named_channels(self) -> Mapping[str, Collection[int]]:
        """Indices of input channels used in these settings, by key; the recipe must have at least these inputs."""
        return {}

    def warnings(self, steps: int) -> tuple[str, ...]:
        """Warnings about settings that are unlikely to work in a training of ``steps`` steps, each with a way out."""
        return ()

    def for_ct(self) -> Collection[str]:
        """What to set instead of values that take the target for a CT in the usual window, [-1024, 2000] HU."""
        return ()

    def recipe(self) -> Mapping[str, Any]:
        """Values of the recipe outside ``config`` that these settings go with; a key that the user names wins."""
        return {}


_SHOWN = 100
"""Characters of a wrong value that are shown."""


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a checked value; other settings in it have checked their own."""
    if isinstance(value, int | float):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    for item in items:
        yield from _numbers(item)


Settings = TypeVar("Settings", bound=Config)


def build(kind: type[Settings], values: Mapping[str, Any], *, where: str | Path | None = None) -> Settings:
    """Make ``kind`` from plain ``values``.

    Args:
        kind: the class of the settings.
        values: plain YAML or JSON values.
        where: the file with the values, for the error message.

    Raises:
        UsageError: an unknown key (with the nearest valid one) or a wrong value.

    >>> class Schedule(Config):
    ...     steps: int = 10
    >>> build(Schedule, {"steps": 5})
    Schedule(steps=5)
    >>> build(Schedule, {"stps": 5})
    Traceback (most recent call last):
    medgen.errors.UsageError: unknown key 'stps'
      do: did you mean 'steps'?
    """
    try:
        return kind.model_validate(dict(values))
    except UsageError as error:  # of a validator that knows the fix
        raise UsageError(error.what, where=error.where or where, fix=error.fix) from None
    except ValidationError as error:
        raise _explain(kind, error, where) from None


def _explain(kind: type[BaseModel], error: ValidationError, where: str | Path | None) -> UsageError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    name = _shortened(".".join(location))
    if first["type"] == "extra_forbidden":
        known = _keys(kind, location[:-1])
        keys = f"the keys are: {', '.join(sorted(known))}" if known else "take it out"
        return UsageError(f"unknown key '{name}'", where=where, fix=did_you_mean(location[-1], known, keys))
    if first["type"] == "missing":
        return UsageError(f"the key '{name}' is missing", where=where, fix=f"add '{name}: ...'")
    if not location:  # two keys contradict each other, so no single one can be named
        return UsageError(first["msg"].removeprefix("Value error, "), where=where, fix="change one of them")
    found = _shortened(repr(first["input"]))
    said = first["msg"].removeprefix("Value error, ")
    return UsageError(f"'{name}' is {found}: {said}", where=where, fix=f"change '{name}'")


def _shortened(text: str) -> str:
    """The beginning of a value that a file names: it can be long, or hold what a terminal obeys."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _keys(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Valid keys of the settings at ``location`` inside ``kind``."""
    for part in location:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is None:
            return []
        kind = inner
    return [field.alias or name for name, field in kind.model_fields.items()]
