"""RealNVP against NICE, in bits per dimension of held-out slices and of held-out heads, at equal processor time.

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    python pipelines/generation/flows.py train --cases heads/cases.csv --out flows
    python pipelines/generation/flows.py page --out flows

Every model trains for as many steps as fit the same processor seconds, counted on its own first steps, on the same
patches. A training that has ended is not repeated. The noise is the same for all, so bits can be compared. Settings
were tried on other phantoms (seed 412).
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medgen.cases import read_cases
from medgen.files import write_json
from medgen.inference.references import References, draw_patches
from medgen.methods.base import Method, Samples, Shape
from medgen.methods.catalogue import create
from medgen.metrics.statistics import compare_runs, summarise_runs
from medgen.preparation import Preparation
from medgen.recipe.settings import LearningRate, Recipe, Schedule, load_recipe
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train

from pictures import picture_of_rows

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"
BATCH, TRIAL = 8, 6
"""Patches of a step; steps on which time is measured, after one that is not."""
TEMPERATURES = (1.0, 0.5)


class Data(NamedTuple):
    """Patches of one kind."""

    words: str
    changes: tuple[str, ...]
    train: int
    test: int
    seconds: float


class Row(NamedTuple):
    """One model."""

    words: str
    method: str
    config: dict[str, Any]


KINDS = {
    "2d": Data("axial slices, 64 x 64 at 3.5 mm", (), 1200, 200, 40.0),
    "3d": Data(
        "parts of 16 x 16 x 16 at 7 mm",
        ("preparation.spacing=[7,7,7]", "patches.size=[16,16,16]", "patches.sampling=uniform"),
        1200, 200, 15.0,
    ),
}  # fmt: skip
ROWS = {
    "nice_dense": Row(
        "NICE, dense networks (250 units, published 1000)", "nice", {"architecture": "dense", "couplings": 4}
    ),
    "nice": Row("NICE, convolutional", "nice", {}),
    "realnvp": Row("RealNVP", "realnvp", {}),
}


WORDS = """Phantom heads (seed 7: 24 to train on, 10 to test), {machine}, {date}. Bits per dimension: mean of -log2 p by
voxel of held-out patches with noise of 0.2 normalised units, the same for every model; it is a density, so it may be
negative, and less is better. Mean over patients and training seeds; 95 % intervals by bootstrap over both, paired where
models are compared. All have the same processor seconds. The commands are in `pipelines/generation/flows.py`, the
numbers of each patient and run in `flows.json`."""


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--machine", default="one of two x86 cores that others used too")
    parser.add_argument("--date", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "page":
        page(options)
        return
    for kind in options.kinds:
        drawn = {split: patches_of(options, kind, split) for split in ("train", "test")}
        for seed in range(options.seeds):
            for name in ROWS:
                if not (options.out / f"{kind}_{name}_{seed}.json").is_file():
                    fit(options.out, kind, name, seed, drawn)


def patches_of(options: argparse.Namespace, kind: str, split: Any) -> References:
    """Patches of the patients of a split, cut and placed as the recipe says."""
    data, recipe = KINDS[kind], recipe_of(kind)
    count = data.train if split == "train" else data.test
    cases = [case for case in read_cases(options.cases).cases if case.split == split]
    preparation = Preparation(recipe.data, recipe.preparation)
    return draw_patches(cases, preparation, recipe.patches, count=count, store=options.out / f"store_{kind}")


def recipe_of(kind: str) -> Recipe:
    """Of the flow; its method decides nothing here."""
    return load_recipe(HERE / "realnvp.yaml", list(KINDS[kind].changes))


def fit(out: Path, kind: str, name: str, seed: int, drawn: dict[str, References]) -> None:
    """Train one model, and write its bits of each held-out patch, and samples."""
    row, images = ROWS[name], torch.from_numpy(drawn["train"].images)
    torch.manual_seed(seed)
    method = create(row.method, row.config, Shape(1, 1, tuple(images.shape[2:])))
    each = seconds_of_a_step(copy.deepcopy(method), images)
    steps = max(10, int(KINDS[kind].seconds / each))
    average, began = moving_average(method, 0.99), time.process_time()
    torch.manual_seed(seed)
    rates = LearningRate(kind="cosine", warmup=0.05)
    schedule = Schedule(steps=steps, batch=BATCH, clip=1.0, learning_rate=rates)
    for _ in train(method, method.optimizers(), batches(images, steps, seed), schedule, Engine("cpu"), average=average):
        pass
    spent = time.process_time() - began
    model: Method = average.module.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        held_out = torch.from_numpy(drawn["test"].images)
        bits = [model.score(batch_of(image[None]))["bits_per_dimension"] for image in held_out]
        assert isinstance(model, Samples)
        samples = [model.sample(8, generator, temperature).numpy() for temperature in TEMPERATURES]
    by_case: dict[str, list[float]] = {}
    for case, number in zip(drawn["test"].cases, bits, strict=True):
        by_case.setdefault(case, []).append(number)
    np.savez_compressed(out / f"{kind}_{name}_{seed}.npz", samples=np.stack(samples), real=drawn["test"].images[:8])
    content = {
        "kind": kind, "row": name, "seed": seed, "steps": steps, "processor_seconds": round(spent, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bits": {case: float(np.mean(numbers)) for case, numbers in sorted(by_case.items())},
    }  # fmt: skip
    write_json(out / f"{kind}_{name}_{seed}.json", content)
    print(kind, name, seed, f"{np.mean(bits):.3f} bits, {steps} steps, {spent:.0f} s", flush=True)


def seconds_of_a_step(method: Method, images: torch.Tensor) -> float:
    """Processor seconds, the median of a few steps of a copy."""
    times = [time.process_time()]
    schedule = Schedule(steps=TRIAL + 1, batch=BATCH)
    for _ in train(method, method.optimizers(), batches(images, TRIAL + 1, 0), schedule, Engine("cpu")):
        times.append(time.process_time())
    return float(np.median(np.diff(times)[1:]))


def batches(images: torch.Tensor, steps: int, seed: int) -> Iterator[Images]:
    """The same patches for every model; half of them mirrored along x."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = images[torch.randint(len(images), (BATCH,), generator=generator)]
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        yield batch_of(torch.where(mirrored.reshape(-1, *[1] * (chosen.dim() - 1)), chosen.flip(2), chosen))


