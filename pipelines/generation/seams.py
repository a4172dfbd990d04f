"""How far tiles of a volume are from the volume at once, for a trained CycleGAN that makes a CT.

    python pipelines/generation/seams.py RUN CASES.csv --edges 48 32

Each size of tile twice: with the halo of the method, whose border the neighbour predicts, and as tiles of a same-size
network were joined before (half overlapping, Gaussian weights). In HU, over the mask of one validation case; eight of
its slices are enough for a network of slices. ``--grow 240`` mirrors it until it is larger than a default tile of 160.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Translates
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import prepare
from medgen.training.model_folder import load_stages

HALF_WINDOW_HU = 1512.0


def main() -> None:
    """Predict one case at once and in tiles, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("cases")
    parser.add_argument("--edges", type=int, nargs="*", default=[48, 32])
    parser.add_argument("--grow", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(Path(options.run) / "recipe.yaml")
    (method,), _ = load_stages(Path(options.run))
    method.eval()
    assert isinstance(method, Translates)
    across = recipe.patches.across
    with tempfile.TemporaryDirectory() as store:
        case = prepare(recipe, options.cases, store, workers=1).select(split="val")[0]
        image, inside = np.array(case.image), np.asarray(case.mask) > 0
    if across is not None:
        middle = image.shape[1 + across] // 2
        image, inside = (
            each.take(range(middle - 4, middle + 4), axis) for each, axis in ((image, 1 + across), (inside, across))
        )
    beyond = [(0, 0 if axis == across else max(0, options.grow - side)) for axis, side in enumerate(inside.shape)]
    image, inside = np.pad(image, [(0, 0), *beyond], "symmetric"), np.pad(inside, beyond, "symmetric")
    window = method.window
    joined = replace(window, halo=0, align=1)

    def predicted(edge: int, where: object, overlap: float) -> np.ndarray:
        size = [1 if axis == across else edge for axis in range(3)]
        return predict_tiles(
            lambda x: method.predict(x, "forward"), image, size=size, window=where, across=across, overlap=overlap
        )[0]

    for name, where, overlap in (("halo", window, 0.0), ("joined", joined, 0.5)):
        whole = predicted(512, where, overlap)
        for edge in options.edges:
            apart = HALF_WINDOW_HU * np.abs(predicted(edge, where, overlap) - whole)[inside]
            row = {"tiles": name, "edge": edge, "max_hu": float(apart.max()), "mean_hu": float(apart.mean())}
            print(json.dumps({**row, "norm": getattr(method.config, "norm", None)}))


if __name__ == "__main__":
    main()
