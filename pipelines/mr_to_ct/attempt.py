"""One training on the tuning phantom, for choosing defaults: other subjects than any that are reported.

    python pipelines/mr_to_ct/attempt.py NAME --out runs/attempts --set schedule.steps=3000 --set config.mse_weight=0

Phantom seed 100, or another that nothing is reported for, at 3 mm with 5 training, 1 validation and 6 test subjects.
The scores of all attempts in the folder are shown beside those of the baselines. A folder is for one phantom.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from medgen.baselines.scoring import BASELINES, score_baselines
from medgen.cases import read_cases
from medgen.demo import RECIPE
from medgen.evaluation import evaluate_synthesis
from medgen.inference.cohort import predict
from medgen.phantom import make_head_phantom
from medgen.run.experiment import prepare, train

SPACING, SUBJECTS = 3.0, (5, 1, 6)
METRICS = ("mae", "mae_soft", "mae_bone", "mae_air", "false_tissue", "psnr", "ms_ssim", "gradient_ratio")


def main() -> None:
    """Make what is missing, train, score, show."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    table, store = out / "phantom" / "cases.csv", out / "store"
    if not table.is_file():
        make_head_phantom(
            table.parent, subjects=sum(SUBJECTS), seed=options.phantom_seed, spacing=SPACING, splits=SUBJECTS
        )
    known = json.loads((table.parent / "phantom.json").read_text())["seeds"]["subject"]
    if known != options.phantom_seed:
        raise SystemExit(f"{out} is for phantom seed {known}, not {options.phantom_seed}: use another --out")
    if not all((out / "scores" / f"{name}.json").is_file() for name in BASELINES):
        prepared = prepare(RECIPE, table, store)
        test = read_cases(table).select(split="test")
        score_baselines(prepared.select(split="train"), prepared.preparation, test, table, out)
    run, scores = out / "runs" / options.name, out / "scores" / f"{options.name}.json"
    if not scores.is_file():
        resume = (run / "recipe.yaml").is_file()
        train(RECIPE, table, run, overrides=options.set, resume=resume, store=store, device=options.device)
        predict(run, table, run / "predictions", device=options.device, split="test", overwrite=True)
        evaluate_synthesis(run / "predictions", table).write(scores)
    print(_markdown(out / "scores"))


def _markdown(folder: Path) -> str:
    lines = ["| attempt | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for path in sorted(folder.glob("*.json")):
        summary: dict[str, Any] = json.loads(path.read_text())["summary"]
        cells = [f"{summary[metric]['mean']:.2f}" for metric in METRICS]
        lines.append(f"| {path.stem} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--out", required=True)
    parser.add_argument("--phantom-seed", type=int, default=100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
