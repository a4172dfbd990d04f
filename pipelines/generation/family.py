"""Every model of the adversarial and of the latent family on the same slices, at one budget of processor time.

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    medgen phantom head encoder_heads --subjects 40 --spacing 3.5 --seed 412 --lesions
    medgen train pipelines/generation/encoder2d.yaml --cases encoder_heads/cases.csv --out encoder2d
    python pipelines/generation/family.py plan --cases heads/cases.csv --out family
    python pipelines/generation/family.py train --cases heads/cases.csv --out family
    python pipelines/generation/family.py score --cases heads/cases.csv --out family --features encoder2d
    python pipelines/generation/family.py time --out family
    python pipelines/generation/family.py page --cases heads/cases.csv --out family

``plan`` measures what a step of each recipe costs, all of them one after the other and then again, and writes how many
steps fit the budget. What is done already is skipped and a training that was stopped goes on, so each command can be
repeated. CycleGAN and CVAE translate images, so they are not in this table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medgen.evaluation.factor_probes import images_of
from medgen.evaluation.reconstruction import reconstruct
from medgen.evaluation.samples import evaluate_samples
from medgen.inference.code_table import Codes, read_codes
from medgen.inference.encoding import encode
from medgen.inference.factor_table import column_of, matched
from medgen.inference.generation import sample
from medgen.inference.opened import open_model
from medgen.inference.references import reference_patches
from medgen.methods._density import bits_per_dimension
from medgen.methods.base import Encodes, HasDensity
from medgen.metrics.probes import linear_probe
from medgen.recipe.settings import load_recipe

from kept import of_recipe, require_same
from pictures import picture_of_rows

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"


class Row(NamedTuple):
    """One model: its name on the page, its recipe, and what differs from it."""

    name: str
    recipe: str
    changes: Mapping[str, Any]


_VAE = {"config.latent": 32, "config.width": 0.5, "config.beta": 1}
ROWS: dict[str, Row] = {
    "gan": Row("GAN, wgan_gp", "gan", {"config.learning_rate": 1e-3}),
    "gan_hinge": Row("GAN, hinge", "gan", {"config.objective": "hinge", "config.learning_rate": 1e-3}),
    "progressive_gan": Row("progressive GAN", "progressive2d", {}),
    "vae": Row("VAE", "vae", _VAE),
    "vae_beta": Row("VAE, beta 40", "vae", {**_VAE, "config.beta": 40}),
    "vae_planar": Row("VAE, planar", "vae", {**_VAE, "config.posterior": "planar"}),
    "vae_iaf": Row("VAE, IAF", "vae", {**_VAE, "config.posterior": "iaf"}),
    "vae_prior": Row("VAE, learnt prior", "vae", {**_VAE, "config.prior": "flow"}),
    "vae_gan": Row("VAE/GAN", "vae_gan", {}),
    "adversarial_autoencoder": Row("adversarial autoencoder", "adversarial_autoencoder", {}),
    "alpha_gan": Row("alpha-GAN", "alpha_gan", {}),
    "nice": Row("NICE", "nice", {}),
    "realnvp": Row("RealNVP", "realnvp", {}),
}
COMMON = {
    "preparation.spacing": [3.5, 3.5, 3.5], "patches.size": [64, 64], "schedule.precision": "bf16",
    "schedule.keep": "last",
}  # fmt: skip
"""Of every recipe."""
SHORT, LONG = 10, 50
"""Steps of the two trainings whose difference says what a step costs."""
REPEATS = 2
SAMPLES, SAMPLED, TIMINGS = 512, 16, 5
PATCHES, NOISE = 8, 0.2
"""Slices of each patient, and width of the uniform noise of the densities in normalised units."""
METRICS = {
    "frechet_distance": "Fréchet", "kernel_distance": "KID", "precision": "precision", "recall": "recall",
    "mae": "MAE", "ssim": "SSIM", "gradient_energy_ratio": "gradient energy", "bits": "bits a voxel",
    "height_r2": "probe: height, R²", "csf_r2": "probe: atrophy, R²", "sampling_seconds": "s for 16",
}  # fmt: skip
OF_SAMPLES = ("frechet_distance", "kernel_distance", "precision", "recall")
SHOWN, REBUILT = 6, 4


class Run(NamedTuple):
    """One training."""

    row: str
    seed: int
    steps: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return (self.folder / "model" / "model.json").is_file()

    def beside(self, what: str) -> Path:
        """A file or folder that belongs to it."""
        return self.folder.with_name(f"{self.folder.name}_{what}")


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """All trainings of the study; one seed of all models before the next seed."""
    steps = json.loads((options.out / "plan.json").read_text())["steps"]
    for seed in range(options.seeds):
        for row in options.rows:
            if row in steps:
                yield Run(row, seed, steps[row], options.out / f"{row}_{seed}")


def plan(options: argparse.Namespace) -> None:
    """Write the seconds of a step, and the steps that fit the budget."""
    path = options.out / "plan.json"
    known = json.loads(path.read_text()) if path.is_file() else {"seconds": {}, "steps": {}}
    wanted = [row for row in options.rows if row not in known["steps"]]
    found: dict[str, list[float]] = {row: [] for row in wanted}
    for repeat in range(-1, REPEATS):
        for row in wanted:
            spent = {}
            for steps in (SHORT,) if repeat < 0 else (SHORT, LONG):  # the first prepares the cases
                folder = options.out / "plan" / row
                shutil.rmtree(folder, ignore_errors=True)
                spent[steps] = fit(Run(row, 0, steps, folder), options.cases, options.out / "store")
            if repeat >= 0:
                found[row].append((spent[LONG] - spent[SHORT]) / (LONG - SHORT))
    known["seconds"] |= found
    known["steps"] |= {row: round(options.budget / statistics.mean(each)) for row, each in found.items()}
    path.write_text(json.dumps({**known, "budget": options.budget}, indent=1))


def train(options: argparse.Namespace) -> None:
    """Train what is not trained."""
    for run in runs(options):
        recipe = load_recipe(HERE / f"{ROWS[run.row].recipe}.yaml", changes_of(run))
        require_same(run.folder, {**of_recipe(recipe), "cases": options.cases})
        if run.done:
            continue
        file = run.beside("seconds.json")
        earlier = json.loads(file.read_text()) if file.is_file() else 0.0
        file.write_text(json.dumps(earlier + fit(run, options.cases, options.out / "store")))


def changes_of(run: Run) -> list[str]:
    """What differs from the recipe of the row."""
    settings = {
        **COMMON, **ROWS[run.row].changes, "seed": run.seed, "schedule.steps": run.steps,
        "schedule.validate_every": run.steps, "schedule.save_every": max(1, run.steps // 4),
    }  # fmt: skip
    return [f"{key}={value}" for key, value in settings.items()]


def fit(run: Run, cases: Path, store: Path) -> float:
    """Train in a process of its own with one thread; gives its processor seconds."""
    command = [sys.executable, "-m", "medgen", "train", str(HERE / f"{ROWS[run.row].recipe}.yaml")]
    command += ["--cases", str(cases)]
    command += ["--out", str(run.folder), "--store", str(store), "--device", "cpu"]
    command += [part for change in changes_of(run) for part in ("--set", change)]
    command += ["--resume"] if (run.folder / "recipe.yaml").is_file() else []
    before = _seconds()
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return _seconds() - before


def score(options: argparse.Namespace) -> None:
    """Judge what is trained and not judged yet."""
    torch.set_num_threads(1)
    for run in runs(options):
        if run.done and not run.beside("scores.json").is_file():
            found = _of_samples(run, options) | _of_codes(run, options)
            run.beside("scores.json").write_text(json.dumps(found, indent=1))


def _of_samples(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Distances of samples to slices of test patients, and the density of these slices."""
    if not run.beside("samples").is_dir():
        sample(run.folder, run.beside("samples"), count=SAMPLES, seed=0, device="cpu")
    file = run.beside("sample_scores.json")
    evaluate_samples(
        run.beside("samples"), options.cases, features=options.features, metrics=("frechet", "kernel", "fidelity"),
        device="cpu", store=options.out / "store",
    ).write(file)  # fmt: skip
    content = json.loads(file.read_text())
    summary = content["summary"]
    found = {name: summary[name]["mean"] for name in OF_SAMPLES}
    model = open_model(run.folder, "cpu", ())
    if isinstance(model.method, HasDensity):
        real = reference_patches(model, options.cases, split="test", count=SAMPLED * PATCHES)
        with torch.no_grad():
            found["bits"] = bits_per_dimension(torch.from_numpy(real.images), NOISE, model.method.log_prob)
        found["bound"] = model.method.bound
    real_found = {name: summary[name]["real"] for name in OF_SAMPLES}
    return {**found, "features": content["features"], "settings": content["settings"], "real": real_found}


