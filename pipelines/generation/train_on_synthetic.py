"""Train on synthetic, test on real: how much is a synthetic case worth beside a real one?

    python pipelines/generation/train_on_synthetic.py --out runs/train_on_synthetic

A generator learns T1 **and** skull of ten phantom heads; its samples become a case table; the ordinary segmentation is
trained on them and scored on real heads, beside one trained on the ten heads themselves. Every arm has the same steps,
recipe and seeds. A run that is there is not trained again. With ``--generator`` another recipe is tried: its method
must make samples of ``data.inputs: [t1, skull]``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from medgen.cases import Case, read_cases, write_cases
from medgen.evaluation import evaluate_segmentation
from medgen.files import atomic_path, write_json
from medgen.inference.cohort import predict_cohort
from medgen.inference.generation import sample
from medgen.inference.loading import load_model
from medgen.inference.synthetic_cases import cases_from_samples
from medgen.metrics.statistics import compare_runs, summarise_runs
from medgen.phantom import make_head_phantom
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.volume import read_label, read_volume, write_volume

from kept import of_recipe, require_same

HERE = Path(__file__).parent
REAL, SYNTHETIC, TEST = 10, 100, 20
SPACING, BONE = 8.0, 300
"""mm; HU above which a voxel of the phantom is skull."""
ARMS = {
    "real": f"{REAL} real",
    "synthetic": f"{REAL} synthetic",
    "many_synthetic": f"{SYNTHETIC} synthetic",
    "both": f"{REAL} real and {SYNTHETIC} synthetic",
}
"""What each segmenter is trained on. The generator has seen the ten real cases of the first arm alone."""


def main() -> None:
    """Make what is missing, and write the table."""
    options = _arguments()
    torch.set_num_threads(1)
    out = Path(options.out)
    real = heads_with_skull(out / "phantom", options.phantom_seed, (REAL, TEST))
    few, tests = ([case for case in real if case.split == split] for split in ("train", "test"))
    scores: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    seconds: dict[str, float] = {"generator": 0.0, "segmenters": 0.0}
    contrast: dict[str, list[tuple[float, float]]] = {"real": [contrast_of(real)], "synthetic": []}
    for seed in range(options.seeds):
        synthetic, taken = synthetic_cases(out / f"seed{seed}", few, options.generator, seed, SYNTHETIC)
        seconds["generator"] += taken
        contrast["synthetic"].append(contrast_of(synthetic))
        for arm, cases in _arms(few, synthetic).items():
            found, taken = score(out / f"seed{seed}" / "arms" / arm, cases, tests, [f"seed={seed}"])
            scores[arm].append(found)
            seconds["segmenters"] += taken
            print(f"seed {seed}, {ARMS[arm]}: Dice {np.mean(found):.3f}", flush=True)
    content = {
        "phantom": True,
        "command": "python pipelines/generation/train_on_synthetic.py",
        "generator": Path(options.generator).name,
        "machine": f"{platform.machine()} CPU, 1 thread",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "processor_seconds": {name: round(value) for name, value in seconds.items()},
        "seeds": options.seeds,
        "t1_in_skull_and_around": contrast,
        "dice": scores,
    }
    write_json(out / "results.json", content)
    with atomic_path(out / "results.md") as temporary:
        temporary.write_text(table_of(scores))
    print(table_of(scores))


def table_of(scores: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """The scores (seeds, cases) of each arm as Markdown, with the difference to the arm of as many real cases."""
    lines = [
        "| trained on | Dice on real test cases | 95 % interval | range over seeds | less the first | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for arm, words in ARMS.items():
        found, means = summarise_runs(scores[arm]), np.mean(scores[arm], axis=1)
        row = [words, f"{found['mean']:.3f}", _interval(found["ci95"]), f"{means.min():.3f} to {means.max():.3f}"]
        if arm != "real":
            against = compare_runs(scores[arm], scores["real"])
            row += [f"{against['mean_difference']:+.3f}", _interval(against["ci95"], "+")]
        lines.append(f"| {' | '.join([*row, '', ''][:6])} |")
    return "\n".join(lines) + "\n"


def contrast_of(cases: Sequence[Case]) -> tuple[float, float]:
    """Mean T1 of skull, and of the voxels that touch it: real skull is the darker one."""
    inside, around = [], []
    for case in cases:
        image, skull = read_volume(case.images["t1"]).data[0], read_label(case.images["skull"]).data[0] > 0
        inside.append(float(image[skull].mean()))
        around.append(float(image[binary_dilation(skull) & ~skull].mean()))
    return round(float(np.mean(inside)), 1), round(float(np.mean(around)), 1)


def _interval(limits: tuple[float, float], sign: str = "") -> str:
    return f"{limits[0]:{sign}.3f} to {limits[1]:{sign}.3f}"


def heads_with_skull(folder: Path, seed: int, counts: tuple[int, int], *, varied: bool = False) -> tuple[Case, ...]:
    """Phantom heads with T1 and skull, so many to train on and so many to test."""
    splits = counts[0], 0, counts[1]
    require_same(folder / "cases.csv", {"seed": seed, "splits": splits, "spacing": SPACING, "varied": varied})
    if not (folder / "cases.csv").is_file():
        make_head_phantom(
            folder, subjects=sum(splits), seed=seed, spacing=SPACING, splits=splits, varied=varied, workers=1
        )  # fmt: skip
    cases = []
    for case in read_cases(folder / "cases.csv").cases:
        ct, skull = read_volume(case.images["ct"]), folder / case.name / f"{case.name}_skull.nii.gz"
        if not skull.exists():
            write_volume(ct.with_data((ct.data > BONE).astype(np.uint8)), skull, kind="label")
        cases.append(Case(case.name, case.split, None, {"t1": case.images["t1"], "skull": skull}))
    return tuple(cases)


def _arms(few: Sequence[Case], synthetic: Sequence[Case]) -> dict[str, Sequence[Case]]:
    """The training cases of each arm."""
    arms = few, synthetic[:REAL], synthetic, (*few, *synthetic)
    return dict(zip(ARMS, arms, strict=True))


def synthetic_cases(
    folder: Path, real: Sequence[Case], recipe: str | Path, seed: int, count: int
) -> tuple[Sequence[Case], float]:
    """Samples of a generator that is trained on the real cases, and the seconds of that."""
    table, began = folder / "synthetic.csv", time.process_time()
    mine = load_recipe(recipe, [f"seed={seed}"])
    require_same(folder, {**of_recipe(mine), "cases": [case.images for case in real], "count": count})
    if not table.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        cases = write_cases(real, folder / "generator.csv")
        train(mine, cases, folder / "generator", device="cpu")
        sample(folder / "generator", folder / "samples", count=count, seed=seed, device="cpu")
        cases_from_samples(folder / "samples", table, labels=["skull"], validation=0)
    return read_cases(table).cases, kept(folder / "seconds.json", time.process_time() - began)


def score(
    folder: Path, cases: Sequence[Case], tests: Sequence[Case], changes: Sequence[str], start: Path | None = None
) -> tuple[list[float], float]:
    """Dice of each test case of a segmenter that is trained on the others, and the seconds of training.

    Args:
        folder: to write; a run that is there is not trained again.
        cases: to train on.
        tests: real ones.
        changes: of ``skull_unet.yaml``.
        start: run whose weights it begins with.
    """
    scores, began = folder / "scores.json", time.process_time()
    recipe = load_recipe(HERE / "skull_unet.yaml", changes)
    require_same(folder, {**of_recipe(recipe), "cases": [case.images for case in cases], "start": start})
    if not scores.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        train(recipe, write_cases(cases, folder / "cases.csv"), folder / "run", device="cpu", init_from=start)
        predict_cohort(load_model(folder / "run", device="cpu"), tests, folder / "predictions").require_complete()
        truth = write_cases(tests, folder / "test.csv")
        found = evaluate_segmentation(folder / "predictions", truth, role="skull", classes=recipe.data.classes)
        found.write(scores)
    dice = [case["dice"] for case in json.loads(scores.read_text())["cases"]]
    return dice, kept(folder / "seconds.json", time.process_time() - began)


def kept(path: Path, seconds: float) -> float:
    """The seconds of the run that made a result, also where that was an earlier one."""
    if not path.is_file():
        write_json(path, {"seconds": seconds})
    return float(json.loads(path.read_text())["seconds"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/train_on_synthetic", help="folder to write")
    parser.add_argument("--generator", default=HERE / "joint_vae.yaml", help="recipe of the generator")
    parser.add_argument("--seeds", type=int, default=3, help="how many generators, and segmenters of each arm")
    parser.add_argument("--phantom-seed", type=int, default=12, help="of the heads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
