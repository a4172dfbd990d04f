"""Few labelled patients: do samples that are drawn with their labels help a segmenter more than augmentation does?

    python pipelines/generation/shortage.py run --out runs/shortage
    python pipelines/generation/shortage.py page --out runs/shortage

With 2, 4, 8 and 16 labelled heads, a generator learns T1 and skull of these heads alone (``joint_vae.yaml``). Each arm
trains the segmenter of ``skull_unet.yaml`` with the same seed. Every seed has other patients, the same for all arms;
the fewer are among the more. What is done is skipped, so both commands can be repeated.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from medgen.cases import Case
from medgen.files import write_json
from medgen.metrics.statistics import summarise_runs

from train_on_synthetic import HERE, contrast_of, heads_with_skull, score, synthetic_cases

PAGE = HERE.parents[1] / "docs" / "results" / "generation"
COUNTS, TEST, SAMPLES = (2, 4, 8, 16), 20, 64
STEPS = 1400
AUGMENTATION = "{flip: [x], rotation: [10, 10, 10], zoom: 0.1, scale: 0.2, contrast: 0.2, bias: 0.2}"
ARMS = {
    "plain": "as they are",
    "augmented": "augmentation",
    "half": "augmentation, half of the steps",
    "mixed": "augmentation, every second patch from a sample",
    "pretrained": "augmentation, after as many steps on samples alone",
}
"""What a segmenter learns from, by arm. The last two have as many steps on real patches as ``half``, and in all as many
as the first two: beside ``half`` they say what samples add, beside ``augmented`` whether they are worth their time."""
REFERENCES = ("augmented", "half")

Scores = dict[str, dict[str, list[list[float]]]]
"""Dice by number of patients and arm: (seeds, test cases)."""


def run(options: argparse.Namespace) -> None:
    """Train and score what is missing."""
    torch.set_num_threads(1)
    counts = options.seeds * max(COUNTS), TEST
    real = heads_with_skull(options.out / "phantom", options.phantom_seed, counts, varied=True)
    learnt, tests = ([case for case in real if case.split == split] for split in ("train", "test"))
    scores: Scores = {str(count): {arm: [] for arm in ARMS} for count in COUNTS}
    seconds = {"generators": 0.0, "segmenters": 0.0}
    contrast: dict[str, list[Any]] = {"real": [], "samples": []}
    for seed in range(options.seeds):
        for count in COUNTS:
            few = learnt[seed * max(COUNTS) :][:count]
            folder = options.out / f"seed{seed}" / f"patients{count}"
            synthetic, taken = synthetic_cases(folder / "joint", few, HERE / "joint_vae.yaml", seed, SAMPLES)
            seconds["generators"] += taken
            contrast["real"].append(contrast_of(few))
            contrast["samples"].append(contrast_of(synthetic))
            for arm in ARMS:
                found, taken = arm_of(arm, folder, few, synthetic, tests, seed)
                scores[str(count)][arm].append(found)
                seconds["segmenters"] += taken
                print(f"seed {seed}, {count} patients, {arm}: Dice {np.mean(found):.3f}", flush=True)
    content = {
        "phantom": True, "phantom_seed": options.phantom_seed, "seeds": options.seeds, "steps": STEPS,
        "samples": SAMPLES, "augmentation": AUGMENTATION, "machine": f"{platform.machine()} CPU, 1 thread",
        "torch": torch.__version__, "date": datetime.date.today().isoformat(),
        "processor_seconds": {name: round(value) for name, value in seconds.items()},
        "t1_in_skull_and_around": contrast, "dice": scores,
    }  # fmt: skip
    write_json(options.out / "results.json", content)


def arm_of(
    arm: str, folder: Path, few: Sequence[Case], synthetic: Sequence[Case], tests: Sequence[Case], seed: int
) -> tuple[list[float], float]:
    """Dice of the test cases in one arm, and the processor seconds of training."""
    changes = [f"seed={seed}", *(() if arm == "plain" else (f"patches.augmentation={AUGMENTATION}",))]
    half, whole = (changes + of_steps(steps) for steps in (STEPS // 2, STEPS))
    if arm == "pretrained":
        _, before = score(folder / "before", synthetic, tests, half)
        found, after = score(folder / arm, few, tests, half, folder / "before" / "run")
        return found, before + after
    if arm == "mixed":
        return score(folder / arm, (*synthetic, *repeated(few, len(synthetic))), tests, whole)
    return score(folder / arm, few, tests, half if arm == "half" else whole)


def of_steps(steps: int) -> list[str]:
    """The changes of a recipe that trains so many steps."""
    return [f"schedule.{key}={steps}" for key in ("steps", "validate_every", "save_every")]


def repeated(cases: Sequence[Case], total: int) -> list[Case]:
    """The cases again and again, under other names, until there are as many: patches come from each alike."""
    return [
        Case(f"{cases[index % len(cases)].name}_{index}", "train", None, cases[index % len(cases)].images)
        for index in range(total)
    ]


def page(options: argparse.Namespace) -> None:
    """Write the table, its numbers and the curve."""
    numbers = json.loads((options.out / "results.json").read_text())
    write_json(PAGE / "shortage.json", numbers)
    spent = numbers["processor_seconds"]
    remarks = PAGE / "shortage_remarks.md"
    lines = [
        "# Few labelled patients: samples with labels against augmentation",
        "",
        *(remarks.read_text().splitlines() if remarks.is_file() else []),
        "",
        table_of(numbers["dice"]),
        f"Dice of the skull of {TEST} test heads; T1 of phantom heads at 8 mm, each patient in another scanner. In "
        "brackets 95 % intervals (bootstrap over seeds and cases; of three seeds they are narrow); differences are of "
        f"the same patients, seeds and test heads. {numbers['seeds']} seeds, each with other patients; {STEPS} steps "
        f"of `skull_unet.yaml`, {STEPS // 2} where half is said. {SAMPLES} samples of a VAE of T1 and skull together "
        "(`joint_vae.yaml`, 400 "
        f"steps), which has seen the patients of its row alone. Augmentation: `{AUGMENTATION}`.",
        "",
        f"T1 of the skull, and of the voxels that touch it: {_contrast(numbers, 'real')} in the heads that are learnt "
        f"from, {_contrast(numbers, 'samples')} in samples (means over seeds and numbers of patients).",
        "",
        "![Dice against the number of labelled patients](shortage.png)",
        "",
        "```bash",
        "python pipelines/generation/shortage.py run --out runs/shortage",
        "python pipelines/generation/shortage.py page --out runs/shortage",
        "```",
        "",
        f"Phantom seed {numbers['phantom_seed']}; {spent['generators']} processor seconds for the generators and their "
        f"samples, {spent['segmenters']} for the segmenters; {numbers['machine']}, torch {numbers['torch']}, "
        f"{numbers['date']}.",
        "",
    ]  # fmt: skip
    (PAGE / "shortage.md").write_text("\n".join(lines))
    _picture(numbers["dice"], PAGE / "shortage.png")


def table_of(dice: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores by number of patients and arm as Markdown."""
    less = [f"less *{ARMS[name]}*" for name in REFERENCES]
    lines = [f"| patients | trained with | Dice | range over seeds | {' | '.join(less)} |", "|---" * 6 + "|"]
    for count, arms in dice.items():
        for arm, words in ARMS.items():
            found, means = summarise_runs(arms[arm]), np.mean(arms[arm], axis=1)
            row = [count, words, _cell(found, ".3f"), f"{means.min():.3f} to {means.max():.3f}"]
            for name in REFERENCES:
                row.append("" if arm == name else _cell(summarise_runs(np.subtract(arms[arm], arms[name])), "+.3f"))
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _contrast(numbers: Mapping[str, Any], of: str) -> str:
    inside, around = np.mean(numbers["t1_in_skull_and_around"][of], axis=0)
    return f"{inside:.0f} and {around:.0f}"