def _of_codes(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Reconstruction of slices of test patients, and what codes of all patients tell."""
    model = open_model(run.folder, "cpu", ())
    if not isinstance(model.method, Encodes):
        return {}
    folder = run.beside("reconstruction")
    reconstruct(
        run.folder, options.cases, folder, patches=PATCHES, split="test", device="cpu", overwrite=True
    )  # fmt: skip
    summary = json.loads((folder / "scores.json").read_text())["summary"]
    names = ("mae", "ssim", "gradient_energy_ratio")
    found = {name: summary[name]["mean"] for name in names if name in summary}
    file = encode(
        run.folder, options.cases, run.beside("codes.npz"), patches=PATCHES, device="cpu", overwrite=True
    )  # fmt: skip
    codes = read_codes(file)
    return {**found, **probed(codes.flat, codes, options.cases)}


def probed(inputs: Any, codes: Codes, cases: Path) -> dict[str, float]:
    """R² of linear probes, by patients that the probe has not seen: the height of the slice, and the share of fluid.

    Args:
        inputs: (N, ...) of the slices that ``codes`` are of.
        codes: says their cases and places.
        cases: beside it is ``factors.csv``.
    """
    _, fluid = matched(codes.case, column_of(cases.with_name("factors.csv"), "csf_fraction"))
    factors = {"height_r2": codes.centre_mm[:, 2], "csf_r2": fluid}
    return {key: linear_probe(inputs, factor, codes.case, draws=2).value for key, factor in factors.items()}


def timed(options: argparse.Namespace) -> None:
    """Processor seconds of 16 samples in one batch: the median of repeats, all models one after the other."""
    torch.set_num_threads(1)
    methods = {run.row: open_model(run.folder, "cpu", ()).method for run in runs(options) if run.done}
    found: dict[str, list[float]] = {row: [] for row in methods}
    for repeat in range(-1, TIMINGS):
        for row, method in methods.items():
            sampler: Any = method
            began = time.process_time()
            with torch.inference_mode():
                sampler.sample(SAMPLED, torch.Generator().manual_seed(repeat + 1))
            if repeat >= 0:
                found[row].append(time.process_time() - began)
    (options.out / "sampling.json").write_text(json.dumps(found, indent=1))


def page(options: argparse.Namespace) -> None:
    """Write the table, its numbers and the picture."""
    found = {
        run: json.loads(run.beside("scores.json").read_text())
        for run in runs(options)
        if run.beside("scores.json").is_file()
    }
    first, seconds = next(iter(found.values())), json.loads((options.out / "sampling.json").read_text())
    planned = json.loads((options.out / "plan.json").read_text())
    rows = [
        {
            "model": run.row, "seed": run.seed, "steps": run.steps,
            "processor_seconds": round(json.loads(run.beside("seconds.json").read_text()), 1),
            "sampling_seconds": statistics.median(seconds[run.row]),
            **{key: value for key, value in content.items() if key not in ("features", "settings", "real")},
        }
        for run, content in found.items()
    ]  # fmt: skip
    numbers = {
        "features": first["features"], "settings": first["settings"], "budget": planned["budget"],
        "seconds_a_step": planned["seconds"], "changes": {name: row._asdict() for name, row in ROWS.items()},
        "common": COMMON, "real": first["real"], "pixels": pixels(found, options), "runs": rows,
    }  # fmt: skip
    PAGE.mkdir(parents=True, exist_ok=True)
    (PAGE / "family.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (PAGE / "family.md").write_text(_markdown(numbers, options))
    _picture([run for run in found if run.seed == 0], PAGE / "family.png")


def pixels(found: Iterable[Run], options: argparse.Namespace) -> dict[str, float]:
    """The probes of the pixels of the slices that were encoded, which are the same for all models."""
    file = options.out / "pixels.json"
    if not file.is_file():
        run = next(run for run in found if run.beside("codes.npz").is_file())
        codes = read_codes(run.beside("codes.npz"))
        images = images_of(codes, open_model(run.folder, "cpu", ()), options.cases)
        file.write_text(json.dumps(probed(images, codes, options.cases)))
    content: dict[str, float] = json.loads(file.read_text())
    return content


def _markdown(numbers: dict[str, Any], options: argparse.Namespace) -> str:
    features, real = numbers["features"], numbers["real"]
    lines = [
        "# The adversarial and the latent family at equal time",
        "",
        "Axial T1 slices of phantom heads, 64 x 64 at 3.5 mm (phantom seed 7: 24 training patients, 10 test patients). "
        f"Every model had {numbers['budget']:g} processor seconds of steps, on one thread in bf16, with seeds 0 to "
        f"{options.seeds - 1}; how many steps that is was measured before, all models in one run. Median over "
        f"seeds, in brackets the least and the greatest. The commands are in `pipelines/generation/family.py`, all "
        f"numbers and all settings in `family.json` ({options.machine}).",
        "",
        f"* Samples: {SAMPLES} against as many slices of the test patients, in features of `{features['method']}`, "
        f"layer {features['layer']} of {features['layers']} ({features['features']} numbers), weights SHA-256 "
        f"`{features['weights_sha256'][:16]}`, trained on other phantoms. *Training slices* in the place of samples "
        "are what a perfect generator would have.",
        f"* Reconstruction: `decode(encode(x))` of {PATCHES} slices of each test patient, in normalised units; "
        "gradient energy is that of the reconstruction over that of the slice, below 1 is blurred.",
        f"* Bits a voxel: `-log2 p` of slices of the test patients with uniform noise of width {NOISE}, in normalised "
        "units, so it may be negative; flows give it exactly, of a VAE it is an upper limit (one draw).",
        "* Probes: R² of a ridge regression on codes, in cross-validation over the 40 patients: at which height the "
        "slice lies, and the patient's share of fluid in the brain, from one slice. GANs have no codes of images. "
        "*Pixels* are the baseline.",
        f"* Seconds: processor seconds of {SAMPLED} samples in one batch, median of {TIMINGS}.",
        "",
        "CycleGAN and CVAE are conditional: they translate an image, and draw none from nothing, so they are not here.",
        "",
        "| model | steps | processor seconds | " + " | ".join(METRICS.values()) + " |",
        "|---" * (len(METRICS) + 3) + "|",
        _line("*training slices*", "", "", real),
        _line("*pixels*", "", "", numbers["pixels"]),
    ]  # fmt: skip
    for name, row in ROWS.items():
        mine = [each for each in numbers["runs"] if each["model"] == name]
        if mine:
            spent = _cell([each["processor_seconds"] for each in mine])
            few = "" if len(mine) == options.seeds else f" ({len(mine)} seeds)"
            cells = {key: _cell([each[key] for each in mine]) for key in METRICS if key in mine[0]}
            if "bits" in cells:
                cells["bits"] += ", limit" if mine[0]["bound"] else ", exact"
            lines.append(_line(f"{row.name}{few}", str(mine[0]["steps"]), spent, cells))
    lines += ["", "![Six samples, and four slices rebuilt; seed 0, one model a row](family.png)", ""]
    remarks = PAGE / "family_remarks.md"
    return "\n".join(lines) + (remarks.read_text() if remarks.is_file() else "")


def _line(name: str, steps: str, spent: str, values: Mapping[str, Any]) -> str:
    cells = [values.get(key, "") for key in METRICS]
    return f"| {name} | {steps} | {spent} | " + " | ".join(_number(each) for each in cells) + " |"


def _cell(values: list[float]) -> str:
    if any(not math.isfinite(value) for value in values):
        return "not finite"
    middle, low, high = (_number(each) for each in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _picture(chosen: list[Run], path: Path) -> None:
    """The first samples, and reconstructions of the first slices; neither is chosen."""
    rows: dict[str, list[Any]] = {}
    for run in chosen:
        with np.load(run.beside("samples") / "samples.npz") as arrays:
            images = [*arrays["t1"][:SHOWN]]
        file = run.beside("reconstruction") / "reconstruction.npz"
        if file.is_file():
            with np.load(file) as arrays:
                every = slice(0, REBUILT * PATCHES, PATCHES)
                images += [*arrays["reconstruction_t1"][every]]
                rows = {"original": [None] * SHOWN + [*arrays["original_t1"][every]], **rows}
        rows[ROWS[run.row].name] = images
    picture_of_rows(rows, path, dpi=50)


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"plan": plan, "train": train, "score": score, "time": timed, "page": page}
    parser.add_argument("part", choices=tuple(parts))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--budget", type=float, default=60, help="processor seconds of one training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--machine", default="one of two x86 cores that others used too")
    options = parser.parse_args()
    needed = {"plan": ("cases",), "train": ("cases",), "score": ("cases", "features"), "page": ("cases",)}
    if missing := [name for name in needed.get(options.part, ()) if getattr(options, name) is None]:
        parser.error(f"'{options.part}' needs --{missing[0]}")
    options.out.mkdir(parents=True, exist_ok=True)
    parts[options.part](options)


if __name__ == "__main__":
    main()
