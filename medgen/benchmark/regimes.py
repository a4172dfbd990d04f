"""Training regimes: whose images train, whose labels are seen, by which method, with which channels.

The six of Kamnitsas et al. 2017 (table 1) stand in :data:`REGIMES`. A regime turns the recipe and the case table of the
user into those of one run. A label that a regime must not see is not in the table of its run at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import PositiveInt, ValidationInfo, field_validator

from medgen.cases import columns_of
from medgen.config import Config, build
from medgen.errors import UsageError
from medgen.methods.catalogue import method_names, resolve
from medgen.recipe.settings import Recipe, load_recipe

SUPERVISED = "segmentation"
"""The method of every regime that learns from labels alone."""
ADVERSARIAL = "domain_adversarial"
"""The method of the regime ``adapted``."""
SOURCE_ONLY, WITHOUT_SHIFTED, ADAPTED, TARGET_ONLY = "source_only", "without_shifted", "adapted", "target_only"
REFERENCES = (SOURCE_ONLY, WITHOUT_SHIFTED)
"""Regimes that every other one is tested against, unless a plan names others."""


@dataclass(frozen=True)
class Regime:
    """One row of the table.

    Attributes:
        name: of its folder.
        title: of its row; ``{shifted}`` and ``{channels}`` become names of the shifted channel.
        labelled: domains whose cases train with their labels.
        unlabelled: domains whose images train without.
        method: that trains.
        shifted: what becomes of the input that differs between the domains: ``kept`` as one channel, ``dropped``, or a
            channel for each column (``separate``), 0 throughout where a case has none.
        overrides: ``key=value`` changes to the recipe, after everything else.
        seeds: how many; None takes the number of the benchmark.
    """

    name: str
    title: str
    labelled: tuple[str, ...] = ("source",)
    unlabelled: tuple[str, ...] = ()
    method: str = SUPERVISED
    shifted: Literal["kept", "dropped", "separate"] = "kept"
    overrides: tuple[str, ...] = ()
    seeds: int | None = None


_BOTH = ("source", "target")
REGIMES = {
    regime.name: regime
    for regime in (
        Regime(SOURCE_ONLY, "train on S"),
        Regime(WITHOUT_SHIFTED, "train on S, without {shifted}", shifted="dropped"),
        Regime(ADAPTED, "train on S, adapted to T without labels", unlabelled=("target",), method=ADVERSARIAL),
        Regime(TARGET_ONLY, "train on T", ("target",)),
        Regime("both", "train on S + T", _BOTH),
        Regime("both_separate", "train on S + T, {channels} as different channels", _BOTH, shifted="separate"),
    )
}
"""The six rows of the published table, the default of a benchmark."""


class Row(Config):
    """What a plan says of one regime."""

    like: str | None = None
    """The regime or method that it varies; by default the one it is named after."""
    title: str | None = None
    seeds: PositiveInt | None = None
    set: dict[str, Any] = {}
    """Changes to the recipe, such as ``{config.alpha: 0.1}``."""


class Plan(Config):
    """The rows of a benchmark, in order: the file that ``--plan`` names."""

    regimes: dict[str, Row]
    references: tuple[str, ...] = REFERENCES
    """Rows that every other one is tested against; of those named here each must be a row of the plan."""

    @field_validator("references")
    @classmethod
    def _rows_named_once(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        rows = info.data.get("regimes", names)  # wrong rows have an error of their own
        if unknown := [name for name in names if name not in rows]:
            raise ValueError(f"'{unknown[0]}' is no row of the plan; its rows are {', '.join(rows)}")
        if len(set(names)) < len(names):
            raise ValueError("a row is named twice")
        return names


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        UsageError: no such file, not YAML, an unknown key, a reference that is no row.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError("there is no such plan", where=path, fix="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise UsageError(f"the plan is not YAML: {' '.join(str(error).split())}", where=path, fix="mend it") from None
    regimes = values.get("regimes") if isinstance(values, dict) else None
    if not isinstance(regimes, dict) or not regimes:
        raise UsageError("the plan names no regime", where=path, fix="begin it with: regimes: {source_only: {}}")
    rows = {name: row or {} for name, row in regimes.items()}  # 'source_only:' with nothing behind it is a row too
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
        names: of regimes, of rows of the plan, or of methods; ``all`` is the six and every other method
            that segments. By
            default all rows of the plan, or the six.
        plan: rows with titles, seeds and settings of their own.
        overrides: ``NAME:key=value`` changes the recipe of one regime.
        allow_modules: methods outside medgen that may be named.

    Raises:
        UsageError: a name that nothing has, a name given twice, an override of a regime that is not run.
    """
    rows = plan.regimes if plan else {}
    wanted = [each for name in names or rows or REGIMES for each in (_everything() if name == "all" else [name])]
    if twice := {name for name in wanted if wanted.count(name) > 1}:
        raise UsageError(f"the regime '{min(twice)}' is named twice", fix="name each once")
    chosen = {name: _planned(name, rows.get(name), allow_modules) for name in wanted}
    for override in overrides:
        name, _, change = override.partition(":")
        if name not in chosen:
            raise UsageError(f"'{override}' changes a regime that is not run", fix=f"run: {', '.join(chosen)}")
        chosen[name] = replace(chosen[name], overrides=(*chosen[name].overrides, change))
    return tuple(chosen.values())


def _everything() -> list[str]:
    """The six, and every other method of medgen that segments."""
    others = [name for name in method_names() if name not in (SUPERVISED, ADVERSARIAL)]
    return [*REGIMES, *(name for name in others if resolve(name).batch_class.task().labels)]


def _adapts(method: str, allow_modules: Sequence[str] = ()) -> bool:
    return resolve(method, allow_modules=allow_modules).adapts()


