"""Conditional variational autoencoders on the head phantom: many plausible CTs, many plausible outlines.

    python pipelines/generation/cvae.py ct --out runs/cvae
    python pipelines/generation/cvae.py outlines --out runs/cvae
    python pipelines/generation/cvae.py page --out runs/cvae --docs docs/results/generation

`ct` trains `cvae_ct.yaml` and the same recipe with `method: supervised`, and looks at 16 draws of each test patient.
`outlines` gives every training patient the skull of three raters, who call bone what lies above 150, 350 and 650 HU,
one row of the table each; trains `cvae_outlines.yaml` and a U-Net (`method: segmentation`) on the same rows, steps and
batches; and compares 16 outlines with those of the three raters. A run that is there is not trained again.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from medgen.cases import Case, read_cases, write_cases
from medgen.files import write_json
from medgen.inference.boosting import BoostedEstimator
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.metrics.statistics import summarise
from medgen.metrics.tissue import tissue
from medgen.phantom import make_head_phantom
from medgen.run.experiment import train
from medgen.volume import read_volume, write_volume

HERE = Path(__file__).parent
SPLITS, SPACING, SEED = (20, 8, 8), 3.5, 1311
DRAWS, TILE = 16, 64
RATERS = (150, 350, 650)
"""HU above which each of them calls a voxel bone."""
Labels = NDArray[np.bool_]


def main() -> None:
    """One part of the study, or its page."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    if options.part == "page":
        page(out, Path(options.docs))
        return
    table = phantom(out / "heads")
    found = ct(out, table) if options.part == "ct" else outlines(out, table)
    stamp = {"date": datetime.date.today().isoformat(), "torch": torch.__version__, "machine": "one of two x86 cores"}
    write_json(out / f"{options.part}.json", {**stamp, **found})


def phantom(folder: Path) -> Path:
    """Whole heads; eight of them for validation, eight for the test."""
    table = folder / "cases.csv"
    if not table.is_file():
        make_head_phantom(folder, subjects=sum(SPLITS), spacing=SPACING, seed=SEED, splits=SPLITS)
    return table


def trained(out: Path, name: str, recipe: str, table: Path, **changes: Any) -> tuple[LoadedModel, int]:
    """A model of a recipe of this folder, and the seconds of its training."""
    run = out / name
    if not (run / "model").is_dir():
        settings = yaml.safe_load((HERE / recipe).read_text())
        train({**settings, **changes}, table, run, store=out / f"{Path(recipe).stem}_store", device="cpu")
    return load_model(run), round(json.loads((run / "run.json").read_text())["training_seconds"])


class Once:
    """The boosted trees of the first context, asked once for each patient."""

    def __init__(self, trees: BoostedEstimator) -> None:
        self.trees, self.made = trees, None

    def predict(self, *given: Any) -> Any:
        """The context, from memory the second time."""
        self.made = self.trees.predict(*given) if self.made is None else self.made
        return self.made


def ct(out: Path, table: Path) -> dict[str, Any]:
    """Error of the mean prediction, and what 16 draws cover."""
    model, seconds = trained(out, "ct", "cvae_ct.yaml", table)
    plain, plain_seconds = trained(out, "supervised", "cvae_ct.yaml", table, method="supervised")
    rows: list[dict[str, float]] = []
    trees = model.cascade.first
    for case in _test(table):
        truth, mask = _image(case, "ct"), _image(case, "mask") > 0
        model.cascade = replace(model.cascade, first=Once(trees))
        made = {"cvae": model.predict(case).data[0], "supervised": plain.predict(case).data[0]}
        draws = np.stack([model.predict(case, seed=seed).data[0] for seed in range(DRAWS)]).astype(np.float32)
        codes = _without_noise(model, case)
        row = {f"mae_{name}": float(np.abs(data - truth)[mask].mean()) for name, data in made.items()}
        row["mae_mean_of_draws"] = float(np.abs(draws.mean(axis=0) - truth)[mask].mean())
        row |= {"sd": float(draws.std(axis=0)[mask].mean()), "sd_of_code": float(codes.std(axis=0)[mask].mean())}
        # The truth is exchangeable with the draws: each is the smallest or the largest of the 17 as often.
        inside = (truth >= draws.min(axis=0)) & (truth <= draws.max(axis=0))
        for kind in ("air", "soft", "bone"):
            where = mask & tissue(truth, kind)
            row[f"inside_{kind}"] = float(inside[where].mean())
            row[f"sd_of_code_{kind}"] = float(codes.std(axis=0)[where].mean())
        row["tiles"] = float(np.abs(_in_tiles(model, case) - draws[0])[mask].mean())
        rows.append({**row, "inside": float(inside[mask].mean())})
        if len(rows) == 1:
            slab = truth.shape[2] // 2
            image = _image(case, "t1")
            shown = {"T1": image, "true CT": truth, "mean": made["cvae"], "SD of codes": codes.std(axis=0)}
            shown |= {f"draw {number}": draws[number] for number in range(2)} | {"code 1": codes[0], "code 2": codes[1]}
            np.savez_compressed(out / "ct.npz", **{name: each[:, :, slab] for name, each in shown.items()})
    return {"draws": DRAWS, "seconds": {"cvae": seconds, "supervised": plain_seconds}, "cases": rows}


