"""``medgen benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Overrides


def benchmark(
    recipe: Path,
    /,
    *,
    cases: Path,
    out: Path,
    regimes: str | None = None,
    plan: Path | None = None,
    seeds: int = 3,
    folds: int | None = None,
    workers: int = 1,
    overrides: Overrides = (),
    shifted: str | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    table_only: bool = False,
    reuse: Annotated[tuple[Path, ...], Parameter(name="--reuse", metavar="BENCHMARK")] = (),
    allow_module: AllowModule = (),
) -> None:
    """Compare training regimes for domain adaptation by their Dice (DSC).

    Default: the six regimes of Kamnitsas et al. 2017.

        source_only      train on the source domain
        without_shifted  the same, without the channel that differs
        adapted          source, adapted to unlabelled target images
        target_only      train on the target domain
        both             train on both domains
        both_separate    both, with the two contrasts as two channels

    The name of any segmentation method is a regime too: it trains on the
    source domain, and if it adapts, on unlabelled target images. 'all'
    means the six regimes and all these methods.

    Each regime is trained once per seed and tested on the target cases of
    split 'test'; if there are none, by cross-validation (--folds). A run
    never sees labels that its regime must not use: they are left out of
    its case table. To continue after a stop or a failure, run the same
    command again: finished runs are skipped.

    Results are in benchmark.md, .json, .csv, .png and .svg: DSC with 95 %
    intervals, the share of the gap closed, and paired tests.

    For example:

        medgen benchmark recipe.yaml --cases cases.csv --out bench --seeds 5
        medgen benchmark recipe.yaml --cases cases.csv --out bench --workers 2
        medgen benchmark r.yaml --cases c.csv --out b --regimes source_only,adapted
        medgen benchmark r.yaml --cases c.csv --out b --set schedule.steps=2000
        medgen benchmark r.yaml --cases c.csv --out b --set adapted:config.begin=0.5
        medgen benchmark r.yaml --cases c.csv --out b --plan rows.yaml

    Args:
        recipe: YAML recipe of a segmentation; every regime uses its network and training budget.
        cases: case table with 'source' or 'target' in the column 'domain'.
        out: output folder; if it holds this benchmark already, the benchmark is continued.
        regimes: comma-separated names; by default those of --plan, or the six.
        plan: YAML file of regimes with their own titles, seeds, settings and case tables, and the references.
        seeds: number of training runs of each regime.
        folds: number of folds of the target domain if it has no test cases; 5 by default.
        workers: number of runs at the same time; they share the cores equally.
        overrides: replace a key of the recipe in all regimes, or in one: 'REGIME:KEY=VALUE'; repeatable.
        shifted: the input that differs between the domains; not needed if the recipe has an input 'a|b'.
        max_minutes: save and stop after this time, with exit code 75.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        table_only: train nothing; write the table of the finished runs.
        reuse: another benchmark; what it trained with the same recipe and cases is not trained again; repeatable.
        allow_module: allow a method from this Python module outside medgen; repeatable.
    """
    from medgen.benchmark import run_benchmark
    from medgen.benchmark.rendering import HEADING, cells
    from medgen.cli.output import note, say, show_table
    from medgen.cli.progress import progress_display

    with progress_display() as progress:
        found = run_benchmark(
            recipe,
            cases,
            out,
            regimes=[name.strip() for name in (regimes or "").split(",") if name.strip()],
            plan=plan,
            seeds=seeds,
            folds=folds,
            workers=workers,
            overrides=overrides,
            shifted=shifted,
            max_minutes=max_minutes,
            device=device,
            allow_modules=allow_module,
            table_only=table_only,
            reuse=reuse,
            progress=progress,
        )
    if found.rows:
        show_table(HEADING, cells(found.rows))
        note(found.verdict)
        note("scores in %: mean (standard deviation over cases); benchmark.md has the tests and every seed")
    say(str(out))
    found.require_complete()
