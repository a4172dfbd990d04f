"""The runs of a benchmark: regimes x seeds x folds, each with a folder that also records its settings and cases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from medgen.benchmark.regimes import Regime, derive_recipe, notes_of, shifted_input, titled
from medgen.benchmark.splits import Fold, digest, make_folds, split_hash, table_of, tested_cases, training_cases
from medgen.cases import SOURCE, TARGET, Case, CaseTable, write_cases
from medgen.config import build
from medgen.errors import InputError, UsageError, content_errors
from medgen.files import image_digest, write_json
from medgen.methods.base import Method
from medgen.methods.catalogue import resolve
from medgen.recipe.check import as_drawn, check_recipe, untrained
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.same import FREE_TO_CHANGE
from medgen.training.transfer import match

FACTS = "benchmark_run.json"
TRAINING_TABLE = "cases.csv"
SCORES = {TARGET: "scores.json", SOURCE: "scores_source.json"}
"""Score files of a run, by domain of the test cases."""


@dataclass(frozen=True)
class Run:
    """One training run and its test cases.

    Attributes:
        regime: its row of the table.
        seed: from 0; the offset to the seed of the recipe.
        fold: determines the test cases.
        folder: folder of the run.
        recipe: recipe of the training.
        training: training and validation cases.
        tested: test cases by domain; without the key ``source`` if no source cases are left for testing.
        hashes: hashes of its splits, and as ``settings`` a hash over everything that its scores depend on.
        start: the run whose weights it begins with.
    """

    regime: Regime
    seed: int
    fold: Fold
    folder: Path
    recipe: Recipe
    training: tuple[Case, ...]
    tested: Mapping[str, tuple[Case, ...]]
    hashes: Mapping[str, str]
    start: Run | None = None

    @property
    def name(self) -> str:
        """A readable name."""
        fold = f", fold {self.fold.number}" if self.fold.count > 1 else ""
        return f"{self.regime.name}, seed {self.seed}{fold}"

    @property
    def done(self) -> bool:
        """Whether all its scores exist and were made with these settings."""
        facts = read_facts(self.folder)
        return bool(facts.get("finished")) and self._same(facts)

    def require_same(self) -> None:
        """Refuse a folder that holds a run with other settings, so that their scores cannot be confused.

        Raises:
            UsageError: the folder holds such a run.
        """
        facts = read_facts(self.folder)
        if facts and not self._same(facts):
            raise UsageError(
                f"the folder holds {self.regime.name}, seed {self.seed}, with another recipe or other cases",
                where=self.folder,
                fix="choose another --out, or remove this folder to repeat the run",
            )

    def _same(self, facts: Mapping[str, Any]) -> bool:
        """Whether a run was made with this recipe and these cases; keys added since then had their default."""
        try:
            before = load_recipe(facts["recipe"])
        except UsageError:  # the recipe has a key that no longer exists
            return False
        return _settings_hash(before, facts["splits"], self.start) == self.hashes["settings"]

    def trained_as(self, facts: Mapping[str, Any]) -> bool:
        """Whether a run of another benchmark, by its record, has the training of this one; the tests may differ."""
        if not facts or bool(facts.get("start")) != (self.start is not None):
            return False
        if any(facts["splits"].get(part) != self.hashes[part] for part in ("train", "val")):
            return False
        try:
            return _binding(load_recipe(facts["recipe"])) == _binding(self.recipe)
        except UsageError:  # the recipe has a key that no longer exists
            return False

    def write(self) -> None:
        """Write the case tables of the run and the record of its settings."""
        write_cases(self.training, self.folder / TRAINING_TABLE)
        for domain, cases in self.tested.items():
            write_cases(cases, self.folder / test_table(domain))
        facts = {
            "regime": self.regime.name,
            "seed": self.seed,
            "fold": self.fold.number,
            "folds": self.fold.count,
            "settings": self.hashes["settings"],
            "splits": {name: value for name, value in self.hashes.items() if name != "settings"},
            "tested": list(self.tested),
            "start": None if self.start is None else os.path.relpath(self.start.folder, self.folder),
            "recipe": self.recipe.model_dump(mode="json"),
            "finished": False,
        }
        write_json(self.folder / FACTS, facts)


def test_table(domain: str) -> str:
    """File name of the table of test cases."""
    return f"test_{domain}.csv"


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the record in the folder of a run; empty if there is none."""
    path = folder / FACTS
    if not path.is_file():
        return {}
    with content_errors("the record of the run is damaged", where=path, fix="remove this folder to repeat the run"):
        return dict(json.loads(path.read_text()))


