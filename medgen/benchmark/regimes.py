"""Training regimes: the domains whose images and labels are used, the method, and the channels.

:data:`REGIMES` holds the six of Kamnitsas et al. 2017 (table 1). A regime turns the recipe and the case table of the
user into those of one run. Labels that a regime must not use are left out of the table of its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medgen.cases import columns_of
from medgen.errors import UsageError
from medgen.methods.catalogue import method_names, resolve
from medgen.recipe.settings import Recipe, load_recipe

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
        unlabelled: domains whose images are used without labels.
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
    if shifted in base.data.inputs[:-1] and _has_views(regime.method):  # by default the second view lacks the last
        values["config"].setdefault("hidden", [base.data.inputs.index(str(shifted))])
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


def _has_views(method: str) -> bool:
    return method in method_names() and "hidden" in resolve(method).config_class.model_fields


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
