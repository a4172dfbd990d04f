"""Peak memory of training steps of a fully grown 3D progressive GAN, 32 x 32 x 32, each setting in a fresh process.

    python pipelines/generation/memory.py        # ends with status 1 above 4 GiB

The peak is that of the whole process with all libraries: networks, Adam's moments, moving average and double backward.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train
from medgen.training.trial import peak_memory

LIMIT, GIB = 4.0, 2**30
SETTINGS = {
    "recipe": (0.5, 64, 8, "bf16"),
    "published": (1.0, 512, 8, "32"),
    "published, batch 16": (1.0, 512, 16, "32"),
}
"""Width, numbers of a code, batch and precision."""
STEPS = 3


def child(name: str) -> None:
    """Three steps, the last two of the whole networks."""
    width, latent, batch, precision = SETTINGS[name]
    torch.set_num_threads(1)
    config = {"width": width, "latent": latent, "grown": 1e-9}
    method, engine = create("progressive_gan", config, Shape(1, 1)), Engine("cpu", precision=precision)
    engine.place(method)
    image = torch.randn(batch, 1, 32, 32, 32)
    batches = [Images(image, torch.ones_like(image))] * STEPS
    schedule, average = Schedule(steps=STEPS, batch=batch), moving_average(method, 0.999)
    for _ in train(method, method.optimizers(), batches, schedule, engine, average=average):
        pass
    print(json.dumps(peak_memory(torch.device("cpu")) / GIB))


def main() -> int:
    """One line a setting; 1 where one of them is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", choices=list(SETTINGS))
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    worst = 0.0
    for name, (width, latent, batch, precision) in SETTINGS.items():
        command = [sys.executable, __file__, "--child", name]
        found = float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{name}: width {width}, {latent} numbers a code, batch {batch}, {precision}: {found:.2f} GiB")
        worst = max(worst, found)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