def _planned(name: str, row: Row | None, allow_modules: Sequence[str]) -> Regime:
    row = row or Row()
    base = _regime(row.like or name, allow_modules)
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"the regime '{name}' cannot name a folder", fix="use letters, digits and '_'")
    changes = tuple(f"{key}={json.dumps(value)}" for key, value in row.set.items())  # JSON is YAML
    title = row.title or (base.title if row.like in (None, name) else f"{base.title}: {name.replace('_', ' ')}")
    return replace(base, name=name, title=title, seeds=row.seeds, overrides=changes)


def _regime(name: str, allow_modules: Sequence[str]) -> Regime:
    """One of the six, or a method as a regime: S with its labels, and T without where the method adapts."""
    if name in REGIMES:
        return REGIMES[name]
    if name not in method_names() and name not in allow_modules:
        known = [*REGIMES, *method_names()]
        near = get_close_matches(name, known, 1)
        fix = f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(known)}"
        raise UsageError(f"there is no regime or method '{name}'", fix=fix)
    unlabelled = ("target",) if _adapts(name, allow_modules) else ()
    title = f"train on S, {name.replace('_', ' ')}" + (" with T unlabelled" if unlabelled else "")
    return Regime(name, title, unlabelled=unlabelled, method=name)


def shifted_input(recipe: Recipe, wanted: str | None = None) -> str | None:
    """The input that differs between the domains: the one spelt with ``|``, unless ``wanted`` names another.

    Raises:
        UsageError: ``wanted`` is no input, or several inputs are spelt with ``|``.
    """
    inputs = recipe.data.inputs
    if wanted is not None:
        if wanted not in inputs:
            raise UsageError(f"'{wanted}' is no input of the recipe", fix=f"choose from: {', '.join(inputs)}")
        return wanted
    spelt = [role for role in inputs if "|" in role]
    if len(spelt) > 1:
        raise UsageError(f"several inputs may be the shifted one: {', '.join(spelt)}", fix="add --shifted with one")
    return spelt[0] if spelt else None


def derive_recipe(base: Recipe, regime: Regime, *, shifted: str | None, seed: int) -> Recipe:
    """The recipe of one run.

    Budget, patches and preparation are those of ``base``. Of its ``config``, keys that the supervised method knows
    (network, learning rate, ...) go to every regime; the others only to regimes of the recipe's own method.

    Args:
        base: of the user.
        regime: what to change.
        shifted: see :func:`shifted_input`.
        seed: added to that of ``base``.

    Raises:
        UsageError: the regime changes the shifted channel and there is none, or an override is wrong.
    """
    values = base.model_dump(mode="json")
    values |= {"method": regime.method, "seed": base.seed + seed}
    if regime.method != base.method:
        shared = resolve(SUPERVISED).config_class.model_fields
        values["config"] = {key: value for key, value in base.config.items() if key in shared}
    if not regime.unlabelled:  # what learns nothing from the images of T cannot take over their intensities
        values["patches"]["transfer"] = None
        if values["schedule"]["keep"] == "health":  # nor has it an adaptation whose health could choose
            values["schedule"]["keep"] = "best"
    values["data"]["domains"] = None  # the table of the run holds what it may learn from
    if regime.shifted != "kept":
        replacements = _replacements(regime, shifted)
        values["data"]["inputs"] = _replaced(base.data.inputs, str(shifted), replacements)
        values["preparation"]["residual"].pop(shifted, None)
        intensity = values["preparation"]["intensity"]
        if shifted in intensity:
            rule = intensity.pop(shifted)
            intensity.update({role: rule for role in replacements})
        if not replacements:
            for column in columns_of(str(shifted)):
                intensity.pop(column, None)
    return load_recipe(values, regime.overrides)


def _replacements(regime: Regime, shifted: str | None) -> list[str]:
    if shifted is None:
        raise UsageError(
            f"the regime '{regime.name}' is about the input that differs between the domains, and none is known",
            fix="spell it 'ge|swi' in data.inputs, or name it with --shifted, or leave the regime out",
        )
    columns = columns_of(shifted)
    if regime.shifted == "dropped":
        return []
    if len(columns) < 2:
        raise UsageError(
            f"'{shifted}' is one column, which cannot become different channels",
            fix=f"leave the regime '{regime.name}' out",
        )
    return [f"{column}?" for column in columns]


def _replaced(inputs: Sequence[str], shifted: str, replacements: Sequence[str]) -> list[str]:
    """The inputs with others in the place of the shifted one; at the end, where an optional one would come first."""
    place = inputs.index(shifted)
    before, after = inputs[:place], inputs[place + 1 :]
    if not before and not after:
        raise UsageError(f"'{shifted}' is the only input", fix="leave the regimes that change it out")
    return [*before, *replacements, *after] if before else [*after, *replacements]


def titled(regime: Regime, shifted: str | None) -> str:
    """The title of a regime's row.

    >>> titled(REGIMES["without_shifted"], "ge|swi")
    'train on S, without GE/SWI'
    """
    columns = [column.upper() for column in columns_of(shifted)] if shifted else ["the shifted channel"]
    names: Mapping[str, str] = {"shifted": "/".join(columns), "channels": " and ".join(columns)}
    title = regime.title
    for key, text in names.items():
        title = title.replace(f"{{{key}}}", text)
    return title


def notes_of(base: Recipe, regimes: Sequence[Regime]) -> dict[str, str]:
    """What a regime leaves out of the user's recipe, as an addition to its title."""
    if base.patches.transfer is None:
        return {}
    return {regime.name: " (no transfer)" for regime in regimes if not regime.unlabelled}