def _in_tiles(model: LoadedModel, case: Case) -> NDArray[np.float32]:
    """The first draw again, in tiles of 64 voxels and not at once."""
    whole = model.cascade
    model.cascade = replace(whole, settings=whole.settings.model_copy(update={"size": (TILE,) * 3}))
    drawn = model.predict(case, seed=0).data[0].astype(np.float32)
    model.cascade = whole
    return drawn


def _without_noise(model: LoadedModel, case: Case) -> NDArray[np.float32]:
    """Draws that differ by their codes alone."""
    (method,) = model.stages
    kept = method.config
    method.config = kept.model_copy(update={"observation_noise": False})
    draws = np.stack([model.predict(case, seed=seed).data[0] for seed in range(DRAWS)]).astype(np.float32)
    method.config = kept
    return draws


def outlines(out: Path, table: Path) -> dict[str, Any]:
    """How well 16 outlines stand for those of three raters."""
    rated = _rated(out / "heads", table)
    model, seconds = trained(out, "outlines", "cvae_outlines.yaml", rated)
    plain, plain_seconds = trained(out, "unet", "cvae_outlines.yaml", rated, method="segmentation")
    rows: list[dict[str, dict[str, float]]] = []
    for case in _test(table):
        truth = _image(case, "ct")
        raters = [truth > threshold for threshold in RATERS]
        one = plain.predict(case).data[0] > 0
        made = [model.predict(case, seed=seed).data[0] > 0 for seed in range(DRAWS)]
        mean = model.predict(case).data[0] > 0
        rows.append({"cvae": _agreement(made, raters, mean), "unet": _agreement([one], raters, one)})
        if len(rows) == 1:
            slab = truth.shape[2] // 2
            shown = {"T1": _image(case, "t1"), **{f"rater {n}": each for n, each in enumerate(raters)}}
            shown |= {f"draw {n}": each for n, each in enumerate(made)} | {"U-Net": one}
            np.savez_compressed(out / "outlines.npz", **{name: each[:, :, slab] for name, each in shown.items()})
    return {"draws": DRAWS, "raters": RATERS, "seconds": {"cvae": seconds, "unet": plain_seconds}, "cases": rows}


def _rated(folder: Path, table: Path) -> Path:
    """One row for each training patient and rater."""
    rated = folder / "rated.csv"
    if rated.is_file():
        return rated
    rows = []
    for case in read_cases(table).cases:
        if case.split == "test":
            continue
        truth = read_volume(case.images["ct"])
        for number, threshold in enumerate(RATERS):
            path = folder / case.name / f"{case.name}_skull{number}.nii.gz"
            write_volume(truth.with_data((truth.data > threshold).astype(np.uint8)), path, kind="label", overwrite=True)
            images = {**case.images, "skull": path}
            rows.append(replace(case, name=f"{case.name}_{number}", patient=case.name, images=images))
    write_cases(rows, rated)
    return rated


def _agreement(made: Sequence[Labels], raters: Sequence[Labels], mean: Labels) -> dict[str, float]:
    """Squared generalised energy distance (Kohl et al. 2018, eq. 5) and Dice; the distance of two is 1 - IoU."""

    def apart(ones: Sequence[Labels], others: Sequence[Labels]) -> float:
        return float(np.mean([1 - (a & b).sum() / max(1, (a | b).sum()) for a, b in product(ones, others)]))

    def dice(one: Labels, other: Labels) -> float:
        return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))

    volumes = [each.sum() for each in made]
    return {
        "energy_distance": 2 * apart(made, raters) - apart(made, made) - apart(raters, raters),
        "best_dice": float(np.mean([max(dice(each, rater) for each in made) for rater in raters])),
        "mean_dice": float(np.mean([dice(mean, rater) for rater in raters])),
        "volume_spread": float(np.std(volumes) / np.std([each.sum() for each in raters])),
    }


def _image(case: Case, role: str) -> NDArray[Any]:
    """``(X, Y, Z)`` of a case."""
    return read_volume(case.images[role]).data[0]


def _test(table: Path) -> list[Case]:
    return [case for case in read_cases(table).cases if case.split == "test"]


