"""Peak memory and time of predicting one large volume, from the file read to the file written.

    python pipelines/speed/inference_memory.py                      # 512 x 512 x 200 voxels, on their own grid
    python pipelines/speed/inference_memory.py --shape 96 96 64     # a quick look

Each measurement is a process of its own, so that its peak is that of the prediction alone; a process that has imported
everything and loaded the model, but predicted nothing, is the floor below which no volume can be.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

GIB = 2**30
LIMIT_GIB = 4.0


def write_patient(path: Path, shape: tuple[int, int, int]) -> None:
    """An ellipsoid of tissue with a gradient in air; float32, 0.5 x 0.5 x 1 mm, axes to the left, back and top."""
    import nibabel

    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    radius = sum(axis**2 for axis in axes)
    image = np.where(radius < 0.8, 600 + 200 * axes[0] + 100 * np.sin(9 * axes[2]), 3).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([-0.5, -0.5, 1.0, 1.0])), path)


def write_model(folder: Path, *, generator: str, width: float, stages: int, spacing: list[float] | None) -> None:
    """A cascade of small untrained networks: memory and time do not depend on the weights."""
    from medgen.methods.base import Shape
    from medgen.methods.catalogue import create
    from medgen.training.model_folder import save_model

    config = {"generator": generator, "width": width, "stages": stages}
    networks = [create("supervised", config, Shape(1 + (stage > 0), 1)) for stage in range(stages)]
    preparation = {"roles": {"inputs": ["t1"], "target": "ct"}, "config": {"spacing": spacing}}
    description = {"method": "supervised", "preparation": preparation, "inference": {}, "patches": [32, 32, 32]}
    save_model(folder / "model", networks, description)


def measure(folder: Path, *, predict: bool) -> dict[str, Any]:
    """Run one prediction in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder), *(["--predict"] if predict else [])]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def child(folder: Path, *, predict: bool) -> None:
    """What is measured."""
    from medgen.inference.loading import load_model

    model = load_model(folder, device="cpu")
    started = time.monotonic()
    if predict:
        model.predict_file(folder / "t1.nii.gz", folder / "ct.nii.gz")
    seconds = time.monotonic() - started
    print(json.dumps({"gib": round(peak_bytes() / GIB, 2), "seconds": round(seconds, 1)}))


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the parent had before this program was loaded
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Make the patient and the model, measure, print a line, and exit 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200))
    parser.add_argument("--spacing", type=float, nargs=3, default=None, help="mm; the volume's own by default")
    parser.add_argument("--generator", choices=("fcn", "unet"), default="fcn")
    parser.add_argument("--width", type=float, default=0.1, help="factor on the filters of the network")
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--predict", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, predict=options.predict)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_patient(folder / "t1.nii.gz", tuple(options.shape))
        spacing = list(options.spacing) if options.spacing else None
        write_model(folder, generator=options.generator, width=options.width, stages=options.stages, spacing=spacing)
        floor, result = measure(folder, predict=False), measure(folder, predict=True)
    volume = np.prod(options.shape) * 4 / GIB
    print(
        f"{' x '.join(map(str, options.shape))} voxels ({volume:.2f} GiB as float32), {options.stages} x "
        f"{options.generator} of width {options.width:g}: peak {result['gib']:.2f} GiB "
        f"({floor['gib']:.2f} GiB before the first volume), {result['seconds']:.0f} s"
    )
    sys.exit(result["gib"] > LIMIT_GIB)


if __name__ == "__main__":
    main()
