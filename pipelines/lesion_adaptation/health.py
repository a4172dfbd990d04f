"""The health report on two real domains: gliomas with labels, and multiple sclerosis without.

    python pipelines/lesion_adaptation/health.py TUMOUR MS --out runs/health

TUMOUR holds one folder a patient with flair, t1c, labels and brain_mask (.nii.gz; BRATS 2013 cases), MS one with flair
and t1 (Lesjak 2017). Both are skull-stripped; MS has no mask, so it is made here: where one of its images is not 0.
Its lesions are never opened.

The domains share FLAIR. T1 with and without contrast agent share a channel: the one that differs. Disease, scanner and
patients differ too, so an adaptation need not work, and the report is there to say so without a label. Of each domain
one patient, the last, is held out to look at. Linear probes take two a domain to be tested on patients that they have
not seen, so here they are not measured: the verdict stands on source Dice, entropy and predicted volume alone. And a
volume that differs between the domains is no fault of the adaptation where the disease differs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from medgen.cases import Case, write_cases
from medgen.inference.cohort import predict
from medgen.report import write_report
from medgen.run.experiment import train
from medgen.run.monitor import LIMITS, RULE, judge, read_records
from medgen.types import Split
from medgen.volume import Volume, read_volume, require_same_grid, write_volume

RECIPE = Path(__file__).with_name("health.yaml")
SOURCE = {"flair": "flair", "t1c": "t1c", "label": "labels", "mask": "brain_mask"}
TARGET = {"flair": "flair", "t1": "t1"}
LOOKS = 10
SIGNALS = ("source_dice", "volume_source", "volume_target", "entropy_source", "entropy_target", "agreement_target")


def main() -> None:
    """Make the table, train against the adversary, predict both held-out patients, report."""
    options = _arguments()
    out = Path(options.out)
    table, run = make_table(Path(options.tumour).resolve(), Path(options.ms).resolve(), out), out / "run"
    recipe, every = yaml.safe_load(RECIPE.read_text()), max(1, options.steps // LOOKS)
    length = [f"schedule.steps={options.steps}", f"schedule.validate_every={every}"]
    train(recipe, table, run, overrides=length + options.set, resume=(run / "recipe.yaml").is_file(), progress=_say)
    predict(run, table, out / "predictions", split="val", overwrite=True)
    print(summary(run))
    print(f"report: {write_report(out)}")


def make_table(tumour: Path, ms: Path, out: Path) -> Path:
    """The case table of both domains; the masks that the target lacks are written below ``out``."""
    cases = [
        Case(folder.name, split, "source", {role: folder / f"{name}.nii.gz" for role, name in SOURCE.items()})
        for folder, split in patients(tumour)
    ]
    for folder, split in patients(ms):
        images = {role: folder / f"{name}.nii.gz" for role, name in TARGET.items()}
        mask = out / "masks" / f"{folder.name}_mask.nii.gz"
        found = brain_mask([read_volume(path) for path in images.values()])
        write_volume(found, mask, kind="label", overwrite=True)
        cases.append(Case(folder.name, split, "target", {**images, "mask": mask}))
    return write_cases(cases, out / "cases.csv")


def patients(data: Path) -> list[tuple[Path, Split]]:
    """The folders of the patients in the order of their names; the last one is held out."""
    folders = sorted(folder for folder in data.iterdir() if folder.is_dir())
    return [(folder, "val" if folder == folders[-1] else "train") for folder in folders]


def brain_mask(images: list[Volume]) -> Volume:
    """The brain in skull-stripped images of one patient: where one is not 0, the largest piece, filled."""
    for other in images[1:]:
        require_same_grid(images[0], other)
    inside = np.any([image.data[0] != 0 for image in images], axis=0)
    pieces, _ = ndimage.label(inside)
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == largest)
    return images[0].with_data(filled[None])


def summary(run: Path) -> str:
    """The signals of every look, the verdict on the last one, what it cannot know, and its rule."""
    looks = read_records(run / "metrics.jsonl")
    lines = ["  ".join(f"{name:>16}" for name in ("step", *SIGNALS))]
    for look in looks:
        cells = [f"{look.step + 1}{' (before)' if look.warming_up else ''}", *(f"{look[name]:.3f}" for name in SIGNALS)]
        lines.append("  ".join(f"{cell:>16}" for cell in cells))
    verdict = judge(looks)
    return "\n".join([*lines, f"verdict: {verdict.word} ({verdict.reason})", LIMITS, f"rule: {RULE}"])


def _say(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tumour")
    parser.add_argument("ms")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=480, help="the default takes about ten minutes of one core")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
