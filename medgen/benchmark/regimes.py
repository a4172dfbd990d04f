"""Training regimes: the domains whose images and labels are used, the method, and the channels.

:data:`REGIMES` holds the six of Kamnitsas et al. 2017 (table 1). A regime turns the recipe and the case table of the
user into those of one run. Labels that a regime must not use are left out of the table of its run.
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
from medgen.names import CASE_BYTES, file_name
from medgen.recipe.settings import Recipe, load_recipe
from medgen.recipe.yaml import read_yaml

SUPERVISED = "segmentation"
"""The method of every regime that uses labelled cases only."""
ADVERSARIAL = "domain_adversarial"
"""The method of the regime ``adapted``."""
SOURCE_ONLY, WITHOUT_SHIFTED, ADAPTED, TARGET_ONLY = "source_only", "without_shifted", "adapted", "target_only"
REFERENCES = (SOURCE_ONLY, WITHOUT_SHIFTED)
"""The references: every other regime is tested against these, unless a plan names others."""


@dataclass(frozen=True)
class Regime:
    """One row of the table.

    Attributes:
        name: name of its folder.
        title: title of its row; ``{shifted}`` and ``{channels}`` are replaced by the names of the shifted channel.
        labelled: domains whose images are used with their labels.
        unlabelled: domains whose images are used without labels. Images of a domain that is labelled too are used
            twice, the second time in place of those of the target: what a method makes of no new scanner at all.
        method: the training method.
        shifted: use of the input that differs between the domains: ``kept`` as one channel, ``dropped``, or one
            channel for each column (``separate``), which is 0 everywhere for a case without this image.
        overrides: ``key=value`` changes to the recipe, applied last.
        seeds: number of seeds; None means the number of the benchmark.
        cases: name of another case table beside that of the benchmark, to train on; None means that of the benchmark.
            It has the same test cases.
        start: name of an earlier regime whose weights it begins with; None means random ones.
    """

    name: str
    title: str
    labelled: tuple[str, ...] = ("source",)
    unlabelled: tuple[str, ...] = ()
    method: str = SUPERVISED
    shifted: Literal["kept", "dropped", "separate"] = "kept"
    overrides: tuple[str, ...] = ()
    seeds: int | None = None
    cases: str | None = None
    start: str | None = None


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
    unlabelled: tuple[Literal["source", "target"], ...] | None = None
    """Domains whose images are used without labels. ``[source]`` is a control of a method that adapts: it is fed images
    of the source in place of those of the target."""
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
                fix="list that row earlier, or leave 'start' out",
            )


def _everything() -> list[str]:
    """The six regimes, and every other segmentation method of medgen."""
    others = [name for name in method_names() if name not in (SUPERVISED, ADVERSARIAL)]
    return [*REGIMES, *(name for name in others if resolve(name).batch_class.task().labels)]


def _adapts(method: str, allow_modules: Sequence[str] = ()) -> bool:
    return resolve(method, allow_modules=allow_modules).adapts()


def _planned(name: str, row: Row | None, allow_modules: Sequence[str]) -> Regime:
    row = row or Row()
    base = _regime(row.like or name, allow_modules)
    file_name(name)
    if row.cases is not None:
        file_name(row.cases, CASE_BYTES)
    changes = tuple(f"{key}={json.dumps(value)}" for key, value in row.set.items())  # JSON is YAML
    title = row.title or (base.title if row.like in (None, name) else f"{base.title}: {name.replace('_', ' ')}")
    unlabelled = base.unlabelled if row.unlabelled is None else row.unlabelled
    return replace(
        base, name=name, title=title, seeds=row.seeds, overrides=changes, cases=row.cases, start=row.start,
        unlabelled=unlabelled,
    )  # fmt: skip


def _regime(name: str, allow_modules: Sequence[str]) -> Regime:
    """One of the six, or a method as a regime: source with labels and, if the method adapts, target without labels."""
    if name in REGIMES:
        return REGIMES[name]
    if name not in method_names() and name not in allow_modules:
        known = [*REGIMES, *method_names()]
        near = get_close_matches(name, known, 1)
        fix = f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(known)}"
        raise UsageError(f"unknown regime or method '{name}'", fix=fix)
    unlabelled = ("target",) if _adapts(name, allow_modules) else ()
    title = f"train on S, {name.replace('_', ' ')}" + (" with T unlabelled" if unlabelled else "")
    return Regime(name, title, unlabelled=unlabelled, method=name)


def shifted_input(recipe: Recipe, wanted: str | None = None) -> str | None:
    """The input that differs between the domains: ``wanted``, or else the input whose name contains ``|``.

    Raises:
        UsageError: ``wanted`` is not an input, or several names contain ``|``.
    """
    inputs = recipe.data.inputs
    if wanted is not None:
        if wanted not in inputs:
            raise UsageError(
                f"--shifted '{wanted}' is not an input of the recipe", fix=f"choose from: {', '.join(inputs)}"
            )
        return wanted
    alternatives = [role for role in inputs if "|" in role]
    if len(alternatives) > 1:
        listed = ", ".join(alternatives)
        raise UsageError(f"several inputs could be the shifted one: {listed}", fix="choose one with --shifted")
    return alternatives[0] if alternatives else None


def derive_recipe(base: Recipe, regime: Regime, *, shifted: str | None, seed: int) -> Recipe:
    """The recipe of one run.

    Budget, patches and preparation are those of ``base``. The keys of its ``config`` that the supervised method also
    has (network, learning rate, ...) apply to every regime; the others apply only to regimes with the method of
    ``base``.

    Args:
        base: recipe of the user.
        regime: the changes.
        shifted: see :func:`shifted_input`.
        seed: added to the seed of ``base``.

    Raises:
        UsageError: the regime changes the shifted channel but there is none, or an override is wrong.
    """
    values = base.model_dump(mode="json")
    values |= {"method": regime.method, "seed": base.seed + seed}
    if regime.method != base.method:
        shared = resolve(SUPERVISED).config_class.model_fields
        values["config"] = {key: value for key, value in base.config.items() if key in shared}
    if not regime.unlabelled:  # intensities can be transferred only if images of the target domain are used
        values["patches"]["transfer"] = None
        if values["schedule"]["keep"] == "health":  # and without adaptation there is no health to select weights by
            values["schedule"]["keep"] = "best"
        if values["schedule"]["health"]:
            values["schedule"]["health"]["stop"] = "never"
    values["data"]["domains"] = None  # the table of the run already holds only the cases that it may use
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
            f"the regime '{regime.name}' needs to know which input differs between the domains",
            fix="name it with --shifted, or write it as 'ge|swi' in data.inputs, or omit the regime",
        )
    columns = columns_of(shifted)
    if regime.shifted == "dropped":
        return []
    if len(columns) < 2:
        raise UsageError(
            f"'{shifted}' is a single column and cannot be split into two channels",
            fix=f"omit the regime '{regime.name}'",
        )
    return [f"{column}?" for column in columns]


def _replaced(inputs: Sequence[str], shifted: str, replacements: Sequence[str]) -> list[str]:
    """The inputs with the shifted one replaced in place; at the end if it was first, as optional inputs cannot be."""
    place = inputs.index(shifted)
    before, after = inputs[:place], inputs[place + 1 :]
    if not before and not after:
        raise UsageError(f"'{shifted}' is the only input", fix="omit the regimes that drop or split it")
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
    """Additions to titles of regimes that leave out a part of the user's recipe."""
    if base.patches.transfer is None:
        return {}
    return {regime.name: " (no transfer)" for regime in regimes if not regime.unlabelled}
