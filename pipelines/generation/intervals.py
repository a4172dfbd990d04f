"""Do the 90 % intervals of a synthetic CT hold 90 %, and does the gate find the cases that went wrong?

    medgen phantom head heads --subjects 36 --spacing 3.5 --seed 1311
    medgen phantom head new --subjects 32 --spacing 3.5 --seed 2713
    python pipelines/generation/intervals.py --train heads/cases.csv --new new/cases.csv --out runs/intervals

Trains what is not there: a CVAE, three generators that differ in their seed, and one with dropout. Of the new heads,
which no training saw, the first 16 calibrate and the last 16 are scored; of four of those there are odd copies (noise,
motion, a T2 in place of the T1) for the gate. Writes intervals.json, intervals.md and intervals.png. With --again,
predictions that are there are only scored again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case, read_cases, write_cases
from medgen.evaluation import evaluate_synthesis
from medgen.files import write_json
from medgen.inference.calibrating import CalibrateOptions, calibrate
from medgen.inference.cohort import predict
from medgen.inference.intervals import FILE, Calibration, gaussian, read_calibrations
from medgen.metrics.intervals import interval_scores
from medgen.phantom.artefacts import rician
from medgen.run.experiment import train
from medgen.volume import read_label, read_volume, write_volume

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"
SAMPLES, COVERAGE = 8, 0.9
KINDS = ("", "_air", "_soft", "_bone")
BY_TISSUE = " by tissue"
"""A row that is calibrated for air, soft tissue and bone apart, as they are in the prediction."""
ODD = 4


def main() -> None:
    """Train, calibrate, predict, score, and write the page."""
    options = _arguments()
    out = Path(options.out)
    results = out / "intervals.json"
    found: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    tables = _tables(Path(options.new), out / "cases")
    for name in options.rows:
        found[name] = _row(name, options, tables, out, found.get(name, {}))
        write_json(results, found)
    if options.page:
        shutil.copy(results, PAGE / "intervals.json")
        (PAGE / "intervals.md").write_text(_page(found))
        _figure(found, PAGE / "intervals.png")


def _predicted(
    name: str, options: argparse.Namespace, tables: tuple[Path, Path], out: Path
) -> tuple[Calibration, float]:
    """Calibrate one source of uncertainty on the one table and predict the other; also when training had ended."""
    runs = [_copy(run, out / "models" / f"{name}{number}") for number, run in enumerate(_runs(name, options, out))]
    draws: dict[str, Any] = {"samples": None if name == "ensemble" else SAMPLES, "dropout": name == "dropout"}
    trained = time.process_time()
    measured = calibrate(
        runs[0],
        tables[0],
        ensemble=runs[1:],
        options=CalibrateOptions(COVERAGE, by_tissue=name.endswith(BY_TISSUE)),
        device="cpu",
        **draws,
    )
    predict(
        runs[0],
        tables[1],
        out / "predictions" / name,
        ensemble=runs[1:],
        uncertainty=name == "ensemble",
        interval=COVERAGE,
        overwrite=True,
        device="cpu",
        **draws,
    )
    return measured, trained


def _row(
    name: str, options: argparse.Namespace, tables: tuple[Path, Path], out: Path, before: dict[str, Any]
) -> dict[str, Any]:
    """One source of uncertainty: calibrated on the one table, scored on the other."""
    started = time.process_time()
    folder = out / "predictions" / name
    if options.again:
        *_, measured = read_calibrations(out / "models" / f"{name}0")
    else:
        measured, trained = _predicted(name, options, tables, out)
    clean = evaluate_synthesis(folder, tables[1], split="test")
    odd = evaluate_synthesis(folder, tables[1], split="all")
    report = {each["case"]: each["measured"] for each in json.loads((folder / "prediction.json").read_text())["cases"]}
    rows = [
        {key: row[key] for key in ("case", "mae", "mean_sd", "interval_width")}
        | {"accepted": report[row["case"]]["accepted"]}
        for row in odd.cases
    ]
    keys = ["mae", "mean_sd", "sd_error_correlation"]
    keys += [f"{key}{kind}" for key in ("interval_coverage", "interval_width", "ause") for kind in KINDS]
    uncalibrated = _uncalibrated(folder, read_cases(tables[1]).select(split="test"))
    ended = time.process_time()
    return {
        "scores": {key: {part: clean.summary[key][part] for part in ("mean", "ci95")} for key in keys},
        "worst_coverage": min(row["interval_coverage"] for row in clean.cases),
        "uncalibrated": uncalibrated,
        "quantiles": measured.scale.quantiles,
        "left_out": measured.left_out,
        "gate": {"threshold": measured.gate.threshold, "slope": measured.gate.slope, **odd.details["gate"]},
        "sparsification": clean.details["sparsification"],
        "accept_reject": odd.details["accept_reject"],
        "cases": rows,
        "seconds": before["seconds"]
        if options.again
        else {"train": round(trained - started), "rest": round(ended - trained)},
    }


def _runs(name: str, options: argparse.Namespace, out: Path) -> list[Path]:
    """The runs of a row, trained where they are missing."""
    if name.startswith("cvae"):
        return [Path(options.cvae) if options.cvae else _trained("cvae_ct", out / "runs" / "cvae", options)]
    if name == "dropout":
        return [_trained("supervised_ct", out / "runs" / "dropout", options, "config.dropout=0.1")]
    seeds = range(3)
    return [_trained("supervised_ct", out / "runs" / f"seed{seed}", options, f"seed={seed}") for seed in seeds]


def _trained(recipe: str, run: Path, options: argparse.Namespace, *overrides: str) -> Path:
    if not (run / "model").is_dir():
        train(HERE / f"{recipe}.yaml", options.train, run, overrides=overrides, device="cpu")
    return run


def _copy(run: Path, folder: Path) -> Path:
    """A copy of a model, so that the calibration of one row is not that of another."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "model", folder / "model")
    (folder / "model" / FILE).unlink(missing_ok=True)
    return folder


