"""MR to CT on a real scan: one piece of meat with bone, T2 MR and CT, cut into a training and a test slab.

    python pipelines/mr_to_ct/porcine.py DATA --out runs/porcine_choice --slab validation --recipe RECIPE
    python pipelines/mr_to_ct/porcine.py DATA --out runs/porcine --seeds 0 1 2 3 4

DATA holds train_t2, train_ct, test_t2 and test_ct (.nii.gz; MRI-DIR, TCIA, CC BY 4.0). Recipes are chosen with
``--slab validation``: the first slices of the training slab are cut off, with a gap as before the test slab, and
scored; the test slab is not opened. The choice is scored on the test slab once. Several seeds are scored each and as
their mean.

The body is the largest piece above -300 HU, opened by 2 voxels so that the plates of the table are no part of it, and
filled; the literal body, plates and all, is scored as well. It is scored on, and patches are drawn in it; a
prediction sees the MR alone. The error of the mean is shown by place as well: the outer 3 mm, where the two scans do
not fit, bone, and the rest.
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
from medgen.volume import Kind, Volume, read_volume, write_volume

RECIPE = Path(__file__).with_name("porcine.yaml")
BODY_ABOVE = -300.0
VALIDATION, GAP = 24, 8
"""Slices of the validation part, and between it and the training part. It is the end with bone, as the test slab."""
RIM_MM = 3.0
COLUMNS = ("mae", "psnr", "mae_soft", "mae_bone", "dice_bone")


def main() -> None:
    """Prepare, train, predict, score and report."""
    options = _arguments()
    out = Path(options.out)
    table = make_table(Path(options.data).resolve(), out / "data", validation=options.slab == "validation")
    recipe = yaml.safe_load(Path(options.recipe).read_text())
    runs, scores = [], dict[str, Scores]()
    for seed in options.seeds:
        run = out / (f"run{seed}" if len(options.seeds) > 1 else "run")
        changes = [*options.set, f"seed={seed}"]
        resume = (run / "recipe.yaml").is_file()
        train(recipe, table, run, overrides=changes, resume=resume, store=out / "store", progress=_say)
        runs.append(run)
        name = f"seed{seed}"
        predict(run, table, out / "seeds" / name, split="test", overwrite=True)
        scores[name] = evaluate_synthesis(out / "seeds" / name, table)
    store = prepare(recipe, table, out / "store", overrides=options.set)
    test = read_cases(table).select(split="test")
    baselines = score_baselines(store.select(split="train"), store.preparation, test, table, out, progress=_say)
    predict(runs[0], table, out / "predictions", split="test", overwrite=True, ensemble=runs[1:])
    name = str(recipe["method"])
    scores = {**baselines, **scores, name: evaluate_synthesis(out / "predictions", table)}
    scores[name].write(out / "scores" / f"{name}.json")
    folders = {
        **{key: out / "baselines" / key for key in BASELINES},
        **{f"seed{seed}": out / "seeds" / f"seed{seed}" for seed in options.seeds},
        name: out / "predictions",
    }
    literal = {key: _literal(folder, table) for key, folder in folders.items()}
    places = {key: by_place(folders[key] / "test" / "test_ct.nii.gz", out / "data") for key in ("voxelwise", name)}
    write_json(
        out / "results.json",
        {
            "slab": options.slab,
            "seeds": options.seeds,
            "places": places,
            **{key: {"body": s.summary, "literal_body": literal[key].summary} for key, s in scores.items()},
        },
    )
    print(_table(scores, literal))
    for key, found in places.items():
        print(key, {place: f"{share:.0%} of the body, {error:.1f} HU" for place, (share, error) in found.items()})
    print(f"report: {write_report(out)}")


def make_table(data: Path, out: Path, *, validation: bool = False) -> Path:
    """Write the images, the body masks and the case table; returns the table.

    Args:
        data: folder of the two slabs.
        out: folder to write to.
        validation: take the beginning of the training slab for the test slab, which is then not opened.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = ["case,split,t2,ct,mask,bone"]
    for split in ("train", "test"):
        slab = "train" if validation else split
        images = {role: read_volume(data / f"{slab}_{role}.nii.gz") for role in ("t2", "ct")}
        if validation:
            images = {role: _part(volume, split) for role, volume in images.items()}
        for role, volume in images.items():
            kind: Kind = "hu" if role == "ct" else "scalar"
            write_volume(volume, out / f"{split}_{role}.nii.gz", kind=kind, overwrite=True)
        mask = images["ct"].with_data(body(images["ct"].data[0]).astype(np.float32))
        write_volume(mask, out / f"{split}_mask.nii.gz", kind="label", overwrite=True)
        bone = ""
        if split == "train":  # where patches may be drawn more often; the test slab's stays unknown
            bone = "train_bone.nii.gz"
            inside = images["ct"].with_data((mask.data > 0) & (images["ct"].data >= BONE_FROM))
            write_volume(inside, out / bone, kind="label", overwrite=True)
        rows.append(f"{split},{split},{split}_t2.nii.gz,{split}_ct.nii.gz,{split}_mask.nii.gz,{bone}")
    (out / "cases.csv").write_text("\n".join(rows) + "\n")
    return out / "cases.csv"


def _part(volume: Volume, split: str) -> Volume:
    """The training part of the training slab, or the validation part at its beginning."""
    planes = slice(VALIDATION + GAP, volume.shape[2]) if split == "train" else slice(0, VALIDATION)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * planes.start
    return Volume(volume.data[..., planes], affine)


def by_place(prediction: Path, data: Path) -> dict[str, tuple[float, float]]:
    """Share of the body and mean absolute error (HU) in its outer 3 mm, in bone below, and in the rest."""
    truth = read_volume(data / "test_ct.nii.gz")
    inside = read_volume(data / "test_mask.nii.gz").data[0] > 0
    error = np.abs(read_volume(prediction).data[0] - truth.data[0])
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=truth.spacing)[1:-1, 1:-1, 1:-1]
    outer, bone = inside & (depth <= RIM_MM), truth.data[0] >= BONE_FROM
    regions = {"outer 3 mm": outer, "bone": inside & ~outer & bone, "rest": inside & ~outer & ~bone}
    return {name: (float(each.sum() / inside.sum()), float(error[each].mean())) for name, each in regions.items()}


def body(ct: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The meat without the table: ``(X, Y, Z)`` HU to a mask."""
    above = ndimage.binary_opening(ct > BODY_ABOVE, ndimage.generate_binary_structure(3, 1), iterations=2)
    pieces, _ = ndimage.label(above)
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == largest)
    return filled


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
    parser.add_argument("--slab", choices=["validation", "test"], default="test", help="which one is scored")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
