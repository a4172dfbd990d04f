"""How long one prostate takes, from the start of the process to the last file: T2W 192 x 192 x 19, with ADC and DWI.

    python pipelines/speed/prostate_patient.py                          # the grid of the pipeline's recipe
    python pipelines/speed/prostate_patient.py --spacing 0.5 0.5 3      # T2W's own

``medgen predict`` runs in a process of its own, with imports, reading, resampling of the diffusion images from 2 x 2 x
3 mm, network, candidates and writing. The network is untrained. The time of the network does not depend on the weights;
that of the candidates does: an untrained network makes noise, with thousands of pieces. On a machine with other work
the processor seconds tell more than the clock; divided by the threads they are the least that the clock can show.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

RECIPE = Path(__file__).parents[1] / "prostate_detection" / "recipe.yaml"
LIMIT_SECONDS = 10.0
GRIDS = {"t2w": ((192, 192, 19), (0.5, 0.5, 3.0)), "adc": ((48, 48, 19), (2.0, 2.0, 3.0))}
GRIDS["hbv"] = GRIDS["adc"]


class Cost(NamedTuple):
    """Of one prediction."""

    seconds: float
    processor: float
    gib: float


def write_patient(folder: Path) -> dict[str, Path]:
    """Three images of smooth tissue without air around it, centred on one another."""
    import nibabel
    from scipy import ndimage

    generator = np.random.default_rng(0)
    paths = {}
    for role, (shape, spacing) in GRIDS.items():
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = [-0.5 * (n - 1) * step for n, step in zip(shape, spacing, strict=True)]
        noise = ndimage.gaussian_filter(generator.normal(size=shape), [3 / step for step in spacing])
        image = np.clip(1000 + 300 * noise / noise.std(), 100, 3000).astype(np.int16)
        file = nibabel.Nifti1Image(image, affine)
        file.header.set_xyzt_units("mm")
        paths[role] = folder / f"{role}.nii.gz"
        nibabel.save(file, paths[role])
    return paths


def write_model(folder: Path, recipe_path: Path, overrides: list[str]) -> str:
    """An untrained model of the recipe; its method and grid in words."""
    from medgen.methods.base import Shape
    from medgen.methods.catalogue import create
    from medgen.preparation import Preparation
    from medgen.recipe.settings import load_recipe
    from medgen.training.model_folder import save_model

    recipe = load_recipe(recipe_path, overrides)
    classes = list(recipe.data.classes)
    shape = Shape(len(recipe.data.inputs), 1 + len(classes), recipe.patches.size)
    network = create(recipe.method, recipe.config, shape)
    description = {
        "method": recipe.method,
        "task": network.batch_class.task().name,
        "classes": classes,
        "preparation": Preparation(recipe.data, recipe.preparation).as_dict(),
        "inference": recipe.inference.model_dump(mode="json"),
        "patches": list(recipe.patches.size),
    }
    save_model(folder / "model", [network], {**description, "recipe": recipe.model_dump(mode="json")})
    spacing = recipe.preparation.spacing
    return f"{recipe.method}, {' x '.join(f'{step:g}' for step in spacing) if spacing else 'own'} mm grid"


def measure(folder: Path, images: dict[str, Path], threads: int) -> Cost:
    """One ``medgen predict``, file to file."""
    words = [word for role, path in images.items() for word in ("-i", f"{role}={path}")]
    command = [sys.executable, "-m", "medgen", "predict", str(folder), *words, "-o", str(folder / "label.nii.gz")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*command, "--overwrite", "--device", "cpu"], check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, processor, after.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20))


def main() -> None:
    """Make the patient and the model, measure, print median and maximum, and exit 1 if the slowest is too slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--spacing", type=float, nargs=3, help="mm of the prepared grid; the recipe's by default")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    overrides = [*options.overrides, *([f"preparation.spacing={list(options.spacing)}"] if options.spacing else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what = write_model(folder, options.recipe, overrides)
        images = write_patient(folder)
        costs = [measure(folder, images, options.threads) for _ in range(options.repeats)]
    print(f"192 x 192 x 19 x 3 voxels, {what}, {options.threads} threads, {options.repeats} predictions:")
    for name, each in (("median", median), ("maximum", max)):
        seconds, processor, gib = (each(values) for values in zip(*costs, strict=True))
        print(f"  {name}: {seconds:.1f} s on the clock, {processor:.1f} s of processor, {gib:.2f} GiB")
    sys.exit(max(cost.seconds for cost in costs) > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
