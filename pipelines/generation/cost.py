"""What every model of the adversarial and of the latent family costs, for slices and for volumes, on one core.

    python pipelines/generation/cost.py measure --out cost
    python pipelines/generation/cost.py page --out cost

Each model is measured in a fresh process on noise, all of them one after the other, and then all again; the median
counts. Networks are those of the recipes. The progressive GAN is fully grown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from medgen.methods.base import Samples, Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule, load_recipe
from medgen.training.engine import Engine
from medgen.training.trial import peak_memory, try_steps

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "results" / "generation"
SIZES = {"2D": (64, 64), "3D": (32, 32, 32)}
_POSTERIORS = {name: {"posterior": name} for name in ("planar", "iaf")}
ROWS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "GAN, wgan_gp": ("gan", {"2D": "gan", "3D": "dcgan3d"}, {"objective": "wgan_gp"}),
    "GAN, hinge": ("gan", {"2D": "gan", "3D": "dcgan3d"}, {"objective": "hinge"}),
    "progressive GAN": ("progressive_gan", {"2D": "progressive2d", "3D": "progressive3d"}, {"grown": 1e-9}),
    "CycleGAN": ("cyclegan", {"2D": "cyclegan", "3D": "cyclegan"}, {}),
    "VAE": ("vae", {"2D": "vae", "3D": "vae"}, {}),
    "VAE, planar": ("vae", {"2D": "vae", "3D": "vae"}, _POSTERIORS["planar"]),
    "VAE, IAF": ("vae", {"2D": "vae", "3D": "vae"}, _POSTERIORS["iaf"]),
    "VAE, learnt prior": ("vae", {"2D": "vae", "3D": "vae"}, {"prior": "flow"}),
    "CVAE": ("cvae", {"2D": "cvae_ct", "3D": "cvae_ct"}, {}),
    "CVAE of outlines": ("cvae_segmentation", {"2D": "cvae_outlines", "3D": "cvae_outlines"}, {}),
    "VAE/GAN": ("vae_gan", {"2D": "vae_gan", "3D": "vae_gan"}, {}),
    "adversarial autoencoder": (
        "adversarial_autoencoder",
        {"2D": "adversarial_autoencoder", "3D": "adversarial_autoencoder"},
        {},
    ),
    "alpha-GAN": ("alpha_gan", {"2D": "alpha_gan", "3D": "alpha_gan"}, {}),
    "NICE": ("nice", {"2D": "nice", "3D": "nice"}, {}),
    "RealNVP": ("realnvp", {"2D": "realnvp", "3D": "realnvp"}, {}),
}
"""Method, recipe by number of dimensions, and what differs from its config."""
BATCH, SAMPLED, REPEATS, CLASSES = 8, 16, 3, 2
FEW, MORE = 3, 6
"""Steps whose difference counts: in the first, memory is fetched and the progressive GAN is small."""
COLUMNS = ("parameters", "seconds a step", "peak memory, MiB", f"seconds for {SAMPLED}")


def child(name: str, dimensions: str) -> None:
    """Print parameters, processor seconds of a step, peak bytes, and processor seconds of 16 samples."""
    kind, recipes, changes = ROWS[name]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = {**load_recipe(HERE / f"{recipes[dimensions]}.yaml").config, **changes}
    outputs = CLASSES if kind == "cvae_segmentation" else 1
    method: Any = create(kind, config, Shape(1, outputs, SIZES[dimensions]))
    parameters = sum(each.numel() for each in method.parameters())
    schedule, engine, spent = Schedule(batch=BATCH), Engine("cpu"), {}
    for steps in (FEW, MORE):
        began = time.process_time()
        try_steps(method, schedule, engine, steps=steps)
        spent[steps] = time.process_time() - began
    memory = peak_memory(torch.device("cpu"))
    method.eval()
    for seed in range(2):  # the first one warms up
        generator, began = torch.Generator().manual_seed(seed), time.process_time()
        with torch.inference_mode():
            if isinstance(method, Samples):
                method.sample(SAMPLED, generator)
            else:
                method.predict(torch.randn(SAMPLED, 1, *SIZES[dimensions], generator=generator), generator)
        taken = time.process_time() - began
    print(json.dumps([parameters, (spent[MORE] - spent[FEW]) / (MORE - FEW), memory, taken]))


def measure(options: argparse.Namespace) -> None:
    """All models, one process each, and all again; a repeat that is there is not measured again."""
    path = options.out / "cost.json"
    found: dict[str, dict[str, list[list[float]]]] = json.loads(path.read_text()) if path.is_file() else {}
    for repeat in range(REPEATS):
        for name, (_, recipes, _) in ROWS.items():
            for dimensions, recipe in recipes.items():
                known = found.setdefault(name, {}).setdefault(dimensions, [])
                if len(known) > repeat or not (HERE / f"{recipe}.yaml").is_file():
                    continue
                command = [sys.executable, __file__, "child", "--name", name, "--dimensions", dimensions]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                known.append(json.loads(subprocess.check_output(command, text=True, env=environment)))
                path.write_text(json.dumps(found, indent=1))


def page(options: argparse.Namespace) -> None:
    """Write the table and its numbers."""
    found = json.loads((options.out / "cost.json").read_text())
    medians = {
        name: {
            key: [statistics.median(column) for column in zip(*repeats, strict=True)]
            for key, repeats in each.items()
            if repeats
        }
        for name, each in found.items()
    }
    lines = [
        "# What the models of both families cost",
        "",
        f"Slices of {' x '.join(map(str, SIZES['2D']))} and volumes of {' x '.join(map(str, SIZES['3D']))} voxels, "
        f"batch {BATCH}, 32 bits, networks of the recipes in `pipelines/generation`; the progressive GAN fully grown. "
        f"Processor seconds on one thread, each model in a fresh process, all in one run and {REPEATS} times over; "
        f"medians ({options.machine}). The memory is that of the whole process with its libraries after training "
        f"steps. `seconds for {SAMPLED}` are samples in one batch; CycleGAN and both CVAEs are conditional, so there "
        f"it is {SAMPLED} images translated, or outlined. Steps of different models do not teach equally much: what "
        "they reach at equal time is in [family](family.md).",
        "",
        "| model | " + " | ".join(f"{key}: {column}" for key in SIZES for column in COLUMNS) + " |",
        "|---" * (1 + len(SIZES) * len(COLUMNS)) + "|",
    ]
    for name, each in medians.items():
        cells = [cell for key in SIZES for cell in (_cells(each[key]) if key in each else ["not measured"] * 4)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "```bash", "python pipelines/generation/cost.py measure --out cost", "```", ""]
    (PAGE / "cost.json").write_text(json.dumps({"columns": COLUMNS, "repeats": found}, indent=1) + "\n")
    (PAGE / "cost.md").write_text("\n".join(lines))


def _cells(values: list[float]) -> list[str]:
    parameters, step, memory, sampling = values
    return [f"{parameters / 1e6:.2f} M", f"{step:.3g}", f"{memory / 2**20:.0f}", f"{sampling:.3g}"]


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("measure", "page", "child"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--name", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--dimensions", choices=list(SIZES), help=argparse.SUPPRESS)
    parser.add_argument("--machine", default="one of two x86 cores that others used too")
    options = parser.parse_args()
    if options.part == "child":
        child(options.name, options.dimensions)
        return
    if options.out is None:
        parser.error(f"'{options.part}' needs --out")
    options.out.mkdir(parents=True, exist_ok=True)
    {"measure": measure, "page": page}[options.part](options)


if __name__ == "__main__":
    main()