def _tables(new: Path, folder: Path) -> tuple[Path, Path]:
    """The cases to calibrate with, and those to score: clean ones of split test, odd copies of split val."""
    cases = list(read_cases(new).cases)
    half = len(cases) // 2
    known = [replace(case, split="val") for case in cases[:half]]
    unseen = [replace(case, split="test") for case in cases[half:]]
    odd = [_odd(case, kind, folder / "odd") for case in unseen[:ODD] for kind in ("noise", "motion", "t2")]
    folder.mkdir(parents=True, exist_ok=True)
    tables = folder / "calibrate.csv", folder / "score.csv"
    for table, rows in zip(tables, (known, [*unseen, *odd]), strict=True):
        table.unlink(missing_ok=True)
        write_cases(rows, table)
    return tables


def _odd(case: Case, kind: str, folder: Path) -> Case:
    """A copy of a case whose T1 is spoiled, or is a T2."""
    name, images = f"{case.name}_{kind}", dict(case.images)
    if kind == "t2":
        images["t1"] = images["t2"]
    else:
        image = read_volume(images["t1"])
        data = _noise(image.data[0]) if kind == "noise" else _motion(image.data[0])
        images["t1"] = folder / f"{name}_t1.nii.gz"
        write_volume(image.with_data(data[None].astype(np.float32)), images["t1"], kind="scalar", overwrite=True)
    return Case(name, "val", case.domain, images)


def _noise(image: NDArray[Any]) -> NDArray[Any]:
    """Rician noise of a fifth of the brightest tissue."""
    return rician(image, 0.2 * float(np.percentile(image, 99)), np.random.default_rng(0))


def _motion(image: NDArray[Any]) -> NDArray[Any]:
    """Every third phase-encoding line of k-space is of a head that lies 4 voxels further back."""
    still, moved = (np.fft.fftn(each) for each in (image, np.roll(image, 4, axis=1)))
    still[:, ::3] = moved[:, ::3]
    return np.abs(np.fft.ifftn(still))


def _uncalibrated(folder: Path, cases: list[Case]) -> float:
    """Coverage of the interval of a normal distribution, mean over cases."""
    shares = []
    for case in cases:
        mean, sd = (read_volume(folder / case.name / f"{case.name}_ct{part}.nii.gz") for part in ("", "_sd"))
        lower, upper = gaussian(COVERAGE).bounds(mean, sd)
        mask = read_label(case.images["mask"]).data[0] > 0
        truth = read_volume(case.images["ct"]).data[0]
        shares.append(interval_scores(lower.data[0], upper.data[0], truth, mask)["interval_coverage"])
    return float(np.mean(shares))


