"""Lesions on a scanner without labels: phantom, benchmark of the training regimes, layer ablation, health signals.

    python pipelines/lesion_adaptation/run.py study  --out runs/lesions --workers 2
    python pipelines/lesion_adaptation/run.py layers --out runs/lesions --workers 2
    python pipelines/lesion_adaptation/run.py rank   --out runs/lesions
    python pipelines/lesion_adaptation/run.py tune   --out runs/lesions_tuning --plan my_rows.yaml

`study` (rows.yaml), `layers` (layers.yaml, DeepMedic) and `rank` use phantom seed 0, `tune` phantom seed 1000: nothing
that is reported was tuned on the people it is reported for. All can be stopped and started again; what is done is
kept. `rank` trains one row with a snapshot at every validation, scores each on the target with the labels that
training never saw, and asks how well the label-free signals would have chosen among them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from medgen.benchmark import choose_regimes, load_plan, run_benchmark
from medgen.benchmark.regimes import derive_recipe, shifted_input
from medgen.cases import read_cases
from medgen.evaluation import evaluate_segmentation
from medgen.files import write_json
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.phantom import make_adaptation_phantom
from medgen.phantom.head.adaptation import RANDOMISED_TABLE
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.run.monitor import rank_checkpoints, read_records
from medgen.run.monitor.snapshots import list_snapshots, write_snapshot_model

HERE = Path(__file__).parent
SEEDS = {"study": 0, "layers": 0, "rank": 0, "tune": 1000}
"""Of the phantom."""
PLANS = {"study": "rows.yaml", "layers": "layers.yaml", "rank": "rows.yaml", "tune": "rows.yaml"}
SOURCE_TEST = 4
"""Test cases of the source; they say what adaptation costs there, and the table is about the target."""
RANDOMISED = 5
"""Copies of each source training patient by random scanners, for the row of domain randomisation."""
RANKED = "adapted"
"""The row whose checkpoints are ranked."""


def main() -> None:
    """Make the phantom, then do what was asked for."""
    options = _arguments()
    out, what = Path(options.out), options.what
    cases = phantom(out / f"phantom{SEEDS[what]}", SEEDS[what], options.workers)
    plan = Path(options.plan) if options.plan else HERE / PLANS[what]
    recipe = HERE / ("deepmedic.yaml" if what == "layers" else "recipe.yaml")
    if what == "rank":
        print(json.dumps(rank(recipe, plan, cases, out / "rank", options), indent=2))
        return
    found = run_benchmark(
        recipe,
        cases,
        out / what,
        plan=plan,
        regimes=[name for name in options.regimes.split(",") if name],
        seeds=options.seeds,
        workers=options.workers,
        overrides=options.set,
        max_minutes=options.max_minutes,
        device=options.device,
        progress=_say,
    )
    print((found.output / "benchmark.md").read_text())
    found.require_complete()


def phantom(folder: Path, seed: int, workers: int) -> Path:
    """20 labelled source, 20 unlabelled target and 24 target test cases, and copies by random scanners; made once."""
    table = folder / "cases.csv"
    if not (table.is_file() and (folder / RANDOMISED_TABLE).is_file()):
        make_adaptation_phantom(
            folder,
            seed=seed,
            source_test=SOURCE_TEST,
            randomised=RANDOMISED,
            workers=workers,
            overwrite=True,
            progress=_say,
        )
    return table


def rank(recipe: Path, plan: Path, cases: Path, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """Train the row with snapshots, score each on the target's test cases, and rank them by the signals."""
    (regime,) = choose_regimes([RANKED], load_plan(plan))
    base = load_recipe(recipe, options.set)
    looks_at = [f"schedule.validate_every={options.every}", "schedule.snapshots=true"]  # the row has its own
    mine = load_recipe(derive_recipe(base, regime, shifted=shifted_input(base), seed=0), looks_at)
    run = out / "run"
    if not (run / "run.json").is_file():
        train(mine, cases, run, resume=(run / "recipe.yaml").is_file(), device=options.device, progress=_say)
    tested = read_cases(cases).select(split="test", domain="target")
    truth: dict[int, float] = {}
    for step in list_snapshots(run):
        folder = out / "snapshots" / f"{step:06d}"
        if not (folder / "scores.json").is_file():
            model = write_snapshot_model(run, step, folder / "model")
            predict_cohort(load_model(model), tested, folder / "predictions", overwrite=True)
            scores = evaluate_segmentation(
                folder / "predictions", cases, domain="target", classes=mine.data.classes, split="test"
            )
            scores.write(folder / "scores.json")
        truth[step] = json.loads((folder / "scores.json").read_text())["summary"]["dice"]["mean"]
        _say(step, mine.schedule.steps, f"dice on T {truth[step]:.3f}")
    looks = [look for look in read_records(run / "metrics.jsonl") if not look.warming_up]
    ranks = {name: found._asdict() for name, found in rank_checkpoints(looks, truth).items()}
    result = {"phantom": True, "row": RANKED, "dice_by_step": truth, "signals": ranks}
    write_json(out / "ranking.json", result)
    return result


def _say(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(SEEDS))
    parser.add_argument("--out", required=True)
    parser.add_argument("--plan", help="another file of rows")
    parser.add_argument("--regimes", default="", help="some of its rows, with commas between them")
    parser.add_argument("--seeds", type=int, default=3, help="of rows that do not say their own")
    parser.add_argument("--every", type=int, default=75, help="rank: steps between two snapshots")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
