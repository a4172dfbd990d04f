"""What two finished runs of the study agree on: the control of the row of two views.

    python pipelines/lesion_adaptation/agree.py RUN_A RUN_B --out runs/agree

RUN_A and RUN_B are folders such as runs/lesions/long_echo_0/study/runs/without_shifted/seed0 and .../seed1. A voxel
that both call a lesion is one; pieces below the volume of the recipe are dropped, and the target's test cases are
scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medgen.cases import read_cases
from medgen.evaluation import evaluate_segmentation
from medgen.inference.labels import without_small
from medgen.recipe.settings import load_recipe
from medgen.volume import read_label, require_same_grid, write_volume


def main() -> None:
    """Intersect the label maps, score them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    recipe = load_recipe(options.runs[0] / "recipe.yaml")
    table = options.runs[0] / "test_target.csv"
    for case in read_cases(table).cases:
        name = f"predictions/target/{case.name}/{case.name}_{recipe.data.labels}.nii.gz"
        first, second = (read_label(run / name) for run in options.runs)
        require_same_grid(first, second)
        both = first.with_data(first.data * (first.data == second.data))
        kept = without_small(both, recipe.inference.minimum_ml)
        write_volume(kept, options.out / Path(name).relative_to("predictions/target"), kind="label", overwrite=True)
    scores = evaluate_segmentation(options.out, table, classes=recipe.data.classes)
    scores.write(options.out / "scores.json")
    for row in scores.table():
        print("  ".join(f"{cell:>16}" for cell in row))


if __name__ == "__main__":
    main()
