"""Pairs of synthetic CT for a blinded look: the same slice by two rows of the study, left and right at random.

    python pipelines/mr_to_ct/blinded.py runs/study/misaligned_0mm --data runs/study/phantom_0mm --out runs/blinded
    python pipelines/mr_to_ct/blinded.py --count runs/blinded/answers.json --out runs/blinded

`key.json` says which is which; whoever looks must not see it. An answer is "left", "right" or "equal" for each picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import binomtest

from medgen.cases import read_cases
from medgen.files import write_json
from medgen.volume import read_volume


def main() -> None:
    """Draw the pairs, or count the answers."""
    options = _arguments()
    out = Path(options.out)
    if options.count:
        print(count(json.loads(Path(options.count).read_text()), json.loads((out / "key.json").read_text())))
        return
    generator, key = np.random.default_rng(options.seed), {}
    study = Path(options.study)
    for case in read_cases(Path(options.data) / "cases.csv").select(split="test"):
        for seed in options.seeds:
            rows = [str(row) for row in generator.permutation(options.rows)]
            name = f"pair_{len(key):02d}"
            files = [study / f"seed{seed}" / "predictions" / row / case.name / f"{case.name}_ct.nii.gz" for row in rows]
            truth = case.path("ct")
            assert truth is not None
            _draw(files[0], truth, files[1], out / f"{name}.png", generator)
            key[name] = {"left": rows[0], "right": rows[1]}
    write_json(out / "key.json", key)
    print(f"{len(key)} pairs in {out}")


def count(answers: dict[str, str], key: dict[str, dict[str, str]]) -> dict[str, object]:
    """How often each row was chosen, and the p of a two-sided sign test without the equal ones."""
    if wrong := [
        name for name, answer in answers.items() if name not in key or answer not in ("left", "right", "equal")
    ]:
        raise SystemExit(f"the answers to {', '.join(wrong)} are not left, right or equal to a picture of key.json")
    chosen = [key[name].get(answer, "equal") for name, answer in answers.items()]
    rows = sorted(next(iter(key.values())).values())
    votes = {row: chosen.count(row) for row in (*rows, "equal")}
    decided = votes[rows[0]] + votes[rows[1]]
    return {**votes, "p": float(binomtest(votes[rows[0]], decided).pvalue) if decided else 1.0}


def _draw(left: Path, truth: Path, right: Path, path: Path, generator: np.random.Generator) -> None:
    """One transverse slice, at 0.35 to 0.65 of the height: left, the true CT, right."""
    volumes = [read_volume(each).data[0] for each in (left, truth, right)]
    z = int(volumes[1].shape[2] * generator.uniform(0.35, 0.65))
    figure, axes = plt.subplots(1, 3, figsize=(12, 5))
    for axis, volume, title in zip(axes, volumes, ("left", "true CT", "right"), strict=True):
        axis.imshow(volume[:, :, z].T, origin="lower", cmap="gray", vmin=-1000, vmax=1500)
        axis.set_title(title)
        axis.axis("off")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", help="folder of the results of one phantom of the study")
    parser.add_argument("--data", help="folder of that phantom")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", nargs=2, default=["gradient", "gan"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sides and slices")
    parser.add_argument("--count", metavar="ANSWERS", help="count answers instead of drawing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
