"""``medgen benchmark``."""

from __future__ import annotations

from pathlib import Path

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
    allow_module: AllowModule = (),
) -> None:
    """Compare training regimes by DSC on a domain that has no labels.

    Six regimes, as in Kamnitsas et al. 2017: train on the source domain
    (source_only), on it without the channel that differs
    (without_shifted), on it with adaptation to unlabelled target images
    (adapted), on the target domain (target_only), on both (both), and on
    both with the two contrasts in different channels (both_separate). The
    name of any method is a regime too, and 'all' is every one of them.

    Each regime is trained under each seed and tested on the target cases of
    split 'test'; without such, in folds. Labels of unlabelled target cases
    are not in the table that a run is given. Run the same command again
    after a stop or a failure: what is done is not done again.

    The folder gets benchmark.md, .json, .csv, .png and .svg: DSC with 95 %
    intervals, the share of the gap closed, and paired tests.

    For example:

        medgen benchmark recipe.yaml --cases cases.csv --out bench --seeds 5
        medgen benchmark recipe.yaml --cases cases.csv --out bench --workers 2
        medgen benchmark r.yaml --cases c.csv --out b --regimes source_only,adapted
        medgen benchmark r.yaml --cases c.csv --out b --set schedule.steps=2000
        medgen benchmark r.yaml --cases c.csv --out b --set adapted:config.begin=0.5
        medgen benchmark r.yaml --cases c.csv --out b --plan rows.yaml

    Args:
        recipe: the YAML file of a segmentation; its budget and network are those of every regime.
        cases: the case table, with 'source' or 'target' in the column 'domain'.
        out: the folder to write, or to go on with.
        regimes: names with commas between them; the plan's by default, or the six.
        plan: a YAML file of rows with titles, seeds and settings of their own, and of which rows to test against.
        seeds: trainings of each regime.
        folds: of the target domain, where it has no test cases; 5 by default.
        workers: runs at a time, each a process with its share of the cores.
        overrides: replace a key of the recipe, in one regime with 'REGIME:' before the key; repeatable.
        shifted: the input that differs between the domains, where none is spelt 'a|b'.
        max_minutes: stop in time, save, and exit 75.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        table_only: start nothing; make the table of what is done.
        allow_module: a module outside medgen that may be named as a method; repeatable.
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
            progress=progress,
        )
    if found.rows:
        show_table(HEADING, cells(found.rows))
        note("shares in percent: mean (sd over cases); differences and every seed stand in benchmark.md")
    say(str(out))
    found.require_complete()
