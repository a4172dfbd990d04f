"""Methods by name: which there are, and a new one from plain settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from medgen.config import Config, build
from medgen.errors import ModelError, UsageError, did_you_mean
from medgen.methods.base import Method, Shape, abilities_of

MOST = 10_000
"""The highest whole number among the settings of a method: it counts layers, channels, images, ..."""
_NO_METHODS = ("base", "catalogue")


def resolve(name: str, *, allow_modules: Sequence[str] = ()) -> type[Method]:
    """Find a method: ``"supervised"`` is the file ``medgen/methods/supervised.py``.

    Args:
        name: a method of medgen, or the dotted name of an installed module that has a ``METHOD``.
        allow_modules: dotted names that the user has allowed. A recipe or a model file from elsewhere
            must not choose which code is imported.

    Raises:
        UsageError: no such method.
        ModelError: a dotted name that was not allowed.
    """
    if "." in name:
        if name not in allow_modules:
            raise ModelError(
                f"the method '{name}' is a module outside medgen and was not allowed",
                fix=f"if you trust it, add --allow-module {name}",
            )
        module = name
    else:
        known = method_names()
        if name not in known:
            fix = did_you_mean(name, known, f"the methods are: {', '.join(known)}")
            raise UsageError(f"there is no method '{name[:100]}'", fix=fix)
        module = f"medgen.methods.{name}"
    try:
        method: type[Method] = import_module(module).METHOD
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the module '{error.name}' is not installed", fix=f"install it, or remove '{name}'"
        ) from error
    return method


def create(
    name: str,
    config: dict[str, Any],
    shape: Shape,
    *,
    allow_modules: Sequence[str] = (),
    where: str | Path | None = None,
) -> Method:
    """A new, untrained method from its name and plain settings."""
    kind = resolve(name, allow_modules=allow_modules)
    return kind(settings_of(kind, config, where=where), shape)


def settings_of(kind: type[Method], config: Mapping[str, Any], *, where: str | Path | None = None) -> Config:
    """The settings of a method from plain values; a count of layers, channels and the like has a limit.

    Raises:
        UsageError: an unknown key or a wrong value.
    """
    settings = build(kind.config_class, config, where=where)
    for key, value in settings:
        if isinstance(value, int) and value > MOST:
            raise UsageError(f"'config.{key}' is {value:,}, and the limit is {MOST:,}", where=where, fix="lower it")
    return settings


def method_names() -> list[str]:
    """Names of the methods that medgen has: one file each."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if path.stem not in _NO_METHODS)


def list_methods() -> list[dict[str, Any]]:
    """What ``medgen models`` shows of each method: name, summary, batch, abilities, dimensions and default settings."""
    rows = []
    for name in method_names():
        kind = resolve(name)
        summary = (import_module(kind.__module__).__doc__ or "").strip().splitlines()[0]
        rows.append(
            {
                "name": name,
                "summary": summary,
                "batch": kind.batch_class.__name__,
                "can": list(abilities_of(kind)),
                "dimensions": list(kind.dimensions),
                "config": kind.config_class().model_dump(mode="json"),
            }
        )
    return rows
