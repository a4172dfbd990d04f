"""The demo on several phantoms: does its network beat boosting on each of them?

    python pipelines/mr_to_ct/demos.py --out runs/demos --seeds 0 1 2 3 4

Each seed is another phantom and another training. A demo that is done is kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from medgen.demo import RECIPE, run_demo
from medgen.files import atomic_path, write_json

METRICS = ("mae", "mae_soft", "mae_bone", "mae_air", "false_tissue", "psnr", "ms_ssim", "gradient_ratio")
METHODS = ("constant", "voxelwise", "neighbourhood", "context_aware_gan")


def main() -> None:
    """Run the demos that are missing and write their table."""
    options = _arguments()
    out = Path(options.out)
    seconds = {seed: _demo(out / str(seed), seed) for seed in options.seeds}
    found = {seed: {method: _scores(out / str(seed), method) for method in METHODS} for seed in options.seeds}
    write_json(
        out / "demos.json",
        {
            "phantom": True,
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "recipe": RECIPE,
            "seconds": seconds,
            "scores": found,
        },
    )
    text = _markdown(found)
    with atomic_path(out / "demos.md") as temporary:
        temporary.write_text(text)
    print(text)


def _demo(folder: Path, seed: int) -> float | None:
    """Seconds that the demo took; None where it was there already."""
    if (folder / "report.html").is_file():
        return None
    shutil.rmtree(folder, ignore_errors=True)  # a demo does not resume
    began = time.monotonic()
    run_demo(folder, seed=seed)
    return time.monotonic() - began


def _scores(folder: Path, method: str) -> dict[str, float]:
    summary = json.loads((folder / "scores" / f"{method}.json").read_text())["summary"]
    return {metric: summary[metric]["mean"] for metric in METRICS}


def _markdown(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """A row a seed: voxel-wise / neighbourhood boosting -> the network (its change from either)."""
    lines = [
        "| phantom seed | MAE (HU) | soft (HU) | bone (HU) | air (HU) | rim (ml) | PSNR (dB) | MS-SSIM | sharpness |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    digits = dict.fromkeys(METRICS[:4], 1) | {METRICS[4]: 0} | dict.fromkeys(METRICS[5:], 2)
    for seed, methods in found.items():
        rows = [methods[name] for name in METHODS[1:]]
        cells = []
        for m in METRICS:
            first, second, network = (f"{row[m]:.{digits[m]}f}" for row in rows)
            changes = ", ".join(f"{rows[-1][m] / row[m] - 1:+.0%}" for row in rows[:-1])
            cells.append(f"{first} / {second} -> {network}" + (f" ({changes})" if m in METRICS[:4] else ""))
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    return parser.parse_args()


if __name__ == "__main__":
    main()