def _page(found: dict[str, Any]) -> str:
    """The tables as Markdown, with remarks from a file beside it."""
    lines = ["# Intervals of a synthetic CT", "", "![Curves](intervals.png)", ""]
    lines += [
        "Written by `pipelines/generation/intervals.py` (how to run it: its first lines). Nominal coverage 90 %;",
        "",
    ]
    lines += ["mean over 16 heads that neither training nor calibration saw, 95 % interval in brackets.", ""]
    columns = ["", *found]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]

    def row(title: str, text: Any) -> None:
        lines.append(f"| {title} | " + " | ".join(text(each) for each in found.values()) + " |")

    def score(key: str, digits: int) -> Any:
        def text(each: dict[str, Any]) -> str:
            value = each["scores"][key]
            low, high = value["ci95"]
            return f"{value['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

        return text

    row("MAE, HU", score("mae", 1))
    row("normal distribution, not calibrated", lambda each: f"{each['uncalibrated']:.3f}")
    for kind in KINDS:
        row(f"calibrated coverage{kind.replace('_', ', ')}", score(f"interval_coverage{kind}", 3))
    row("least of a case", lambda each: f"{each['worst_coverage']:.3f}")
    for kind in KINDS:
        row(f"width, HU{kind.replace('_', ', ')}", score(f"interval_width{kind}", 0))
    row("correlation of sd and error", score("sd_error_correlation", 2))
    for kind in KINDS:
        row(f"AUSE{kind.replace('_', ', ')}", score(f"ause{kind}", 3))
    row("half width in sd", _quantiles)
    row("gate: clean cases accepted", lambda each: _accepted(each, odd=False))
    row("gate: odd cases rejected", lambda each: _rejected(each))
    row("MAE of accepted and of rejected cases, HU", _sides)
    row("MAE of all, and of the half with the smallest score, HU", _half)
    row("processor seconds without training", lambda each: str(each["seconds"]["rest"]))
    remarks = PAGE / "intervals_remarks.md"
    return "\n".join(lines) + "\n" + ("\n" + remarks.read_text() if remarks.is_file() else "")


def _quantiles(each: dict[str, Any]) -> str:
    return ", ".join(f"{kind} {value:.2f}" for kind, value in each["quantiles"].items())


def _is_odd(row: dict[str, Any]) -> bool:
    return row["case"].endswith(("_noise", "_motion", "_t2"))


def _accepted(each: dict[str, Any], *, odd: bool) -> str:
    rows = [row for row in each["cases"] if _is_odd(row) == odd]
    return f"{sum(row['accepted'] for row in rows)} of {len(rows)}"


def _rejected(each: dict[str, Any]) -> str:
    parts = []
    for kind in ("noise", "motion", "t2"):
        rows = [row for row in each["cases"] if row["case"].endswith(f"_{kind}")]
        parts.append(f"{kind} {sum(not row['accepted'] for row in rows)} of {len(rows)}")
    return ", ".join(parts)


def _sides(each: dict[str, Any]) -> str:
    means = (each["gate"][side]["mae"]["mean"] for side in ("accepted", "rejected"))
    return ", ".join("none" if mean is None else f"{mean:.0f}" for mean in means)


def _half(each: dict[str, Any]) -> str:
    curve = each["accept_reject"]["mae"]
    return f"{curve[-1]:.0f}, {curve[len(curve) // 2 - 1]:.0f}"


def _figure(found: dict[str, Any], path: Path) -> None:
    """Sparsification curves with their oracles, and the accept-reject curves of the gate."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for number, (name, each) in enumerate(found.items()):
        curve = each["sparsification"]
        left.plot(curve["removed"], curve["all"]["error"], f"C{number}", label=name)
        left.plot(curve["removed"], curve["all"]["oracle"], f"C{number}:")
        gate = each["accept_reject"]
        right.plot(gate["accepted"], gate["mae"], f"C{number}", label=name)
    left.set(
        xlabel="share of voxels removed", ylabel="error of the rest / of all", title="dotted: removed by the error"
    )
    right.set(
        xlabel="share of cases accepted",
        ylabel="their MAE, HU",
        title="16 clean, 12 odd heads; by the score of the gate",
    )
    left.legend()
    right.legend()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="case table of the training")
    parser.add_argument("--new", required=True, help="case table of heads that no training saw")
    parser.add_argument("--out", required=True)
    parser.add_argument("--cvae", help="a CVAE that is trained already")
    parser.add_argument("--again", action="store_true", help="score predictions that are there, and make none")
    parser.add_argument("--rows", nargs="*", default=["cvae", f"cvae{BY_TISSUE}", "ensemble", "dropout"])
    parser.add_argument("--page", action="store_true", help="also write the page in docs/results/generation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