def _cell(found: Mapping[str, Any], form: str) -> str:
    low, high = found["ci95"]
    return f"{found['mean']:{form}} ({low:{form}} to {high:{form}})"


def _picture(dice: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Mean Dice of each arm over the number of patients, with its 95 % interval."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.6), layout="constrained")
    for place, (arm, words) in enumerate(ARMS.items()):
        found = [summarise_runs(dice[str(count)][arm]) for count in COUNTS]
        middle = [each["mean"] for each in found]
        around = [[abs(each["ci95"][side] - each["mean"]) for each in found] for side in (0, 1)]
        shifted = [count * 1.03 ** (place - 2) for count in COUNTS]
        axis.errorbar(shifted, middle, around, marker="o", capsize=2, label=words)
    axis.set(xscale="log", xlabel="labelled patients", ylabel="Dice of the skull, test heads (phantom)")
    axis.set_xticks(COUNTS, [str(count) for count in COUNTS])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"run": run, "page": page}
    parser.add_argument("part", choices=tuple(parts))
    parser.add_argument("--out", type=Path, default=Path("runs/shortage"), help="folder to write")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--phantom-seed", type=int, default=1316, help="of the heads")
    options = parser.parse_args()
    parts[options.part](options)


if __name__ == "__main__":
    main()
