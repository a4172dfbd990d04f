"""Comparison of training regimes by Dice (DSC) on a target domain: regimes x seeds x folds become one table."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medgen
from medgen.benchmark.plan import Plan, choose_regimes, load_plan
from medgen.benchmark.regimes import REFERENCES, REGIMES, Regime
from medgen.benchmark.rendering import require_own_results, write_results
from medgen.benchmark.reuse import REUSED, reuse_trainings
from medgen.benchmark.running import Failure, Outcome, run_all
from medgen.benchmark.runs import Run, plan_runs, read_facts, titles_of
from medgen.benchmark.splits import Fold, make_folds
from medgen.benchmark.table import Row, tabulate
from medgen.benchmark.verdict import verdict
from medgen.cases import SOURCE, CaseTable, read_cases
from medgen.errors import CasesFailed, Preempted, UsageError
from medgen.files import folder_lock, require_writable, sha256
from medgen.recipe.settings import Recipe, load_recipe
from medgen.training.engine import parse_device
from medgen.training.log import require_tensorboard
from medgen.types import Progress

__all__ = [
    "REGIMES",
    "Benchmark",
    "Failure",
    "Fold",
    "Plan",
    "Regime",
    "Row",
    "Run",
    "choose_regimes",
    "load_plan",
    "make_folds",
    "plan_runs",
    "run_benchmark",
    "tabulate",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Benchmark:
    """Results of a benchmark so far.

    Attributes:
        output: the folder, with ``benchmark.json``, ``.csv``, ``.md``, ``.png`` and ``.svg``.
        rows: rows of the table; a regime without a completely scored seed has none.
        failed: runs without scores.
        stopped: the reason why runs are unfinished; empty if all are finished.
        verdict: the regimes against the reference, in one sentence.
    """

    output: Path
    rows: tuple[Row, ...]
    failed: tuple[Failure, ...]
    stopped: str
    verdict: str = ""

    def require_complete(self) -> None:
        """Raise an error if runs failed or are unfinished.

        Raises:
            CasesFailed: runs failed.
            Preempted: the benchmark was stopped; the same call continues it.
        """
        if self.failed:
            first = self.failed[0]
            raise CasesFailed(
                f"{len(self.failed)} run{'s' * (len(self.failed) > 1)} failed; {first.run}: {first.reason}",
                where=self.output,
                fix="correct this and run the same command again; finished runs are skipped",
            )
        if self.stopped:
            raise Preempted(
                f"stopped by {self.stopped} before all runs were finished",
                where=self.output,
                fix="run the same command again to continue",
            )


def run_benchmark(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    out: str | Path,
    *,
    regimes: Sequence[str] = (),
    plan: str | Path | Plan | None = None,
    seeds: int = 3,
    folds: int | None = None,
    workers: int = 1,
    overrides: Sequence[str] = (),
    shifted: str | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    table_only: bool = False,
    reuse: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Benchmark:
    """Train, predict and score every regime with every seed, and compare the regimes; finished runs are skipped.

    Args:
        recipe: recipe of a segmentation; every regime uses its budget, patches, preparation and network.
        cases: case table with a column ``domain``; every target case to test on needs a label. A row of the plan may
            name another one beside it to train on, with the same test cases.
        out: output folder; if it holds this benchmark already, the benchmark is continued.
        regimes: names from :data:`REGIMES`, from the plan, or of methods; or ``all``. By default those of the plan,
            or the six.
        plan: rows with their own titles, seeds, settings and case tables, and the references of the tests; or a file.
        seeds: number of training runs of each regime, with seeds ``recipe.seed``, ``recipe.seed + 1``, ...
        folds: number of folds of the target domain if it has no test cases; see :func:`make_folds`.
        workers: number of runs at the same time.
        overrides: ``key=value`` changes the recipe in every regime, ``REGIME:key=value`` in one.
        shifted: the input that differs between the domains; not needed if the recipe has an input ``a|b``.
        max_minutes: save the state and stop after this time.
        device: as for :func:`medgen.train`.
        allow_modules: modules outside medgen that may be named as methods.
        table_only: train nothing, and make the table of the finished runs.
        reuse: folders of other benchmarks; a run with the recipe and the training cases of one of theirs takes its
            model, and only predicts and scores.
        progress: called with (runs done, number of runs, what is running).

    Returns:
        The table, as written to ``out``; see :meth:`Benchmark.require_complete`.

    Raises:
        UsageError: the recipe, the plan or the folder does not fit this benchmark, or there is none to reuse.
        InputError: the cases are not sufficient, or a row's own case table is missing or has other test cases.
        KeyboardInterrupt: Ctrl-C; active runs have saved their state.
        StorageError: the disk is full or the folder cannot be written.
    """
    _require_positive(seeds=seeds, workers=workers)
    single = [each for each in overrides if ":" in each.partition("=")[0]]
    base = load_recipe(recipe, [each for each in overrides if each not in single])
    rows = load_plan(plan) if isinstance(plan, str | Path) else plan
    chosen = choose_regimes(regimes, rows, single, allow_modules=allow_modules)
    table, out = read_cases(cases), Path(out)
    require_own_results(out)
    if not table_only:
        _require_machine(base, device, out)
    runs = plan_runs(base, table, chosen, out, seeds=seeds, folds=folds, shifted=shifted, allow_modules=allow_modules)
    for run in runs:
        run.require_same()
    titles = titles_of(base, chosen, shifted)
    study = _Study(base, table, chosen, runs, titles, rows.references if rows else REFERENCES, out)
    if table_only:  # safe while another process does the runs, because files are written atomically
        return study.write(Outcome())
    with folder_lock(out):
        reuse_trainings(runs, [Path(other) for other in reuse])
        outcome = run_all(
            runs,
            out,
            workers=workers,
            device=device,
            allow_modules=allow_modules,
            max_minutes=max_minutes,
            progress=progress,
            after_each=study.write,
        )
        return study.write(outcome)


@dataclass(frozen=True)
class _Study:
    """The comparison; its results can be written at any time."""

    base: Recipe
    table: CaseTable
    regimes: Sequence[Regime]
    runs: Sequence[Run]
    titles: Mapping[str, str]
    references: Sequence[str]
    out: Path

    def write(self, outcome: Outcome) -> Benchmark:
        """Write the table of the finished runs, and its figure."""
        found, facts = tabulate(self.runs, self.titles, references=self.references), self._facts(outcome)
        write_results(found, facts, self.out)
        if found:
            from medgen.benchmark.figure import write_figure

            write_figure(found, self.out, phantom=facts["phantom"])
        told = verdict(found, self.references)
        return Benchmark(self.out, found, tuple(outcome.failed), outcome.stopped, told)

    def _facts(self, outcome: Outcome) -> dict[str, Any]:
        """Metadata of the table; contains no path of this machine."""
        phantom = (self.table.path.parent / "phantom.json").is_file()
        first = self.runs[0]
        source = first.tested.get(SOURCE, ())
        splits = {case.name: case.split for case in self.table.cases}
        return {
            "title": "Benchmark" + (" (phantom)" if phantom else ""),
            "medgen": medgen.__version__,
            "machine": f"{platform.system()} {platform.machine()}",
            "phantom": phantom,
            "unit": "fractions; distances in mm, volumes in ml",
            "statistics": "mean over cases, then over seeds; bootstrap over seeds and cases, 2000 draws, seed 0",
            "folds": first.fold.count,
            "source_split": splits[source[0].name] if source else None,
            "cases": {"name": self.table.path.name, "sha256": sha256(self.table.path)},
            "splits": self._split_hashes(),
            "budget": {
                "steps": self.base.schedule.steps,
                "batch": self.base.schedule.batch,
                "patches": "x".join(str(side) for side in self.base.patches.size),
                "seeds": f"from {self.base.seed}",
            },
            "runs": {"all": len(self.runs), "done": sum(run.done for run in self.runs)},
            "recipe": self.base.model_dump(mode="json"),
            "regimes": {regime.name: self._regime_facts(regime) for regime in self.regimes},
            "failed": [vars(failure) for failure in outcome.failed],
            "stopped": outcome.stopped,
            "references": list(self.references),
        }

    def _split_hashes(self) -> dict[str, dict[str, str]]:
        """Hashes of the splits by regime and fold; they are the same for all seeds."""
        return {
            f"{regime.name}/fold{run.fold.number}": {k: v for k, v in run.hashes.items() if k != "settings"}
            for regime in self.regimes
            for run in self.runs
            if run.regime == regime and run.seed == 0
        }

    def _regime_facts(self, regime: Regime) -> dict[str, Any]:
        done = [run for run in self.runs if run.regime == regime and run.done]
        own = regime.cases
        return {
            "method": regime.method,
            **({"cases": {"name": own, "sha256": sha256(self.table.path.parent / own)}} if own else {}),
            **({"start": regime.start} if regime.start else {}),
            "overrides": list(regime.overrides),
            "seconds": [read_facts(run.folder)["seconds"] for run in done],
            "models_reused": sum((run.folder / REUSED).is_file() for run in done),
        }


def _require_machine(recipe: Recipe, device: str, out: Path) -> None:
    """Refuse at once what every run would fail of."""
    parse_device(device)
    require_writable(out)
    if recipe.schedule.tensorboard:
        require_tensorboard()


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"--{name} must be at least 1, got {number}", fix=f"choose a larger --{name}")
