"""The rows of a benchmark: the regimes asked for by name, or those of a file, each with its own settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import PositiveInt, ValidationInfo, field_validator

from medgen.benchmark.regimes import ADVERSARIAL, REFERENCES, REGIMES, SUPERVISED, Regime
from medgen.config import Config, build
from medgen.errors import UsageError, did_you_mean
from medgen.methods.catalogue import method_names, resolve
from medgen.names import CASE_BYTES, file_name
from medgen.recipe.yaml import read_yaml


class Row(Config):
    """Settings of one regime in a plan."""

    like: str | None = None
    """The regime or method that this row varies; by default the one with the same name."""
    title: str | None = None
    seeds: PositiveInt | None = None
    cases: str | None = None
    """Another case table to train on, with the same test cases: a file beside the case table of the benchmark."""
    start: str | None = None
    """An earlier row of the plan: the run begins with the weights of that row's run of the same seed and fold, and its
    steps come on top. Adaptations of one network differ in nothing but themselves; what they gain by more steps alone
    is told by a row that starts there too and does not adapt."""
    set: dict[str, Any] = {}
    """Changes to the recipe, such as ``{config.alpha: 0.1}``."""


class Plan(Config):
    """The rows of a benchmark, in order: the file that ``--plan`` names."""

    regimes: dict[str, Row]
    references: tuple[str, ...] = REFERENCES
    """Rows that every other row is tested against; each must be a row of the plan."""

    @field_validator("references")
    @classmethod
    def _rows_named_once(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        rows = info.data.get("regimes", names)  # errors in the rows are reported elsewhere
        if unknown := [name for name in names if name not in rows]:
            raise ValueError(f"'{unknown[0]}' is not a row of the plan; its rows are {', '.join(rows)}")
        if len(set(names)) < len(names):
            raise ValueError("a row is listed twice")
        return names


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        UsageError: the file is missing or not YAML, a key is unknown, or a reference is not a row.
    """
    path = Path(path)
    try:
        values = read_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError("the plan does not exist", where=path, fix="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        what = f"the plan is not YAML: {' '.join(str(error).split())}"
        raise UsageError(what, where=path, fix="correct the file") from None
    regimes = values.get("regimes") if isinstance(values, dict) else None
    if not isinstance(regimes, dict) or not regimes:
        raise UsageError("the plan names no regime", where=path, fix="begin it with: regimes: {source_only: {}}")
    rows = {name: row or {} for name, row in regimes.items()}  # 'source_only:' with nothing after it is a row too
    return build(Plan, {**values, "regimes": rows}, where=path)


def choose_regimes(
    names: Sequence[str] = (),
    plan: Plan | None = None,
    overrides: Sequence[str] = (),
    *,
    allow_modules: Sequence[str] = (),
) -> tuple[Regime, ...]:
    """The regimes to run, in order.

    Args:
        names: names of regimes, of rows of the plan, or of methods; ``all`` means the six and every other
            segmentation method. By default all rows of the plan, or the six.
        plan: rows with their own titles, seeds and settings.
        overrides: ``NAME:key=value`` changes the recipe of one regime.
        allow_modules: methods outside medgen that may be named.

    Raises:
        UsageError: a name is unknown or given twice, or an override is for a regime that is not run.
    """
    rows = plan.regimes if plan else {}
    wanted = [each for name in names or rows or REGIMES for each in (_everything() if name == "all" else [name])]
    if twice := {name for name in wanted if wanted.count(name) > 1}:
        raise UsageError(f"the regime '{min(twice)}' is listed twice", fix="list each regime once")
    chosen = {name: _planned(name, rows.get(name), allow_modules) for name in wanted}
    _require_starts(list(chosen.values()))
    for override in overrides:
        name, _, change = override.partition(":")
        if name not in chosen:
            raise UsageError(
                f"'{override}' is for a regime that is not run", fix=f"choose one of these regimes: {', '.join(chosen)}"
            )
        chosen[name] = replace(chosen[name], overrides=(*chosen[name].overrides, change))
    return tuple(chosen.values())


def _require_starts(regimes: Sequence[Regime]) -> None:
    """Refuse a row that starts from one that is not run before it."""
    for number, regime in enumerate(regimes):
        if regime.start is not None and regime.start not in (each.name for each in regimes[:number]):
            raise UsageError(
                f"the row '{regime.name}' starts from '{regime.start}', which is not run before it",
                fix=f"list '{regime.start}' earlier in the plan, name it in --regimes too, or leave 'start' out",
            )


def _everything() -> list[str]:
    """The six regimes, and every other segmentation method of medgen."""
    others = [name for name in method_names() if name not in (SUPERVISED, ADVERSARIAL)]
    return [*REGIMES, *(name for name in others if resolve(name).batch_class.task().labels)]


def _planned(name: str, row: Row | None, allow_modules: Sequence[str]) -> Regime:
    row = row or Row()
    base = _regime(row.like or name, allow_modules)
    file_name(name)
    if row.cases is not None:
        file_name(row.cases, CASE_BYTES)
    changes = tuple(f"{key}={json.dumps(value)}" for key, value in row.set.items())  # JSON is YAML
    title = row.title or (base.title if row.like in (None, name) else f"{base.title}: {name.replace('_', ' ')}")
    return replace(base, name=name, title=title, seeds=row.seeds, overrides=changes, cases=row.cases, start=row.start)


def _regime(name: str, allow_modules: Sequence[str]) -> Regime:
    """One of the six, or a method as a regime: source with labels and, if the method adapts, target without labels."""
    if name in REGIMES:
        return REGIMES[name]
    if name not in method_names() and name not in allow_modules:
        known = [*REGIMES, *method_names()]
        fix = did_you_mean(name, known, f"choose from: {', '.join(known)}")
        raise UsageError(f"unknown regime or method '{name}'", fix=fix)
    kind = resolve(name, allow_modules=allow_modules)
    unlabelled = ("target",) if kind.adapts() else ()
    as_it_comes = kind.config_class.model_construct()  # unchecked: a method of one's own may ask for settings
    looks = any(stream.domain == "target" for stream in kind.batches(as_it_comes).streams())
    title = f"train on S, {name.replace('_', ' ')}" + (" with T unlabelled" if looks else "")
    return Regime(name, title, unlabelled=unlabelled, method=name)
