"""Which odd images a generative model tells from those of its training, by which score.

    medgen phantom head heads --subjects 40 --spacing 3.5 --seed 7
    python pipelines/generation/novelty.py train --cases heads/cases.csv --out novelty
    python pipelines/generation/novelty.py score --cases heads/cases.csv --out novelty
    python pipelines/generation/novelty.py real --data DATA --out novelty
    python pipelines/generation/novelty.py page --out novelty

What is done already is skipped. A test patient is scored as it is and changed in every way of `CHANGES`, as
`medgen predict --guard` does: changed in the file, prepared, 16 slices in the body. Settings were chosen on other
phantoms (seed 412). DATA is a folder with brain_ms, mr_ct/porcine and prostate.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from novelty_page import write_page

from medgen.cases import Case, read_cases, write_cases
from medgen.files import write_json
from medgen.inference.novelty import COMBINED, load_novelty, novelty_file
from medgen.inference.novelty_fitting import fit_novelty, novelty_of
from medgen.inference.oddness import CaseScores, score_prepared
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Places
from medgen.phantom import make_head_phantom
from medgen.preparation import Prepared
from medgen.preparation.likeness import distance
from medgen.volume import Volume, read_volume

RECIPE = Path(__file__).with_name("novelty.yaml")
FLOW = {"method": "realnvp", "config": "{levels: 3, couplings: 2, width: 0.5}", "schedule.steps": 400}
OTHER_SCANNERS, HEADS = range(200, 204), 3
REAL_SLICES = 40
SHORT = {"schedule.steps": 300, "schedule.validate_every": 300, "schedule.save_every": 300}
"""Of the trainings on one patient, who has few slices."""


class Run(NamedTuple):
    """One training: what differs from the recipe."""

    name: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Its name in the folder of the study."""
        return f"{self.name}_{self.seed}"


# Seeds of the flow are what they are: a slip in the first script took the clock for two of them.
RUNS = [
    *(Run("vae", seed, {}) for seed in range(3)),
    *(Run("realnvp", seed, FLOW) for seed in (1795978275, 1795978503)),
    Run("two_channels", 0, {"data.inputs": "[t1, t2]"}),
]


def motion(volume: Volume, millimetres: float) -> Volume:
    """Ghosts of a head that nods back and forth along y, the phase-encoding axis, seven lines of k-space a period."""
    count = volume.shape[1]
    line = np.arange(count)
    shift = millimetres / volume.spacing[1] * np.sin(2 * np.pi * line / 7)
    frequency = np.fft.fftshift(np.fft.fftfreq(count))  # lines are measured from one end of k-space to the other
    phase = np.fft.ifftshift(np.exp(-2j * np.pi * frequency * shift))
    space = np.fft.fft(volume.data.astype(np.float64), axis=2) * phase[None, None, :, None]
    return volume.with_data(np.abs(np.fft.ifft(space, axis=2)).astype(np.float32))


def noise(volume: Volume, share: float) -> Volume:
    """Rician noise of a share of the 99th percentile."""
    generator, sigma = np.random.default_rng(0), share * np.percentile(volume.data, 99)
    real, imaginary = (sigma * generator.standard_normal(volume.data.shape) for _ in range(2))
    return volume.with_data(np.hypot(volume.data + real, imaginary).astype(np.float32))


def flipped(volume: Volume, axis: int) -> Volume:
    """Turned round along an axis; phantoms lie along x, y and z."""
    return volume.with_data(np.flip(volume.data, 1 + axis).copy())


CHANGES: dict[str, tuple[str, Callable[[Volume], Volume]]] = {
    **{f"{role.upper()} given as T1": (role, lambda volume: volume) for role in ("t2", "pd", "flair", "ge", "ct")},
    "motion of 5 mm": ("t1", lambda volume: motion(volume, 5)),
    "motion of 2 mm": ("t1", lambda volume: motion(volume, 2)),
    "noise of 10 %": ("t1", lambda volume: noise(volume, 0.1)),
    "noise of 3 %": ("t1", lambda volume: noise(volume, 0.03)),
    "upside down": ("t1", lambda volume: flipped(volume, 2)),
    "back to front": ("t1", lambda volume: flipped(volume, 1)),
    "left to right": ("t1", lambda volume: flipped(volume, 0)),
    "Y and Z exchanged": ("t1", lambda volume: replace(volume, data=np.swapaxes(volume.data, 2, 3).copy())),
}
"""By name, the role of the file that is given as T1, and what is done to it."""


