"""Training regimes compared by DSC on an unlabelled domain: regimes x seeds x folds become one table."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import medgen
from medgen.benchmark.regimes import REFERENCES, REGIMES, Plan, Regime, choose_regimes, load_plan
from medgen.benchmark.rendering import write_results
from medgen.benchmark.running import Failure, Outcome, run_all
from medgen.benchmark.runs import Run, plan_runs, read_facts, titles_of
from medgen.benchmark.splits import Fold, make_folds
from medgen.benchmark.table import Row, tabulate
from medgen.cases import SOURCE, CaseTable, read_cases
from medgen.errors import CasesFailed, Preempted, UsageError
from medgen.files import folder_lock, sha256
from medgen.recipe.settings import Recipe, load_recipe
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
    """What a benchmark found so far.

    Attributes:
        output: the folder, with ``benchmark.json``, ``.csv``, ``.md``, ``.png`` and ``.svg``.
        rows: of the table; regimes without a scored seed have none.
        failed: runs without scores.
        stopped: why runs are left; empty where none are.
    """

    output: Path
    rows: tuple[Row, ...]
    failed: tuple[Failure, ...]
    stopped: str

    def require_complete(self) -> None:
        """Raise where runs failed or are left.

        Raises:
            CasesFailed: runs failed.
            Preempted: it was stopped, and the same call goes on.
        """
        if self.failed:
            first = self.failed[0]
            raise CasesFailed(
                f"{len(self.failed)} runs have no scores; {first.run}: {first.reason}",
                where=self.output,
                fix="mend what it says and run the same command again; what is done is kept",
            )
        if self.stopped:
            raise Preempted(
                f"stopped by {self.stopped}; runs are left", where=self.output, fix="run the same command again"
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
    progress: Progress | None = None,
) -> Benchmark:
    """Train, predict and score every regime under every seed, and compare them; what is done is not done again.

    Args:
        recipe: of a segmentation; every regime gets its budget, patches, preparation and network.
        cases: the case table with a column ``domain``; every target case that is tested on needs a label.
        out: the folder to write, or to go on with.
        regimes: of :data:`REGIMES`, of the plan, or methods by name; ``all``. By default the plan's, or the six.
        plan: rows with titles, seeds and settings of their own, and which of them are references of the tests; or
            the file that has them.
        seeds: trainings of each regime, with seeds ``recipe.seed``, ``recipe.seed + 1``, ...
        folds: of the target domain where it has no test cases; see :func:`make_folds`.
        workers: runs at a time.
        overrides: ``key=value`` changes every regime, ``REGIME:key=value`` one.
        shifted: the input that differs between the domains, where none is spelt ``a|b``.
        max_minutes: save the state and stop after this long.
        device: as for :func:`medgen.train`.
        allow_modules: modules outside medgen that may be named as methods.
        table_only: start nothing, tabulate what is there.
        progress: called with (runs done, runs, what).

    Returns:
        The table, as written to ``out``; see :meth:`Benchmark.require_complete`.

    Raises:
        UsageError: the recipe, the plan or the folder does not allow this benchmark.
        InputError: the cases do not suffice.
        KeyboardInterrupt: Ctrl-C; runs at work have saved their state.
        StorageError: the disk is full or the folder cannot be written.
    """
    _require_positive(seeds=seeds, workers=workers)
    single = [each for each in overrides if ":" in each.partition("=")[0]]
    base = load_recipe(recipe, [each for each in overrides if each not in single])
    rows = load_plan(plan) if isinstance(plan, str | Path) else plan
    chosen = choose_regimes(regimes, rows, single, allow_modules=allow_modules)
    table, out = read_cases(cases), Path(out)
    runs = plan_runs(base, table, chosen, out, seeds=seeds, folds=folds, shifted=shifted, allow_modules=allow_modules)
    for run in runs:
        run.require_same()
    titles = titles_of(base, chosen, shifted)
    study = _Study(base, table, chosen, runs, titles, rows.references if rows else REFERENCES, out)
    if table_only:  # files appear whole, so this may be asked while another process does the runs
        return study.write(Outcome())
    with folder_lock(out):
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
    """What is compared, whose results can be written at any time."""

    base: Recipe
    table: CaseTable
    regimes: Sequence[Regime]
    runs: Sequence[Run]
    titles: Mapping[str, str]
    references: Sequence[str]
    out: Path

    def write(self, outcome: Outcome) -> Benchmark:
        """Write the table of the runs that are done, and its figure."""
        found, facts = tabulate(self.runs, self.titles, references=self.references), self._facts(outcome)
        write_results(found, facts, self.out)
        if found and find_spec("matplotlib"):
            from medgen.benchmark.figure import write_figure

            write_figure(found, self.out, phantom=facts["phantom"])
        elif found:  # hours of training must not end in an error about a picture
            log.warning("no figure, because matplotlib is not installed: pip install 'medgen[report]'")
        return Benchmark(self.out, found, tuple(outcome.failed), outcome.stopped)

    def _facts(self, outcome: Outcome) -> dict[str, Any]:
        """What a reader must know beside the numbers; no path of this machine."""
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
            "statistics": "means over cases, then seeds; bootstrap of seeds and cases with 2000 draws, seed 0",
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
        """By regime and fold; the seeds differ in none of them."""
        return {
            f"{regime.name}/fold{run.fold.number}": {k: v for k, v in run.hashes.items() if k != "settings"}
            for regime in self.regimes
            for run in self.runs
            if run.regime == regime and run.seed == 0
        }

    def _regime_facts(self, regime: Regime) -> dict[str, Any]:
        done = [run for run in self.runs if run.regime == regime and run.done]
        return {
            "method": regime.method,
            "overrides": list(regime.overrides),
            "seconds": [read_facts(run.folder)["seconds"] for run in done],
        }


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"there cannot be {number} {name}", fix=f"choose --{name} of at least 1")