def batch_of(images: torch.Tensor) -> Images:
    """With a mask that nothing reads."""
    return Images(images, torch.ones_like(images[:, :1]))


def page(options: argparse.Namespace) -> None:
    """Write the table, its numbers and the picture."""
    found = [json.loads(path.read_text()) for path in sorted(options.out.glob("?d_*_?.json"))]
    numbers = {"machine": options.machine, "date": options.date, "command": Path(__file__).name, "runs": found}
    write_json(PAGE / "flows.json", numbers)
    lines = ["# RealNVP against NICE", "", WORDS.format(machine=options.machine, date=options.date)]
    for kind, data in KINDS.items():
        rows = {name: [run for run in found if run["kind"] == kind and run["row"] == name] for name in ROWS}
        if all(rows.values()):
            lines += ["", f"## {kind.upper()}: {data.words}", "", *_table(rows)]
            _picture(options.out, kind, PAGE / f"flows_{kind}.png")
            lines += ["", f"![Eight held-out patches, and the first samples of seed 0 of each](flows_{kind}.png)"]
    remarks = PAGE / "flows_remarks.md"
    (PAGE / "flows.md").write_text("\n".join(lines) + "\n" + (remarks.read_text() if remarks.is_file() else ""))


def _table(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One row a model, the differences to RealNVP in the last column."""
    bits = {name: [list(run["bits"].values()) for run in runs] for name, runs in rows.items()}
    heads = ("model", "seeds", "bits per dimension", "NICE less RealNVP", "parameters", "steps", "processor seconds")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, runs in rows.items():
        summary, difference = summarise_runs(bits[name]), ""
        if name != "realnvp":
            against = compare_runs(bits[name], bits["realnvp"])
            difference = f"{against['mean_difference']:+.3f} ({_interval(against['ci95'], '+')})"
        steps, spent = (sorted(run[key] for run in runs) for key in ("steps", "processor_seconds"))
        lines.append(
            f"| {ROWS[name].words} | {len(runs)} | "
            f"{summary['mean']:.3f} ({_interval(summary['ci95'])}) | {difference} | "
            f"{runs[0]['parameters']:,} | {steps[0]} to {steps[-1]} | {spent[0]:.0f} to {spent[-1]:.0f} |"
        )
    return lines


def _interval(limits: Any, sign: str = "") -> str:
    return f"{limits[0]:{sign}.3f} to {limits[1]:{sign}.3f}"


def _picture(out: Path, kind: str, path: Path) -> None:
    """Held-out patches, then samples at both temperatures of each model; of volumes the middle slice."""
    rows: dict[str, Any] = {}
    for name, row in ROWS.items():
        with np.load(out / f"{kind}_{name}_0.npz") as arrays:
            rows.setdefault("held-out", arrays["real"])
            for temperature, images in zip(TEMPERATURES, arrays["samples"], strict=True):
                method = {"nice": "NICE", "realnvp": "RealNVP"}[row.method] + (" dense" if "dense" in name else "")
                rows[f"{method}, {temperature:g}"] = images
    shown = {
        name: [each if each.ndim == 2 else each[:, :, each.shape[2] // 2] for each in images[:, 0]]
        for name, images in rows.items()
    }
    picture_of_rows(shown, path, low=-2.0, dpi=50)


if __name__ == "__main__":
    main()
