"""MR to CT on a real scan: one piece of meat with bone, T2 MR and CT, cut into a training and a test slab.

    python pipelines/mr_to_ct/porcine.py DATA --out runs/porcine

DATA holds train_t2, train_ct, test_t2 and test_ct (.nii.gz; MRI-DIR, TCIA, CC BY 4.0). Everything is learnt on the
training slab. The body is the largest piece above -300 HU, opened by 2 voxels so that the plates of the table are no
part of it, and filled; the literal body, plates and all, is scored as well. It is scored on, and patches are drawn in
it; a prediction sees the MR alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from medgen.baselines.scoring import BASELINES, score_baselines
from medgen.cases import read_cases
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.files import write_json
from medgen.inference.cohort import predict
from medgen.metrics.tissue import BONE_FROM
from medgen.report import write_report
from medgen.run.experiment import prepare, train
from medgen.volume import read_volume, write_volume

RECIPE = Path(__file__).with_name("porcine.yaml")
BODY_ABOVE = -300.0
COLUMNS = ("mae", "psnr", "mae_soft", "mae_bone", "dice_bone")


def main() -> None:
    """Prepare, train, predict, score and report."""
    options = _arguments()
    out = Path(options.out)
    table = make_table(Path(options.data).resolve(), out / "data")
    run = out / "run"
    recipe = yaml.safe_load(Path(options.recipe).read_text())
    train(recipe, table, run, overrides=options.set, resume=(run / "recipe.yaml").is_file(), progress=_say)
    store = prepare(recipe, table, run / "store", overrides=options.set)
    training = store.select(split="train")
    test = read_cases(table).select(split="test")
    scores = score_baselines(training, store.preparation, test, table, out, progress=_say)
    predict(run, table, out / "predictions", split="test", overwrite=True)
    name = str(recipe["method"])
    scores[name] = evaluate_synthesis(out / "predictions", table)
    scores[name].write(out / "scores" / f"{name}.json")
    literal = {key: _literal(folder, table) for key, folder in _folders(out, name).items()}
    write_json(
        out / "results.json",
        {key: {"body": s.summary, "literal_body": literal[key].summary} for key, s in scores.items()},
    )
    print(_table(scores, literal))
    print(f"report: {write_report(out)}")


def make_table(data: Path, out: Path) -> Path:
    """Write the body masks and the case table; returns the table."""
    out.mkdir(parents=True, exist_ok=True)
    rows = ["case,split,t2,ct,mask,bone"]
    for split in ("train", "test"):
        ct = read_volume(data / f"{split}_ct.nii.gz")
        mask = ct.with_data(body(ct.data[0]).astype(np.float32))
        write_volume(mask, out / f"{split}_mask.nii.gz", kind="label", overwrite=True)
        bone = ""
        if split == "train":  # where patches are drawn more often; the test slab's stays unknown
            bone = "train_bone.nii.gz"
            write_volume(
                ct.with_data((mask.data > 0) & (ct.data >= BONE_FROM)), out / bone, kind="label", overwrite=True
            )
        rows.append(f"{split},{split},{data}/{split}_t2.nii.gz,{data}/{split}_ct.nii.gz,{split}_mask.nii.gz,{bone}")
    (out / "cases.csv").write_text("\n".join(rows) + "\n")
    return out / "cases.csv"


def body(ct: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The meat without the table: ``(X, Y, Z)`` HU to a mask."""
    above = ndimage.binary_opening(ct > BODY_ABOVE, ndimage.generate_binary_structure(3, 1), iterations=2)
    pieces, _ = ndimage.label(above)
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == largest)
    return filled


def _folders(out: Path, name: str) -> dict[str, Path]:
    return {**{key: out / "baselines" / key for key in BASELINES}, name: out / "predictions"}


def _literal(folder: Path, table: Path) -> Scores:
    """Scores where no mask is named: inside the filled largest piece above -300 HU of the true CT."""
    return evaluate_synthesis(folder, table, mask_role="none")


def _table(scores: dict[str, Scores], literal: dict[str, Scores]) -> str:
    lines = ["| method | " + " | ".join(COLUMNS) + " | mae, literal body |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, found in scores.items():
        cells = [f"{found.summary[column]['mean']:.2f}" for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {literal[name].summary['mae']['mean']:.2f} |")
    return "\n".join(lines)


def _say(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--recipe", default=str(RECIPE))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
