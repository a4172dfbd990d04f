"""Studies of noise: real images are rough, synthetic ones are flat, so their content is easy to tell in a test."""

from pathlib import Path

import numpy as np

from medgen.reader import make_reader_study
from medgen.volume import Volume, write_volume

SIZE = (6, 8, 5)


def write_images(
    folder: Path, count: int, *, size=SIZE, spacing=(2.0, 2.0, 3.0), middle=100.0, noise=20.0, role="t1", seed=0
) -> Path:
    """NIfTI files ``c0_t1.nii.gz``, ...: noise around a mean."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        data = random.normal(middle, noise, (1, *size)).astype(np.float32)
        name = f"{folder.name[0]}{number}_{role}.nii.gz"
        write_volume(Volume(data, np.diag([*spacing, 1.0])), folder / name, kind="scalar")
    return folder


def small_study(folder: Path, **options) -> Path:
    """A study of four real and four synthetic volumes, shown with two repeats."""
    real, made = write_images(folder / "real", 8), write_images(folder / "made", 8, noise=10.0, seed=1)
    return make_reader_study(real, made, folder / "study", **{"role": "t1", "count": 8, "repeats": 0.25, **options})