def page(out: Path, docs: Path) -> None:
    """Results as JSON, page and picture, of the parts that are there."""
    found = {
        part: json.loads(path.read_text()) for part in ("ct", "outlines") if (path := out / f"{part}.json").exists()
    }
    write_json(docs / "cvae.json", found)
    lines = ["# Conditional variational autoencoders", ""]
    lines += [*_ct_lines(found["ct"]), ""] if "ct" in found else []
    lines += [*_outline_lines(found["outlines"]), ""] if "outlines" in found else []
    lines += ["![Many plausible CTs and outlines](cvae.png)", ""]
    if (remarks := docs / "cvae_remarks.md").exists():
        lines += [remarks.read_text()]
    (docs / "cvae.md").write_text("\n".join(lines))
    _picture(out, docs / "cvae.png")


def _cell(values: Sequence[float], digits: int) -> str:
    found = summarise(values)
    low, high = found["ci95"]
    return f"{found['mean']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ct_lines(found: dict[str, Any]) -> list[str]:
    rows, draws, seconds = found["cases"], found["draws"], found["seconds"]

    def cell(key: str, digits: int = 1) -> str:
        return _cell([row[key] for row in rows], digits)

    expected = (draws - 1) / (draws + 1)
    return [
        "## Many plausible CTs",
        "",
        f"Head phantom at {SPACING} mm, seed {SEED}, {SPLITS[0]} training and {len(rows)} test patients, one training",
        "of each method with `pipelines/generation/cvae_ct.yaml`; means over patients with 95 % intervals, in the",
        f"mask; {found['machine']} that other work shared, {found['date']}, {seconds['cvae']} seconds of training",
        f"(`supervised`: {seconds['supervised']}).",
        "",
        "| | |",
        "|---|---|",
        f"| MAE of the prediction without chance, HU | {cell('mae_cvae')} |",
        f"| MAE of `supervised`, HU | {cell('mae_supervised')} |",
        f"| MAE of the mean of {draws} draws, HU | {cell('mae_mean_of_draws')} |",
        f"| standard deviation of draws, HU | {cell('sd')} |",
        f"| of it, between codes, HU | {cell('sd_of_code')} |",
        *(f"| between codes in {kind}, HU | {cell('sd_of_code_' + kind)} |" for kind in ("air", "soft", "bone")),
        f"| truth inside the {draws} draws ({expected:.3f} if it were one of them) | {cell('inside', 3)} |",
        *(f"| in {kind} | {cell('inside_' + kind, 3)} |" for kind in ("air", "soft", "bone")),
        f"| a draw in tiles of {TILE} voxels from the same draw at once, MAE, HU | {cell('tiles', 2)} |",
    ]


def _outline_lines(found: dict[str, Any]) -> list[str]:
    rows, seconds = found["cases"], found["seconds"]
    titles = {
        "energy_distance": "squared energy distance",
        "best_dice": f"Dice of the best of {found['draws']} outlines",
        "mean_dice": "Dice of the prediction without chance",
        "volume_spread": "SD of volumes, of that of the raters",
    }
    lines = [
        "## Many plausible outlines",
        "",
        "The skull in T1 as three raters draw it, who call bone what lies above",
        f"{', '.join(map(str, found['raters']))} HU.",
        "Every training patient has one row of each rater, and nothing says whose. Dice are means over the raters;",
        f"{len(rows)} test patients, 95 % intervals over them; {found['machine']} that other work shared,",
        f"{found['date']}, {seconds['cvae']} and {seconds['unet']} seconds of training.",
        "",
        "| | " + " | ".join(titles.values()) + " |",
        "|---" * (len(titles) + 1) + "|",
    ]
    for name, title in {"cvae": "`cvae_segmentation`", "unet": "`segmentation` (U-Net)"}.items():
        cells = [_cell([row[name][key] for row in rows], 3) for key in titles]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _picture(out: Path, path: Path) -> None:
    """One slice of the first test patient: CTs above, outlines over the image below."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 8, figsize=(14, 4))
    for axis in axes.flat:
        axis.set_axis_off()
    if (out / "ct.npz").exists():
        for axis, (name, image) in zip(axes[0], np.load(out / "ct.npz").items(), strict=False):
            limits = {"vmin": -200, "vmax": 1500} if name not in ("T1", "SD of codes") else {}
            axis.imshow(np.rot90(image), cmap="gray", **limits)
            axis.set_title(name, fontsize=8)
    if (out / "outlines.npz").exists():
        shown = dict(np.load(out / "outlines.npz"))
        image = shown.pop("T1")
        names = [*(f"rater {n}" for n in range(3)), *(f"draw {n}" for n in range(4)), "U-Net"]
        for axis, name in zip(axes[1], names, strict=True):
            axis.imshow(np.rot90(image), cmap="gray")
            axis.contour(np.rot90(shown[name]).astype(float), [0.5], colors="tab:orange", linewidths=0.7)
            axis.set_title(name, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("ct", "outlines", "page"))
    parser.add_argument("--out", required=True, help="folder of phantom, runs and results")
    parser.add_argument("--docs", default="docs/results/generation", help="folder of the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
