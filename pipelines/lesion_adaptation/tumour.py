"""Whole tumours on real MRI: DeepMedic learns from three glioma patients and is tested on the fourth.

    python pipelines/lesion_adaptation/tumour.py DATA --out runs/tumour

DATA holds one folder a patient with flair, t1c, labels and brain_mask (.nii.gz; BRATS 2013 cases as shipped with
deepmedic/deepmedic). The last patient is the test; with ``--held-out N`` another one is, so that all four can take
their turn. One network is trained for each of ``--seeds``, and the mean of their probabilities is the result. What was
chosen on which patient is told in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from medgen.cases import Case, write_cases
from medgen.evaluation import evaluate_segmentation
from medgen.inference.cohort import predict
from medgen.report import write_report
from medgen.run.experiment import train

RECIPE = Path(__file__).with_name("tumour.yaml")
ROLES = {"flair": "flair", "t1c": "t1c", "label": "labels", "mask": "brain_mask"}


def main() -> None:
    """Train on three patients, predict and score the fourth, report."""
    options = _arguments()
    out = Path(options.out)
    table = make_table(Path(options.data).resolve(), out, held_out=options.held_out)
    recipe, runs = yaml.safe_load(RECIPE.read_text()), [out / f"run{seed}" for seed in options.seeds]
    for seed, run in zip(options.seeds, runs, strict=True):
        overrides = [*options.set, f"seed={seed}"]
        train(recipe, table, run, overrides=overrides, resume=(run / "recipe.yaml").is_file(), progress=_say)
    predict(runs[0], table, out / "predictions", split="test", ensemble=runs[1:], overwrite=True)
    scores = evaluate_segmentation(out / "predictions", table, classes=recipe["data"]["classes"])
    scores.write(out / "scores.json")
    for row in scores.table():
        print("  ".join(f"{cell:>16}" for cell in row))
    print(f"report: {write_report(out)}")


def make_table(data: Path, out: Path, *, held_out: int) -> Path:
    """The case table: one patient is the test, the others are trained on."""
    patients = sorted(folder for folder in data.iterdir() if folder.is_dir())
    cases = [
        Case(
            folder.name,
            "test" if number == held_out % len(patients) else "train",
            None,
            {role: folder / f"{name}.nii.gz" for role, name in ROLES.items()},
        )
        for number, folder in enumerate(patients)
    ]
    return write_cases(cases, out / "cases.csv")


def _say(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--held-out", type=int, default=-1, metavar="N", help="number of the test patient, from 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the networks that are averaged")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