def train(options: argparse.Namespace) -> None:
    """Train what is not trained, and fit the novelty score."""
    for run in RUNS:
        folder = options.out / run.folder
        fit(folder, options.cases, {"seed": run.seed, **run.settings}, options.out / "store")
        if not novelty_file(folder).is_file():
            fit_novelty(folder, options.cases, device="cpu")


def fit(folder: Path, cases: Path, settings: Mapping[str, Any], store: Path) -> None:
    """Train in a process of its own with one thread, unless it is done."""
    if (folder / "model" / "model.json").is_file():
        return
    command = [sys.executable, "-m", "medgen", "train", str(RECIPE), "--cases", str(cases), "--out", str(folder)]
    command += ["--store", str(store), "--device", "cpu"]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command += ["--resume"] if (folder / "recipe.yaml").is_file() else []
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def score(options: argparse.Namespace) -> None:
    """Write the scores of the test patients, as they are and changed, and of heads of other scanners."""
    cases = read_cases(options.cases).select(split="test")
    others = [case for seed in OTHER_SCANNERS for case in _heads(options.out / "scanners" / str(seed), seed)]
    for run in RUNS:
        path = options.out / f"{run.folder}_scores.json"
        if path.is_file() or not novelty_file(options.out / run.folder).is_file():
            continue
        model, before = open_model(options.out / run.folder, "cpu", []), _seconds()
        two = len(model.known.preparation.roles.inputs) > 1
        images = _two_channels(model, cases) if two else _one_channel(model, cases, others)
        rows = [_judged(model, *each) for each in images]
        novelty = load_novelty(model)
        facts = {"run": run.name, "seed": run.seed, **model.origin, "limit": novelty.limit}
        facts |= {"held_out": len(novelty.combined), "training": novelty.training_cases}
        facts |= {"processor_seconds": round(_seconds() - before)}
        facts |= {"score": _last_score(options.out / run.folder)}
        write_json(path, {**facts, "rows": rows})


def _one_channel(model: Opened, cases: tuple[Case, ...], others: list[Case]) -> Iterator[tuple[str, str, Prepared]]:
    prepare = model.known.preparation.prepare
    for case in cases:
        volumes = {role: read_volume(case.images[role]) for role in ("t1", "t2", "pd", "flair", "ge", "ct")}
        yield "usual", case.name, prepare({"t1": volumes["t1"]})
        for what, (role, change) in CHANGES.items():
            yield what, case.name, prepare({"t1": change(volumes[role])})
    for number, case in enumerate(others):
        yield "other scanners", f"other_{number}", prepare({"t1": read_volume(case.images["t1"])})


def _two_channels(model: Opened, cases: tuple[Case, ...]) -> Iterator[tuple[str, str, Prepared]]:
    """A channel of zeros is the mean of a z-scored body, which training with channel dropout has in its place.

    It is made after the preparation, which refuses a file of one value, so the 43 numbers do not exist.
    """
    prepare = model.known.preparation.prepare
    for case in cases:
        t1, t2 = (read_volume(case.images[role]) for role in ("t1", "t2"))
        usual = prepare({"t1": t1, "t2": t2})
        yield "usual", case.name, usual
        for number, role in enumerate(("T1", "T2")):
            missing = usual.image.copy()
            missing[number] = 0
            yield f"{role} missing, zeros in its place", case.name, replace(usual, image=missing, fingerprint={})
        yield "T1 given twice", case.name, prepare({"t1": t1, "t2": t1})
        yield "T2 given twice", case.name, prepare({"t1": t2, "t2": t2})
        yield "T1 and T2 exchanged", case.name, prepare({"t1": t2, "t2": t1})
        yield "T2 back to front", case.name, prepare({"t1": t1, "t2": flipped(t2, 1)})


