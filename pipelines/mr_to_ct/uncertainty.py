"""How well the standard deviation of flips, of seeds and of both tells where a synthetic CT is wrong.

    python pipelines/mr_to_ct/uncertainty.py --table CASES --runs RUN0 RUN1 RUN2 --out runs/uncertainty

The runs differ in their seed alone. Flips: the prediction of the first run and its mirror image (`inference.flips`).
Both: the same of every run. Seeds: every run without flips. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

from medgen.evaluation import evaluate_synthesis
from medgen.files import write_json
from medgen.inference.cohort import predict

COLUMNS = {
    "mae": ("MAE (HU)", 1),
    "sd_error_correlation": ("correlation", 2),
    "coverage": ("covered", 2),
    "coverage_air": ("air", 2),
    "coverage_soft": ("soft", 2),
    "coverage_bone": ("bone", 2),
}


def main() -> None:
    """Predict with each kind of standard deviation, score, and show the table."""
    options = _arguments()
    if len(options.runs) < 2:
        raise SystemExit("--runs needs two or more runs that differ in their seed")
    out, runs = Path(options.out), [Path(run) for run in options.runs]
    still = [without_flips(run, out / "without_flips" / f"{number}") for number, run in enumerate(runs)]
    found: dict[str, Any] = {}
    for name, members in {"flips": runs[:1], "seeds": still, "flips and seeds": runs}.items():
        folder = out / name.replace(" ", "_")
        predict(
            members[0],
            options.table,
            folder,
            split="test",
            overwrite=True,
            ensemble=members[1:],
            uncertainty=True,
            device=options.device,
        )
        summary = evaluate_synthesis(folder, options.table).summary
        found[name] = {key: {"mean": summary[key]["mean"], "ci95": summary[key]["ci95"]} for key in COLUMNS}
    write_json(out / "uncertainty.json", {"runs": len(runs), "results": found})
    print(markdown(found))


def without_flips(run: Path, folder: Path) -> Path:
    """A copy of a model that predicts without averaging over flips."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "model", folder)
    path = folder / "model.json"
    description = json.loads(path.read_text())
    description["inference"] = {**description["inference"], "flips": []}
    path.write_text(json.dumps(description))
    return folder


def markdown(found: dict[str, Any]) -> str:
    """One row a kind of standard deviation: means over cases, with 95 % intervals."""
    titles = [title for title, _ in COLUMNS.values()]
    lines = ["| standard deviation over | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for name, values in found.items():
        cells = []
        for key, (_, digits) in COLUMNS.items():
            mean, (low, high) = values[key]["mean"], values[key]["ci95"]
            interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"  # none for a single case
            cells.append(f"{mean:.{digits}f}{interval}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="case table; its test cases are predicted")
    parser.add_argument("--runs", nargs="+", required=True, help="run folders that differ in their seed")
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
