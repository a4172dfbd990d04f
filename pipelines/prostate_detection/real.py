"""Two real patients through check, predict, evaluate and report, with a model that a phantom has taught.

    python pipelines/prostate_detection/real.py DATA --model RUN --out runs/prostatex

DATA holds one folder a patient with t2w, adc, hbv and lesion_isup (.nii.gz; PROSTATEx, labels of PI-CAI).
A model that has seen phantoms only knows nothing of patients: what it finds here is no result. The command shows that
real grids, units and file names go through.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medgen.cases import Case, read_cases, write_cases
from medgen.checks import check_cases
from medgen.evaluation import evaluate_detection
from medgen.inference.cohort import predict
from medgen.report import write_report

ROLES = {"t2w": "t2w", "adc": "adc", "hbv": "hbv", "lesion": "lesion_isup"}


def main() -> None:
    """Check, predict, score, report."""
    options = _arguments()
    out = Path(options.out)
    table = make_table(Path(options.data).resolve(), out)
    for fault in check_cases(read_cases(table), inputs=("t2w", "adc", "hbv"), labels="lesion"):
        print(f"{fault.severity}: {fault.case} {fault.role}: {fault.what}")
    predict(options.model, table, out / "predictions", overwrite=True)
    scores = evaluate_detection(out / "predictions", table)
    scores.write(out / "scores.json")
    for row in scores.table():
        print("  ".join(f"{cell:>18}" for cell in row))
    print("\n".join(scores.notes))
    print(f"report: {write_report(out)}")


def make_table(data: Path, out: Path) -> Path:
    """The case table of all patients, all to be tested."""
    folders = sorted(folder for folder in data.iterdir() if folder.is_dir())
    cases = [
        Case(folder.name, "test", None, {role: folder / f"{name}.nii.gz" for role, name in ROLES.items()})
        for folder in folders
    ]
    return write_cases(cases, out / "cases.csv")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", required=True, help="a run folder")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
