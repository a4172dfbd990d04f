"""Two real patients through check, predict, evaluate and report, with a model that a phantom has taught.

    python pipelines/prostate_detection/real.py DATA --model RUN --out runs/prostatex --dicom SERIES

DATA holds one folder a patient with t2w, adc, hbv and lesion_isup (.nii.gz; PROSTATEx, labels of PI-CAI). SERIES is the
DICOM series that the high-b image of the first patient was made from, without one slice: it is checked, refused,
mended on demand (``medgen fix --fill-gaps``), and takes the place of that image in a third case.
A model that has seen phantoms only knows nothing of patients: what it finds here is no result. The command shows that
real grids, units, file names and DICOM go through.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import medgen
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
    cases = find_cases(Path(options.data).resolve())
    if options.dicom:
        cases.append(from_dicom(cases[0], Path(options.dicom).resolve(), out))
    table = write_cases(cases, out / "cases.csv")
    check(table)
    predict(options.model, table, out / "predictions", overwrite=True)
    scores = evaluate_detection(out / "predictions", table)
    scores.write(out / "scores.json")
    for row in scores.table():
        print("  ".join(f"{cell:>18}" for cell in row))
    print("\n".join(scores.notes))
    print(f"report: {write_report(out)}")


def find_cases(data: Path) -> list[Case]:
    """All patients, all to be tested."""
    folders = sorted(folder for folder in data.iterdir() if (folder / "t2w.nii.gz").is_file())
    if not folders:
        raise SystemExit(f"{data} holds no folder with t2w.nii.gz")
    return [
        Case(
            folder.name,
            "test",
            None,
            {role: folder / f"{name}.nii.gz" for role, name in ROLES.items()},
            patient=folder.name,
        )
        for folder in folders
    ]


def from_dicom(case: Case, series: Path, out: Path) -> Case:
    """The same patient with the high-b image from a DICOM series: as it is, which check refuses, and then mended."""
    name = f"{case.name}-dicom"
    raw = Case(name, "test", None, {**case.images, "hbv": series}, patient=case.patient)
    check(write_cases([raw], out / "refused" / "cases.csv"))
    mended = medgen.repair_volume(series, fill_gaps=True)
    print("\n".join(mended.volume.notes))
    mended.write(out / "mended" / "hbv.nii.gz", overwrite=True)
    return Case(name, "test", None, {**case.images, "hbv": out.resolve() / "mended" / "hbv.nii.gz"}, case.patient)


def check(table: Path) -> None:
    """Print the faults of a case table."""
    for fault in check_cases(read_cases(table), inputs=("t2w", "adc", "hbv"), labels="lesion"):
        print(f"{fault.severity}: {fault.case} {fault.role}: {fault.what}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", required=True, help="a run folder")
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--dicom", metavar="SERIES", help="folder of the first patient's high-b series, one slice short"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
