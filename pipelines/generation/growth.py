"""DCGAN against the progressive GAN on whole phantom heads, 32 x 32 x 32 at 7 mm, at one budget of processor time.

    medgen phantom head heads --subjects 300 --spacing 7 --seed 0
    medgen phantom head encoder_heads --subjects 80 --spacing 7 --seed 100
    medgen train pipelines/generation/encoder3d.yaml --cases encoder_heads/cases.csv --out encoder3d
    python pipelines/generation/growth.py train --cases heads/cases.csv --out growth
    python pipelines/generation/growth.py score --cases heads/cases.csv --out growth --features encoder3d
    python pipelines/generation/growth.py page --out growth

Both are trained in the same precision with the same averaging. Steps are chosen so that both take as long; what they
took is on the page. What is done is skipped, so each command can be repeated (``--methods``, ``--seeds`` choose).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from medgen.errors import InputError
from medgen.inference.features import open_features
from medgen.inference.opened import Opened, open_model
from medgen.inference.references import reference_patches
from medgen.metrics.distribution import frechet_distance, kernel_distance
from medgen.metrics.memorisation import memorisation
from medgen.run.experiment import train as train_run
from medgen.run.monitor.snapshots import list_snapshots
from medgen.training.checkpoint import load_weights
from medgen.types import Split

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"
METHODS = {"gan": "dcgan3d", "progressive_gan": "progressive3d"}
NAMES = {"gan": "3D DCGAN", "progressive_gan": "progressive GAN"}
FEWEST_SEEDS = 3
"""Trainings of each method before one can be said to win."""
STEPS = {"gan": 8200, "progressive_gan": 1600}
"""Of 8 heads each."""
LOOKS = 8
SAMPLES = 256
REFERENCES: dict[Split, int] = {"train": 4 * SAMPLES, "test": SAMPLES}
"""Real heads, each at a place of its own within the jitter of the recipes."""
SHOWN = 12
SETTINGS = {"schedule.precision": "bf16", "schedule.averaging": 0.99, "schedule.snapshots": True}


def runs(options: argparse.Namespace) -> Iterator[tuple[str, int, Path]]:
    """Method, seed and folder of all trainings; both methods of a seed before the next."""
    for seed in options.seeds:
        for method in options.methods:
            yield method, seed, Path(options.out) / f"{method}_{seed}"


def train(options: argparse.Namespace) -> None:
    """Train what is not trained, in this process, and note the processor time at each look."""
    for method, seed, folder in runs(options):
        if (folder / "model" / "model.json").is_file():
            continue
        steps = round(STEPS[method] * options.scale)
        every, spent = max(1, steps // LOOKS), dict[int, float]()
        settings = {
            **SETTINGS, "seed": seed, "schedule.steps": steps, "schedule.validate_every": every,
            "schedule.save_every": steps,
        }  # fmt: skip
        begin = time.process_time()

        def note(done: int, total: int, what: str, spent: dict[int, float] = spent, begin: float = begin) -> None:
            if "stage" in what:
                spent[done] = time.process_time() - begin

        recipe, changes = HERE / f"{METHODS[method]}.yaml", [f"{key}={value}" for key, value in settings.items()]
        store = Path(options.out) / "store"
        train_run(recipe, options.cases, folder, overrides=changes, device="cpu", store=store, progress=note)
        looks = {str(step): seconds for step, seconds in spent.items() if step and step % every == 0}
        folder.with_name(f"{folder.name}_seconds.json").write_text(json.dumps(looks))


def score(options: argparse.Namespace) -> None:
    """The distances of the samples of every snapshot, and the test for copies of the last one."""
    network, store = open_features(options.features, "cpu"), Path(options.out) / "store"
    for method, seed, folder in runs(options):
        target = folder.with_name(f"{folder.name}_scores.json")
        if target.is_file() or not (folder / "model" / "model.json").is_file():
            continue
        model = open_model(folder, "cpu", ())
        real = {
            split: reference_patches(model, options.cases, split=split, count=count, store=store).images
            for split, count in REFERENCES.items()
        }
        known = {split: network(images) for split, images in real.items()}
        spent = json.loads(folder.with_name(f"{folder.name}_seconds.json").read_text())
        curve = []
        for step, path in list_snapshots(folder).items():
            images = drawn(model, path)
            row = {"step": step + 1, "seconds": spent[str(step + 1)]}
            curve.append({**row, **distances(known["test"], network(images))})
        copies = memorisation(known["train"], network(images), known["test"])
        pixels = memorisation(*(each.reshape(len(each), -1) for each in (real["train"], images, real["test"])))
        np.savez_compressed(
            folder.with_name(f"{folder.name}_images.npz"), last=images[:SHOWN], real=real["test"][:SHOWN]
        )
        content = {
            "method": method, "seed": seed, "features": network.origin, "curve": curve,
            "real": distances(known["test"], known["train"][:SAMPLES]),
            "memorisation": {"features": copies._asdict(), "pixels": pixels._asdict()},
            "n": {"train": len(real["train"]), "test": len(real["test"]), "samples": SAMPLES},
        }  # fmt: skip
        target.write_text(json.dumps(content, indent=1))


@torch.no_grad()
def drawn(model: Opened, weights: Path) -> Any:
    """Samples ``(N, C, X, Y, Z)`` of a snapshot."""
    method: Any = model.method
    method.load_state_dict(load_weights(weights))
    method.eval()
    generator = torch.Generator().manual_seed(0)
    return torch.cat([method.sample(16, generator) for _ in range(SAMPLES // 16)]).float().numpy()


def distances(real: Any, generated: Any) -> dict[str, float | None]:
    """Kernel and Fréchet distance; None where there are too few images for it."""
    kernel = kernel_distance(real, generated)
    try:
        frechet: float | None = frechet_distance(real, generated)
    except InputError:
        frechet = None
    return {"kernel": float(kernel.value), "frechet": frechet}


def page(options: argparse.Namespace) -> None:
    """Write table, numbers and pictures."""
    found = [
        json.loads(path.read_text())
        for *_, folder in runs(options)
        if (path := folder.with_name(f"{folder.name}_scores.json")).is_file()
    ]
    PAGE.mkdir(parents=True, exist_ok=True)
    (PAGE / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    _curve(found, PAGE / "growth_curve.png")
    _heads(options, PAGE / "growth.png")
    (PAGE / "growth.md").write_text(_markdown(found, options))


def _markdown(found: list[dict[str, Any]], options: argparse.Namespace) -> str:
    first, finals = found[0], {name: [each for each in found if each["method"] == name] for name in METHODS}
    features, number = first["features"], first["n"]
    lines = [
        "# A GAN that grows against one that does not, at equal time",
        "",
        f"Whole T1 phantom heads, 32 x 32 x 32 at 7 mm. {number['samples']} samples against {number['test']} patches "
        f"of test patients; copies are sought among {number['train']} of training patients. One core, processor time "
        f"({options.machine}). The commands are in `pipelines/generation/growth.py`, all numbers in `growth.json`.",
        "",
        f"Features: `{features['method']}`, layer {features['layer']} of {features['layers']} ({features['features']} "
        f"numbers), weights SHA-256 `{features['weights_sha256'][:16]}`, trained on other phantoms. In the first row "
        "*training patches* stand in the place of samples. C_T is the memorisation test: below about -2 means copies.",
        "",
        "| method | seeds | kernel distance | Fréchet distance | C_T, features | C_T, voxels | processor seconds |",
        "|---|---|---|---|---|---|---|",
        f"| *training patches* | | {_cell([first['real']['kernel']])} | {_cell([first['real']['frechet']])} | | | |",
    ]
    for name, rows in finals.items():
        if rows:
            last = [each["curve"][-1] for each in rows]
            copies = [[each["memorisation"][kind]["statistic"] for each in rows] for kind in ("features", "pixels")]
            columns = [[each[key] for each in last] for key in ("kernel", "frechet")]
            cells = [*columns, *copies, [each["seconds"] for each in last]]
            lines.append(f"| {NAMES[name]} | {len(rows)} | " + " | ".join(map(_cell, cells)) + " |")
    lines += ["", f"**{_verdict(finals)}**", "", "![Distance over processor time](growth_curve.png)", ""]
    lines += ["![Middle slices: real heads, then samples of each method](growth.png)", ""]
    remarks = PAGE / "growth_remarks.md"
    return "\n".join(lines) + (remarks.read_text() if remarks.is_file() else "")


def _verdict(finals: dict[str, list[dict[str, Any]]]) -> str:
    """Whether it wins: in every seed, by both distances, in no more time; one training each decides nothing."""
    if not all(finals.values()):
        return "One of the methods is not scored yet."
    ends = {name: [each["curve"][-1] for each in rows] for name, rows in finals.items()}
    better = all(
        max(each[key] for each in ends["progressive_gan"]) < min(each[key] for each in ends["gan"])
        for key in ("kernel", "frechet", "seconds")
    )
    if better and min(map(len, finals.values())) >= FEWEST_SEEDS:
        return "The progressive GAN beats DCGAN at equal time, in every seed."
    return "That the progressive GAN beats DCGAN at equal time is not shown."


def _cell(values: list[float | None]) -> str:
    if any(value is None for value in values):
        return "too few heads"
    known = [float(value) for value in values if value is not None]
    middle = f"{statistics.median(known):.3g}"
    return middle if len(known) == 1 else f"{middle} ({min(known):.3g} to {max(known):.3g})"


def _curve(found: list[dict[str, Any]], path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.5))
    for number, (method, name) in enumerate(NAMES.items()):
        for line, each in enumerate(each for each in found if each["method"] == method):
            seconds, values = ([row[key] for row in each["curve"]] for key in ("seconds", "kernel"))
            axis.plot(seconds, values, "o-", color=f"C{number}", label=None if line else name)
    axis.set(xlabel="processor seconds", ylabel="kernel distance", yscale="log")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _heads(options: argparse.Namespace, path: Path) -> None:
    """The first samples, not chosen: an axial and a sagittal slice through the middle of each."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows: dict[str, Any] = {}
    for method, seed, folder in runs(options):
        source = folder.with_name(f"{folder.name}_images.npz")
        if source.is_file() and NAMES[method] not in rows and seed == options.seeds[0]:
            with np.load(source) as arrays:
                rows = {"real": arrays["real"], **rows, NAMES[method]: arrays["last"]}
    figure, axes = pyplot.subplots(2 * len(rows), SHOWN, figsize=(SHOWN * 0.8, 1.6 * len(rows)), squeeze=False)
    for number, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images[:, 0]):
            for line, cut in enumerate((image[:, :, 16], image[16])):
                axis = axes[2 * number + line][column]
                axis.imshow(cut.T[::-1], cmap="gray", vmin=-1.5, vmax=3)
                axis.set_axis_off()
        axes[2 * number][0].text(-4, 16, name, rotation=90, va="center", ha="right", fontsize=7)
    figure.subplots_adjust(0.04, 0, 1, 1, wspace=0.02, hspace=0.02)
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def main() -> None:
    """Do one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "score", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the steps, for a quick look")
    parser.add_argument("--machine", default="one of two x86 cores that others used too")
    options = parser.parse_args()
    needed = {"train": ("cases",), "score": ("cases", "features"), "page": ()}[options.part]
    if missing := [name for name in needed if getattr(options, name) is None]:
        parser.error(f"'{options.part}' needs --{missing[0]}")
    torch.set_num_threads(1)
    {"train": train, "score": score, "page": page}[options.part](options)


if __name__ == "__main__":
    main()