def _judged(model: Opened, what: str, case: str, prepared: Prepared) -> dict[str, Any]:
    """The scores of an image, and those of the 43 numbers; whether each warns."""
    novelty, known = load_novelty(model), model.known.preparation
    judged = novelty.judge(score_prepared(model, case, prepared, novelty.places))
    return {
        "what": what,
        "case": case,
        **judged.scores,
        "numbers": distance(prepared.fingerprint, known.training) if prepared.fingerprint else None,
        "warns": judged.scores[COMBINED] > novelty.limit,
        "numbers_warn": bool(known.unlike_training(prepared)) if prepared.fingerprint else None,
    }


def real(options: argparse.Namespace) -> None:
    """Train on the T2 of one MS patient each time; score that of the other, and T2 that shows no brain."""
    folder = options.data / "brain_ms"
    usual = {name: folder / name / "t2.nii.gz" for name in ("patient07", "patient19")}
    odd = {
        "porcine T2": [options.data / "mr_ct" / "porcine" / f"{slab}_t2.nii.gz" for slab in ("train", "test")],
        "prostate T2": [
            options.data / "prostate" / f"ProstateX-{number}" / "t2w.nii.gz" for number in ("0000", "0001")
        ],
        "brain, FLAIR given as T2": [folder / name / "flair.nii.gz" for name in usual],
        "brain, T1 given as T2": [folder / name / "t1.nii.gz" for name in usual],
    }
    rows = []
    for trained, held_out in (tuple(usual), tuple(usual)[::-1]):
        run = options.out / f"real_vae_{trained}"
        table = write_cases([Case(trained, "train", None, {"t2": usual[trained]})], options.out / f"{trained}.csv")
        fit(run, table, {"data": "{inputs: [t2]}", **SHORT}, options.out / "store")
        images = [("usual", held_out, usual[held_out]), ("trained on", trained, usual[trained])]
        images += [(what, f"{file.parent.name}/{file.name}", file) for what, files in odd.items() for file in files]
        found = _real_scores(open_model(run, "cpu", []), images)
        rows += [{"run": "vae", "trained": trained, **row} for row in found]
    write_json(options.out / "real_scores.json", rows)


def _real_scores(model: Opened, images: list[tuple[str, str, Path]]) -> list[dict[str, Any]]:
    """Scores of slices: one patient alone gives no held-out cases, so there are no limits."""
    known, places = model.known.preparation, Places(REAL_SLICES, 0)
    prepared = {name: known.prepare({"t2": read_volume(file)}) for _, name, file in images}
    scored = {name: score_prepared(model, name, each, places) for name, each in prepared.items()}
    trained = next(name for what, name, _ in images if what == "trained on")
    # The novelty score of slices in place of cases: what is usual is what the slices of the training patient are.
    origin = {"weights_sha256": "", "cases_sha256": ""}
    reference = novelty_of(_slices(scored[trained]), _slices(scored[trained]), places, origin)
    return [
        {
            "what": what,
            "case": name,
            "numbers": distance(prepared[name].fingerprint, known.training),
            "slices": [reference.judge(each).scores for each in _slices(scored[name])],
        }
        for what, name, _ in images
    ]


def _slices(case: CaseScores) -> list[CaseScores]:
    return [replace(case, patches=(each,)) for each in case.patches]


def _heads(folder: Path, seed: int) -> tuple[Case, ...]:
    if not (folder / "cases.csv").is_file():
        make_head_phantom(folder, subjects=HEADS, seed=seed, spacing=3.5, splits=(0, 0, HEADS), workers=1)
    return read_cases(folder / "cases.csv").cases


def _last_score(folder: Path) -> dict[str, float]:
    """The last validation of a run."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found = [each["validation"] for each in lines if each.get("validation")]
    return found[-1] if found else {}


def _seconds() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "score", "real", "page"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--data", type=Path, help="folder of real images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--machine", default="one of two x86 cores, 29 November 2026")
    options = parser.parse_args()
    needed = {"train": "cases", "score": "cases", "real": "data"}.get(options.part)
    if needed and getattr(options, needed) is None:
        parser.error(f"'{options.part}' needs --{needed}")
    if options.part == "page":
        write_page(options.out, options.machine)
    else:
        {"train": train, "score": score, "real": real}[options.part](options)


if __name__ == "__main__":
    main()
