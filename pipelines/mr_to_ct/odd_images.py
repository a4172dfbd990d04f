"""How often the warning on odd images fires: on held-out phantom heads, and on images that are none of a head's T1.

    python pipelines/mr_to_ct/odd_images.py --out runs/odd_images --data DATA

A model's warning depends on its training images alone, so no network is trained: the training sets of several seeds
are prepared as `medgen train` does, and every image is prepared and compared as `medgen predict` does. Each seed is a
scanner with its own gain, noise and bias field. DATA (optional) is a folder with mr_ct/porcine, brain_ms, brain_tumour
and prostate, see `ODD`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import Case, read_cases
from medgen.errors import InputError
from medgen.files import write_json
from medgen.phantom import make_head_phantom
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.volume import Volume, read_volume

TRAINED, HELD_OUT = range(100, 105), range(200, 210)
SIZES = {"12 training, 3 validation cases": (12, 3), "5 training, 1 validation case": (5, 1)}
HEADS = (12, 3, 5)
ODD = {
    "pork, T2": "mr_ct/porcine/test_t2.nii.gz",
    "pork, T2, other slab": "mr_ct/porcine/train_t2.nii.gz",
    "pork, CT": "mr_ct/porcine/test_ct.nii.gz",
    "prostate, T2 (0000)": "prostate/ProstateX-0000/t2w.nii.gz",
    "prostate, T2 (0001)": "prostate/ProstateX-0001/t2w.nii.gz",
    "MS, T1, brain alone (07)": "brain_ms/patient07/t1.nii.gz",
    "MS, T1, brain alone (19)": "brain_ms/patient19/t1.nii.gz",
    "MS, FLAIR, brain alone (07)": "brain_ms/patient07/flair.nii.gz",
    "glioma, T1c, z-scored": "brain_tumour/brats_2013_pat0005/t1c.nii.gz",
}


def _streaks(volume: Volume) -> Volume:
    """Bright rays from one point, as of metal, in the middle third of the slices."""
    data = volume.data.copy()
    x, y, z = volume.shape
    across, along = np.meshgrid(np.arange(x) - 0.6 * x, np.arange(y) - 0.4 * y, indexing="ij")
    rays = np.sin(9 * np.arctan2(along, across)) > 0.9
    data[0, :, :, z // 3 : 2 * z // 3][rays] += 1.5 * np.percentile(data, 99)
    return volume.with_data(data)


def _turned(volume: Volume, *axes: int) -> Volume:
    return volume.with_data(np.flip(volume.data, [1 + axis for axis in axes]).copy())


def _without_top(volume: Volume) -> Volume:
    data = volume.data.copy()
    data[..., volume.shape[2] // 2 :] = 0
    return volume.with_data(data)


CHANGED: dict[str, Callable[[Volume], Volume]] = {
    "upside down": lambda volume: _turned(volume, 2),
    "Y and Z exchanged": lambda volume: replace(volume, data=np.swapaxes(volume.data, 2, 3).copy()),
    "back to front": lambda volume: _turned(volume, 1),
    "left to right": lambda volume: _turned(volume, 0),
    "values x 1000": lambda volume: volume.with_data(1000 * volume.data),
    "values / 1000": lambda volume: volume.with_data(volume.data / 1000),
    "contrast inverted": lambda volume: volume.with_data(volume.data.max() - volume.data),
    "streaks": _streaks,
    "upper half missing": _without_top,
}


def main() -> None:
    """Make the heads, count the warnings, write the table."""
    options = _arguments()
    out = Path(options.out)
    cohorts = {seed: _heads(out, seed, options.spacing) for seed in (*TRAINED, *HELD_OUT)}
    base = Preparation(Roles(inputs=("t1",)), PreparationConfig(spacing=(options.spacing,) * 3))
    models = {
        (name, seed): build_store(
            [*cohorts[seed][:train], *cohorts[seed][HEADS[0] :][:val]], base, out / "store"
        ).preparation
        for name, (train, val) in SIZES.items()
        for seed in TRAINED
    }
    held_out = {(seed, case.name): _prepared(base, case.path("t1")) for seed in cohorts for case in cohorts[seed]}
    same = {seed: [case.name for case in cohorts[seed][sum(HEADS[:2]) :]] for seed in TRAINED}
    odd = _odd(base, cohorts[HELD_OUT[0]], Path(options.data) if options.data else None)
    found: dict[str, Any] = {"false alarms": {}, "detected": {}, "limits": {}}
    for name in SIZES:
        ours = {seed: models[name, seed] for seed in TRAINED}
        found["limits"][name] = [each.calibration.limit for each in ours.values() if each.calibration]
        others = [(each, key) for each in ours.values() for key in held_out if key[0] in HELD_OUT]
        own = [(ours[seed], (seed, case)) for seed in TRAINED for case in same[seed]]
        for scanner, pairs in (("other scanners", others), ("the same scanner", own)):
            fired = sum(bool(each.unlike_training(held_out[key])) for each, key in pairs)
            found["false alarms"][f"{name}, {scanner}"] = [fired, len(pairs)]
        found["detected"][name] = {what: _fired(ours.values(), images) for what, images in odd.items()}
    write_json(out / "results.json", found)
    (out / "results.md").write_text(_table(found))
    print(_table(found))


def _fired(models: Iterable[Preparation], images: list[Any]) -> list[int]:
    """How many images are warned of, and how many there are, over all models."""
    warned = [bool(each.unlike_training(image)) for each in models for image in images]
    return [sum(warned), len(warned)]


def _heads(out: Path, seed: int, spacing: float) -> list[Case]:
    folder = out / "heads" / str(seed)
    if not (folder / "cases.csv").is_file():
        make_head_phantom(folder, subjects=sum(HEADS), seed=seed, spacing=spacing, splits=HEADS, workers=1)
    return list(read_cases(folder / "cases.csv").cases)


def _prepared(preparation: Preparation, image: Any) -> Any:
    return preparation.prepare({"t1": image if isinstance(image, Volume) else read_volume(image)})


def _odd(preparation: Preparation, heads: list[Case], data: Path | None) -> dict[str, list[Any]]:
    """By kind, prepared images; ten heads for what is made of heads."""
    heads = heads[:10]
    images = {f"phantom {role}": [case.path(role) for case in heads] for role in ("ct", "t2", "pd", "flair", "ge")}
    images |= {
        f"phantom t1, {what}": [f(read_volume(case.path("t1"))) for case in heads] for what, f in CHANGED.items()
    }
    images |= {what: [data / file] for what, file in ODD.items() if data}
    prepared: dict[str, list[Any]] = {}
    for what, each in images.items():
        try:
            prepared[what] = [_prepared(preparation, image) for image in each]
        except InputError as error:
            print(f"{what}: refused, {error.what}")
    return prepared


def _table(found: dict[str, Any]) -> str:
    lines = ["| given as T1 of a head | " + " | ".join(SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    for scanner in ("the same scanner", "other scanners"):
        cells = [found["false alarms"][f"{name}, {scanner}"] for name in SIZES]
        lines.append(f"| held-out phantom heads, {scanner} (false alarms) | " + " | ".join(map(_of, cells)) + " |")
    for what in found["detected"][next(iter(SIZES))]:
        lines.append(f"| {what} | " + " | ".join(_of(found["detected"][name][what]) for name in SIZES) + " |")
    return "\n".join(lines) + "\n"


def _of(counts: list[int]) -> str:
    return f"{counts[0]} of {counts[1]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--data", help="folder of real images")
    parser.add_argument(
        "--spacing", type=float, default=4.0, help="voxel in mm, of the phantoms and of the preparation"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
