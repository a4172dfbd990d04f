"""Reconstructions by a VAE and by three adversarial autoencoders: how sharp they are, and what that costs.

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    medgen phantom head tuning_heads --subjects 40 --spacing 3.5 --seed 412 --lesions
    python pipelines/generation/sharpness.py tune --cases tuning_heads/cases.csv --out runs/sharpness/tuning
    python pipelines/generation/sharpness.py train --cases heads/cases.csv --out runs/sharpness
    python pipelines/generation/sharpness.py page --out runs/sharpness

All have the encoder, decoder, code and rates of the recipes beside this file, and steps that take about as many
processor seconds. Sharpness is the gradient energy of a reconstruction over that of its slice (1 is right). What is
done already is skipped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medgen.inference.opened import open_model
from medgen.inference.references import References, reference_patches
from medgen.losses.energy import energy_distance
from medgen.metrics.sample_images import gradient_energy
from medgen.metrics.ssim import ssim_map
from medgen.metrics.statistics import compare_runs, summarise_runs
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.training.model_folder import load_stages

from kept import of_recipe, require_same
from pictures import picture_of_rows

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"
SLICES, SHOWN, TUNING_SEED = 256, 8, 100
METRICS = {"gradient_energy_ratio": 3, "mse": 4, "ssim": 3}
"""With decimals. They are means of the slices of a patient; the ratio is one of sums."""


class Row(NamedTuple):
    """A method with settings that differ from its recipe."""

    method: str
    label: str
    settings: Mapping[str, Any]
    steps: int


ROWS = {
    "vae": Row("vae", "VAE", {}, 1300),
    "vae_gan": Row("vae_gan", "VAE/GAN", {}, 550),
    "adversarial_autoencoder": Row("adversarial_autoencoder", "AAE", {}, 1250),
    "alpha_gan": Row("alpha_gan", "alpha-GAN", {}, 400),
}
_TRIED = (
    (2, 1e-3, 1e-3, 32, 0.25, 1, 300), (2, 1e-2, 1e-3, 32, 0.25, 1, 300), (1, 3e-3, 2.5e-4, 32, 0.25, 1, 400),
    (1, 3e-3, 2.5e-4, 16, 0.5, 1, 400), (1, 0.1, 2.5e-4, 16, 0.5, 1, 400), (1, 0.02, 1e-3, 16, 0.5, 1, 500),
    (1, 0.02, 1e-3, 16, 0.5, 0.1, 500), (1, 0.02, 2e-3, 8, 0.5, 1, 600), (1, 0.02, 1e-3, 16, 0.25, 1, 650),
    (1, 0.01, 2.5e-4, 16, 0.25, 1, 600),
)  # fmt: skip
_KEYS = ("layer", "gamma", "discriminator_learning_rate", "discriminator_width", "width", "beta")
TRIALS = {
    ", ".join(f"{key} {value:g}" for key, value in zip(_KEYS, settings, strict=True)): Row(
        "vae_gan", "", dict(zip(_KEYS, settings, strict=True)), steps
    )
    for *settings, steps in _TRIED
}
"""Tried before the defaults were set: the first three with this command, the others by hand in bf16 with seed 0."""


def run(row: Row, cases: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train, unless that is done, and score slices of the test patients."""
    result = folder.with_name(f"{folder.name}.json")
    # A VAE has the settings of encoder and decoder of the others.
    recipe = HERE / f"{'vae_gan' if row.method == 'vae' else row.method}.yaml"
    settings = [f"method={row.method}", f"seed={seed}", f"schedule.steps={row.steps}"]
    settings += [f"schedule.{key}={row.steps}" for key in ("validate_every", "save_every")]
    settings += ["schedule.averaging=0.99", "schedule.keep=last"]
    settings += [f"config.{key}={value}" for key, value in row.settings.items()]
    mine = load_recipe(recipe, settings)
    require_same(result, {**of_recipe(mine), "cases": cases})
    if not result.is_file():
        began = time.process_time()
        train(mine, cases, folder, device="cpu", store=folder.with_name("store"))
        seconds = time.process_time() - began
        result.write_text(json.dumps({**score(folder, cases), "processor_seconds": round(seconds)}, indent=1))
    content: dict[str, Any] = json.loads(result.read_text())
    return content