def plan_runs(
    base: Recipe,
    table: CaseTable,
    regimes: Sequence[Regime],
    out: Path,
    *,
    seeds: int,
    folds: int | None = None,
    shifted: str | None = None,
    allow_modules: Sequence[str] = (),
) -> tuple[Run, ...]:
    """Plan all runs, ordered by seed, so that a benchmark that is stopped early has every regime at least once.

    Args:
        base: recipe of the user.
        table: case table of the user.
        regimes: see :func:`~medgen.benchmark.plan.choose_regimes`.
        out: folder of the benchmark.
        seeds: number of seeds of a regime that sets none itself.
        folds: see :func:`~medgen.benchmark.splits.make_folds`.
        shifted: the input that differs between the domains; not needed if the recipe has an input ``a|b``.
        allow_modules: modules outside medgen that may be named as methods.

    Raises:
        UsageError: the recipe is not for segmentation, a regime does not fit it, or a method lacks a setting.
        InputError: the cases are not sufficient, or the case table of a regime is missing or has other test cases.
    """
    if base.data.labels is None:
        raise UsageError(
            "a benchmark compares segmentations, but the recipe names no labels", fix="add data.labels to the recipe"
        )
    _require_settings(base, allow_modules)
    channel = shifted_input(base, shifted)
    wanted: list[tuple[Regime, int, Recipe]] = []
    methods: dict[str, Method] = {}
    for regime in regimes:
        for seed in range(regime.seeds or seeds):
            wanted.append((regime, seed, derive_recipe(base, regime, shifted=channel, seed=seed)))
        recipe = wanted[-1][2]  # the seeds differ in nothing else
        checked = check_recipe(recipe, allow_modules=allow_modules)
        methods[regime.name] = untrained(*checked)
        if regime.start in methods:  # which of its networks began as copies of others, only drawn weights show
            _require_whole(regime, as_drawn(*checked).state_dict(), methods[regime.start].state_dict())
    hashes: dict[Path, str] = {}
    divided = make_folds(table, folds)
    own = {regime: table_of(regime, table, divided) for regime in regimes}
    runs: dict[tuple[str, int, int], Run] = {}
    for fold in divided:
        for regime, seed, recipe in wanted:
            run = _run(recipe, own[regime], regime, seed, fold, out, hashes)
            if regime.start is not None:
                run = _started(run, runs.get((regime.start, seed, fold.number)))
            runs[regime.name, seed, fold.number] = run
    return tuple(sorted(runs.values(), key=lambda run: run.seed))


def titles_of(base: Recipe, regimes: Sequence[Regime], shifted: str | None = None) -> dict[str, str]:
    """Title of each regime in the table."""
    channel, notes = shifted_input(base, shifted), notes_of(base, regimes)
    return {regime.name: titled(regime, channel) + notes.get(regime.name, "") for regime in regimes}


def _require_settings(recipe: Recipe, allow_modules: Sequence[str]) -> None:
    """Report a misspelt key before the first run rather than in the last one."""
    build(resolve(recipe.method, allow_modules=allow_modules).config_class, recipe.config)


def _run(
    recipe: Recipe, table: CaseTable, regime: Regime, seed: int, fold: Fold, out: Path, hashes: dict[Path, str]
) -> Run:
    training = training_cases(table, regime, fold, recipe.data)
    tested = {TARGET: tested_cases(fold.target, recipe.data, table.path)}
    if fold.source:
        tested[SOURCE] = tested_cases(fold.source, recipe.data, table.path)
    for case in (*training, *(case for cases in tested.values() for case in cases)):
        for path in case.images.values():
            if not path.exists():
                raise InputError(
                    f"a file of case '{case.name}' does not exist", where=path, fix="correct the path in the case table"
                )
            if path not in hashes:
                hashes[path] = image_digest(path)
    splits = {
        "train": split_hash((case for case in training if case.split == "train"), hashes),
        "val": split_hash((case for case in training if case.split == "val"), hashes),
        **{f"test_{domain}": split_hash(cases, hashes) for domain, cases in tested.items()},
    }
    name = f"seed{seed}" if fold.count == 1 else f"seed{seed}_fold{fold.number}"
    settings = _settings_hash(recipe, splits, None)
    return Run(
        regime,
        seed,
        fold,
        out / "runs" / regime.name / name,
        recipe,
        training,
        tested,
        {"settings": settings, **splits},
    )


def _started(run: Run, start: Run | None) -> Run:
    """``run`` beginning with the weights of another one."""
    if start is None:
        raise UsageError(
            f"'{run.regime.name}' has a seed {run.seed}, and the row '{run.regime.start}', where it starts, has not",
            fix="give that row as many seeds",
        )
    splits = {name: value for name, value in run.hashes.items() if name != "settings"}
    settings = _settings_hash(run.recipe, splits, start)
    return replace(run, start=start, hashes={**splits, "settings": settings})


def _require_whole(regime: Regime, needed: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    """Refuse a start that would leave a network half trained; one that is new in the row is drawn as ever."""
    taken, networks = match(needed, start).taken, {_network(name) for name in start}
    wanted = [name for name in needed if _network(name) in networks]
    if lost := [name for name in wanted if name not in taken]:
        raise UsageError(
            f"'{regime.name}' starts from '{regime.start}' and cannot take {len(lost)} of {len(wanted)} tensors of its "
            f"networks, such as {lost[0]}",
            fix="give both rows the same inputs, network, width and normalisation, or leave 'start' out",
        )


def _network(name: str) -> str:
    return name.partition(".")[0]


def _settings_hash(recipe: Recipe, splits: Mapping[str, str], start: Run | None) -> str:
    """Over everything that the scores of a run depend on, also what it starts from."""
    return digest([_binding(recipe), splits, *([] if start is None else [start.hashes["settings"]])])


def _binding(recipe: Recipe) -> dict[str, Any]:
    """The recipe without keys that do not affect the result."""
    values = recipe.model_dump(mode="json")
    values["schedule"] = {key: value for key, value in values["schedule"].items() if key not in FREE_TO_CHANGE}
    return values
