"""Lesions on a scanner without labels: phantom, regimes, the adversary step by step, health signals.

    python pipelines/lesion_adaptation/run.py study --out runs/lesions --workers 2
    python pipelines/lesion_adaptation/run.py study --out runs/lesions --workers 2 --plan adversary.yaml
    python pipelines/lesion_adaptation/run.py rank  --out runs/lesions

`study` trains the rows of rows.yaml on the first pair of scanners, and those that the claim rests on on the others; a
row that learns from the source alone is trained once for all pairs. Another plan is for the first pair alone. Phantom
seed 0 is reported; whatever is tuned is tuned on seeds from 1000 on (`--phantom 1000`). All can be stopped and started
again; what is done is kept. `rank` trains one row with a snapshot at every validation, scores each on the target with
the labels that training never saw, and asks how well the label-free signals would have chosen among them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from medgen.benchmark import choose_regimes, load_plan
from medgen.benchmark.regimes import derive_recipe, shifted_input
from medgen.cases import read_cases, write_cases
from medgen.errors import UsageError
from medgen.evaluation import evaluate_segmentation
from medgen.files import write_json
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.phantom.head.pairs import PAIRS
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.run.monitor import rank_checkpoints, read_records
from medgen.run.monitor.snapshots import list_snapshots, write_snapshot_model

from pairs import GROUPS as OF_A_PAIR
from pairs import HERE, RECIPE, benchmark_of, folder_of, phantom, said

ACCEPTED = ("long_echo", "long_filter", "short_filter")
"""The pairs of scanners; the first has all rows."""
CLAIM = (
    "source_only", "without_shifted", "target_only", "confirmed", "confirmed_candidates", "confirmed_source",
    "domain_randomisation",
)  # fmt: skip
"""The rows that the other pairs have, too."""
FEW = 4
"""Target patients of the rows that have few to learn from; the others have 20."""
GROUPS = {**OF_A_PAIR, "target": 20, "source_test": 36, "validation": (4, 4)}
"""Of the source's test patients, as many as there are of the target are no test: the control sees their images."""
TABLE, FEW_TABLE, CONTROL_TABLE = "study.csv", "study_few.csv", "study_control.csv"
RANKED = "adapted"
"""The row whose checkpoints are ranked."""


def main() -> None:
    """Make the phantoms, then do what was asked for."""
    options = _arguments()
    if options.what == "rank":
        print(json.dumps(rank(options), indent=2))
        return
    plan = HERE / options.plan
    try:  # before the phantoms are made
        choose_regimes(options.regimes, load_plan(plan))
    except UsageError as error:
        raise SystemExit(str(error)) from None
    for name in options.pairs or (ACCEPTED if plan.name == "rows.yaml" else ACCEPTED[:1]):
        rows = () if name == ACCEPTED[0] or plan.name != "rows.yaml" else CLAIM
        done = benchmark_of(
            cases_of(options, name), options.out, plan, regimes=options.regimes or rows, seeds=options.seeds,
            workers=options.workers, overrides=options.set, max_minutes=options.max_minutes, device=options.device,
        )  # fmt: skip
        print((done / "benchmark.md").read_text())


def cases_of(options: argparse.Namespace, name: str) -> Path:
    """The case table of a pair; beside it stand those of rows with few target patients, and with images of S alone."""
    made = phantom(folder_of(options.out, name, options.phantom), PAIRS[name], options.phantom, GROUPS)
    return divided(made, GROUPS["target"])


def divided(table: Path, count: int) -> Path:
    """Write the tables of the study beside that of the phantom, and name the first.

    In ``CONTROL_TABLE`` the last ``count`` test patients of the source stand, without labels, where patients of the
    target stood: patients whom no network knows, scanned by the source's scanner. It has no other image of the target
    but the tests, so that what is trained on it is the same for every pair.
    """
    cases = read_cases(table).cases
    spare = [case for case in cases if (case.domain, case.split) == ("source", "test")][-count:]
    kept = [case for case in cases if case not in spare]
    learnt = [case for case in kept if (case.domain, case.split) == ("target", "train")]
    images = [{role: path for role, path in case.images.items() if role != "label"} for case in spare]
    control = [
        replace(case, domain="target", split="train", images=own) for case, own in zip(spare, images, strict=True)
    ]
    write_cases([case for case in kept if case not in learnt[FEW:]], table.with_name(FEW_TABLE))
    others = [case for case in kept if case.domain == "source" or case.split == "test"]
    write_cases([*others, *control], table.with_name(CONTROL_TABLE))
    return write_cases(kept, table.with_name(TABLE))


def rank(options: argparse.Namespace) -> dict[str, object]:
    """Train the row with snapshots, score each on the target's test cases, and rank them by the signals."""
    cases, out = cases_of(options, ACCEPTED[0]), options.out / "rank"
    (regime,) = choose_regimes([RANKED], load_plan(HERE / "rows.yaml"))
    base = load_recipe(RECIPE, options.set)
    looks_at = [f"schedule.validate_every={options.every}", "schedule.snapshots=true"]  # the row has its own
    mine = load_recipe(derive_recipe(base, regime, shifted=shifted_input(base), seed=0), looks_at)
    run = out / "run"
    if not (run / "run.json").is_file():
        train(mine, cases, run, resume=(run / "recipe.yaml").is_file(), device=options.device, progress=said)
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
        said(step, mine.schedule.steps, f"dice on T {truth[step]:.3f}")
    looks = [look for look in read_records(run / "metrics.jsonl") if not look.warming_up]
    ranks = {name: found._asdict() for name, found in rank_checkpoints(looks, truth).items()}
    result = {"phantom": True, "row": RANKED, "dice_by_step": truth, "signals": ranks}
    write_json(out / "ranking.json", result)
    return result


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("study", "rank"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plan", default="rows.yaml", help="study: a file of rows beside this one")
    parser.add_argument("--pairs", nargs="+", default=[], choices=list(PAIRS), help="study: of scanners")
    parser.add_argument("--regimes", nargs="+", default=[], help="study: some of the rows")
    parser.add_argument("--seeds", type=int, default=5, help="study: of the rows that do not say their own")
    parser.add_argument("--phantom", type=int, default=0, metavar="SEED")
    parser.add_argument("--every", type=int, default=75, help="rank: steps between two snapshots")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes to deepmedic.yaml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