@torch.no_grad()
def made(folder: Path, real: References) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, reconstructions, and as many samples, of a run."""
    method: Any = load_stages(folder)[0][0].eval()
    code = method.encode(torch.from_numpy(real.images))
    return code, method.decode(code), method.sample(len(code), torch.Generator().manual_seed(0))


def held_out(folder: Path, cases: Path) -> References:
    """Slices of the test patients, as the run has seen those of its training."""
    return reference_patches(
        open_model(folder, "cpu", ()), cases, split="test", count=SLICES, store=folder.with_name("store")
    )


def score(folder: Path, cases: Path) -> dict[str, Any]:
    """By patient the three metrics; of all the energy distances of samples and of codes to the prior."""
    real = held_out(folder, cases)
    code, reconstructed, samples = made(folder, real)
    images, found = real.images, reconstructed.numpy()
    width = float(images.max() - images.min())
    energies = gradient_energy(images), gradient_energy(found)
    errors = np.square(images - found).reshape(len(images), -1).mean(1)
    pairs = zip(images[:, 0], found[:, 0], strict=True)
    likeness = np.array([ssim_map(*pair, data_range=width, window="gaussian").mean() for pair in pairs])
    names = np.array(real.cases)
    by_patient = {
        name: {
            "gradient_energy_ratio": float(energies[1][names == name].sum() / energies[0][names == name].sum()),
            "mse": float(errors[names == name].mean()),
            "ssim": float(likeness[names == name].mean()),
        }
        for name in sorted(set(real.cases))
    }
    prior = torch.randn(code.shape, generator=torch.Generator().manual_seed(1))
    return {
        "patients": by_patient,
        "samples": {
            "energy_distance": energy_distance(torch.from_numpy(images), samples).item(),
            "gradient_energy_ratio": float(gradient_energy(samples.numpy()).mean() / energies[0].mean()),
            "code_energy_distance": energy_distance(code, prior).item(),
            "code_sd": code.flatten(1).std(0).mean().item(),
        },
    }


def tune(options: argparse.Namespace) -> None:
    """One training of each trial, on other phantoms."""
    options.out.mkdir(parents=True, exist_ok=True)
    for name, row in {"vae": ROWS["vae"]._replace(steps=600), **TRIALS}.items():
        folder = options.out / name.replace(" ", "_").replace(",", "")
        content = run(row, options.cases, folder, TUNING_SEED)
        means = {m: np.mean([p[m] for p in content["patients"].values()]) for m in METRICS}
        told = ", ".join(f"{m} {value:.4f}" for m, value in {**means, **content["samples"]}.items())
        print(f"{name}: {told}, {content['processor_seconds']} s", flush=True)


def study(options: argparse.Namespace) -> None:
    """All rows, one seed after the other."""
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cases.json").write_text(json.dumps(str(options.cases.resolve())))
    for seed in range(options.seeds):
        for name, row in ROWS.items():
            run(row, options.cases, options.out / f"{name}_{seed}", seed)


def page(options: argparse.Namespace) -> None:
    """The table, its numbers and the picture."""
    done = {
        name: [json.loads(path.read_text()) for path in sorted(options.out.glob(f"{name}_[0-9].json"))] for name in ROWS
    }
    found = {name: runs for name, runs in done.items() if runs}
    numbers = {
        "command": "python pipelines/generation/sharpness.py train",
        "machine": options.machine,
        "date": datetime.date.today().isoformat(),
        "rows": {name: {**ROWS[name]._asdict(), "runs": runs} for name, runs in found.items()},
    }
    (PAGE / "sharpness.json").write_text(json.dumps(numbers, indent=1) + "\n")
    (PAGE / "sharpness.md").write_text("\n".join(_lines(found, options)) + "\n" + _remarks())
    _picture(options, list(found))


def _table(runs: list[dict[str, Any]], metric: str) -> list[list[float]]:
    return [[patient[metric] for patient in run["patients"].values()] for run in runs]


def _lines(found: Mapping[str, list[dict[str, Any]]], options: argparse.Namespace) -> list[str]:
    patients = len(next(iter(found.values()))[0]["patients"])
    lines = [
        "# Sharpness of reconstructions",
        "",
        f"{SLICES} axial T1 slices (64 x 64 at 3.5 mm) of {patients} test phantoms, encoded and decoded. "
        "Every method has the same encoder, decoder, code of 32 numbers, data and rates. Mean over patients and seeds, "
        "in brackets the 95 % interval of a bootstrap over both. Gradient energy ratio: mean squared difference of "
        "neighbouring voxels of the reconstruction over that of the slice; 1 is right. MSE in squared normalised "
        "units.",
        "",
        "| method | seeds | steps | gradient energy ratio | MSE | SSIM | processor seconds |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, runs in found.items():
        cells = []
        for metric, digits in METRICS.items():
            summary = summarise_runs(_table(runs, metric))
            low, high = summary["ci95"]
            cells.append(f"{summary['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        seconds = np.mean([run["processor_seconds"] for run in runs])
        lines.append(f"| {ROWS[name].label} | {len(runs)} | {ROWS[name].steps} | {' | '.join(cells)} | {seconds:.0f} |")
    lines += ["", "Less the VAE, of the same patients:", "", "| method | gradient energy ratio | MSE | SSIM |"]
    lines += ["|---|---|---|---|"]
    for name, runs in found.items():
        if name != "vae":
            cells = []
            for metric, digits in METRICS.items():
                difference = compare_runs(_table(runs, metric), _table(found["vae"], metric))
                low, high = difference["ci95"]
                cells.append(f"{difference['mean_difference']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
            lines.append(f"| {ROWS[name].label} | {' | '.join(cells)} |")
    lines += [
        "",
        "Samples, and codes of the test slices (mean over seeds). Energy distances are 0 for equal sets; codes of the "
        "prior have a standard deviation of 1.",
        "",
        "| method | energy distance of samples | their gradient energy over that of slices | energy distance of codes "
        "to the prior | standard deviation of codes |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        keys = "energy_distance", "gradient_energy_ratio", "code_energy_distance", "code_sd"
        cells = [f"{np.mean([run['samples'][key] for run in runs]):.3f}" for key in keys]
        lines.append(f"| {ROWS[name].label} | {' | '.join(cells)} |")
    lines += [
        "",
        "![Slices, their reconstructions, and samples; seed 0, not chosen](sharpness.png)",
        "",
        f"{options.machine}, {datetime.date.today().isoformat()}; `pipelines/generation/sharpness.py`, numbers of each "
        "patient and seed in `sharpness.json`.",
        "",
    ]
    return lines


def _remarks() -> str:
    path = PAGE / "sharpness_remarks.md"
    return path.read_text() if path.is_file() else ""


def _picture(options: argparse.Namespace, names: list[str]) -> None:
    """The first slices, and the first samples, of seed 0."""
    cases = Path(json.loads((options.out / "cases.json").read_text()))
    folders = {name: options.out / f"{name}_0" for name in names}
    real = held_out(folders[names[0]], cases)
    rows = {"real": real.images[:SHOWN]}
    results = {name: made(folder, real) for name, folder in folders.items()}
    rows |= {ROWS[name].label: each[1][:SHOWN].numpy() for name, each in results.items()}
    rows |= {f"{ROWS[name].label} samples": each[2][:SHOWN].numpy() for name, each in results.items()}
    picture_of_rows({name: [image[0] for image in images] for name, images in rows.items()}, PAGE / "sharpness.png")


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "train", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--machine", default="one of two x86 cores")
    options = parser.parse_args()
    if options.part != "page" and options.cases is None:
        parser.error(f"'{options.part}' needs --cases")
    torch.set_num_threads(1)
    {"tune": tune, "train": study, "page": page}[options.part](options)


if __name__ == "__main__":
    main()
