"""What one ``medgen predict`` of one tile costs, most of which is imports, beside that of another commit.

    git worktree add ../before 863809d
    python pipelines/speed/start.py --against ../before

A phantom at 6 mm fits into one tile. Two models, each trained for one step: the default, whose context is boosted
trees, and MONAI's residual U-Net. Both commits predict in turn with the same model, as processes of their own, so that
other work on the machine meets both; what counts are the processor seconds of the program itself (user), which hardly
depend on that work, and of the pairs of neighbours the median ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[2]
MODELS = {"default": {}, "U-Net": {"generator": "unet", "context": "none"}}


def train_models(folder: Path) -> Path:
    """A run for each of :data:`MODELS`; the image to predict."""
    from medgen.phantom import make_head_phantom
    from medgen.run.experiment import train

    table = make_head_phantom(folder / "data", subjects=3, spacing=6.0)
    for name, config in MODELS.items():
        recipe = {
            "method": "context_aware_gan",
            "config": config,
            "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
            "preparation": {"spacing": None},
            "schedule": {"steps": 1, "batch": 1},
        }
        train(recipe, table, folder / name, device="cpu")
    return folder / "data" / "head_000" / "head_000_t1.nii.gz"


def user_seconds(tree: Path, run: Path, image: Path) -> float:
    """Of one prediction by the medgen in ``tree``, with one thread."""
    command = [sys.executable, "-m", "medgen", "predict", run, "-i", image, "-o", run / "ct.nii.gz", "--overwrite"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(
        [*command, "--device", "cpu"],
        check=True,
        cwd=run,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    """Print a table of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="a folder with another commit; without it this one alone")
    parser.add_argument("--repeats", type=int, default=5, help="predictions that count, after one that does not")
    options = parser.parse_args()
    trees = [HERE, options.against.resolve()] if options.against else [HERE]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = train_models(folder)
        print("| model | user s | user s of the other | ratio of pairs: median | smallest | largest |")
        print("|---|---|---|---|---|---|")
        for model in MODELS:
            rounds = [[user_seconds(tree, folder / model, image) for tree in trees] for _ in range(options.repeats + 1)]
            columns = [median(column) for column in zip(*rounds[1:], strict=True)]
            cells = [f"{each:.2f}" for each in columns]
            if options.against:
                ratios = [other / mine for mine, other in rounds[1:]]
                cells += [f"{each(ratios):.2f}" for each in (median, min, max)]
            else:
                cells += ["–"] * 4
            print(f"| {model} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
