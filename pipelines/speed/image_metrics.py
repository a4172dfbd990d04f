"""Time the image metrics against MONAI's and scikit-image's; prints a Markdown table of ratios.

Ratios on one machine carry over to another better than seconds do. Each function runs on one thread; the least
processor time of several runs counts, so that other work on the machine does little harm.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from monai.metrics import SSIMMetric
from skimage.metrics import structural_similarity

from medgen.metrics.image import image_scores
from medgen.metrics.ssim import mean_ssim

DATA_RANGE = 4095.0


def best(function: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The least processor time of several runs in seconds, and the value."""
    value = function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds), value


def main() -> None:
    """Compare at one size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="side of the cube in voxels")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    generator = np.random.default_rng(0)
    truth = generator.uniform(0, DATA_RANGE, (arguments.size,) * 3)
    prediction = np.clip(truth + generator.normal(0, 200, truth.shape), 0, DATA_RANGE)
    mask = np.ones(truth.shape, dtype=bool)
    tensors = [torch.from_numpy(image)[None, None].float() for image in (prediction, truth)]
    monai = SSIMMetric(spatial_dims=3, data_range=DATA_RANGE)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def ours(window: str) -> Callable[[], float]:
        return lambda: mean_ssim(prediction, truth, mask, data_range=DATA_RANGE, window=window)

    def skimage(**options: object) -> Callable[[], float]:
        return lambda: float(structural_similarity(prediction, truth, data_range=DATA_RANGE, **options))

    pairs = {
        "SSIM, Gaussian, MONAI (dense, float32)": (ours("gaussian"), lambda: float(monai(*tensors).mean())),
        "SSIM, Gaussian, scikit-image": (ours("gaussian"), skimage(**gaussian)),
        "SSIM, uniform, scikit-image": (ours("uniform"), skimage()),
    }
    print("| measure, compared with | size | times as fast | difference of the values |")
    print("|---|---|---|---|")
    for name, (mine, other) in pairs.items():
        (fast, value), (slow, expected) = best(mine, arguments.repeats), best(other, arguments.repeats)
        print(f"| {name} | {arguments.size}^3 | {slow / fast:.1f} | {abs(value - expected):.1e} |")
    seconds, _ = best(lambda: image_scores(prediction - 1024, truth - 1024, mask)["mae"], 2)
    print(f"\nAll metrics of one case: {seconds:.1f} s of one core at {arguments.size}^3.")


if __name__ == "__main__":
    main()
