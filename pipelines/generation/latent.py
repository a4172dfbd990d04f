"""What latent codes hold: probes of known phantom factors, traversals and a map, and reconstructions of real patients.

    python pipelines/generation/latent.py run --out runs/latent --data ../shared/data
    python pipelines/generation/latent.py page --out runs/latent

``run`` makes a phantom of brains on two scanners and trains four VAEs: of axial T1 slices, of whole T1 brains, and of
axial FLAIR slices of the phantom and of real patients. What is done already is skipped. ``--data`` holds brain_ms and
brain_tumour, see pipelines/generation/README.md; without it the real part is left out. About twelve processor minutes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np

from medgen.evaluation.factor_probes import probe_codes
from medgen.evaluation.reconstruction import reconstruct
from medgen.inference.code_map import write_code_map
from medgen.inference.encoding import encode
from medgen.inference.traversal import interpolate, traverse
from medgen.phantom import make_adaptation_phantom
from medgen.run.experiment import train

PAGE = Path(__file__).parents[2] / "docs" / "results" / "generation"
SEED = 2214
_SCHEDULE = {
    "learning_rate": {"kind": "cosine", "warmup": 0.03},
    "averaging": 0.99,
    "clip": 10,
    "validate_every": 400,
    "save_every": 400,
}
SLICES: dict[str, Any] = {
    "method": "vae",
    "config": {"code": "dense", "latent": 32, "width": 0.5, "levels": 3, "beta": 5},
    "data": {"inputs": ["t1"], "mask": "mask"},
    "preparation": {"spacing": None},
    "patches": {"size": [64, 64], "plane": "axial", "sampling": "centred", "augmentation": {"flip": ["x"]}},
    "schedule": {"steps": 1200, "batch": 16, **_SCHEDULE},
    "seed": 0,
}
"""Axial slices of 3.5 mm."""
BRAINS: dict[str, Any] = {
    **SLICES,
    "preparation": {"spacing": [7, 7, 7]},
    "patches": {"size": [24, 32, 24], "sampling": "centred", "augmentation": {"flip": ["x"]}},
    "schedule": {"steps": 1200, "batch": 8, **_SCHEDULE},
}
"""Whole brains of 7 mm."""
FLAIR: dict[str, Any] = {
    **SLICES,
    "data": {"inputs": ["flair"]},
    "preparation": {"spacing": [3.5, 3.5, 3.5]},
}
REAL = {
    "ms_07": ("brain_ms/patient07", "train"),
    "tumour_03": ("brain_tumour/brats_2013_pat0003", "train"),
    "tumour_04": ("brain_tumour/brats_2013_pat0004", "train"),
    "ms_19": ("brain_ms/patient19", "test"),
    "tumour_05": ("brain_tumour/brats_2013_pat0005", "test"),
    "tumour_06": ("brain_tumour/brats_2013_pat0006", "test"),
}
"""Folder and split of each real patient."""
FACTORS = {
    "csf_fraction": "atrophy (fluid share of the brain)",
    "lesion_ml": "lesion load (ml of contusion)",
    "domain": "scanner (with it noise and bias)",
}
PATCHES = 16
"""Slices of each patient whose reconstruction is scored."""


def main() -> None:
    """Run the study, or write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--out", type=Path, default=Path("runs/latent"))
    parser.add_argument("--data", type=Path, help="folder of the real images")
    options = parser.parse_args()
    if options.what == "run":
        run(options.out, options.data)
    else:
        write_page(options.out)


def run(out: Path, data: Path | None) -> None:
    """Everything that takes time."""
    phantom = out / "phantom" / "cases.csv"
    if not phantom.is_file():
        make_adaptation_phantom(
            phantom.parent,
            source=24,
            target=24,
            test=18,
            source_test=18,
            pair="first",
            seed=SEED,
            spacing=3.5,
            workers=1,
        )
    for name, recipe in (("slices", SLICES), ("brains", BRAINS), ("flair", FLAIR)):
        trained(recipe, phantom, out / name)
    for name in ("slices", "brains"):
        probed(out, name, phantom)
    pictures(out, phantom)
    if data is not None:
        real = real_table(data.resolve(), out / "real.csv")
        trained(FLAIR, real, out / "flair_real")
        for name in ("flair", "flair_real"):
            reconstruct(out / name, real, out / f"{name}_on_real", patches=PATCHES, split="test", overwrite=True)
            encode(out / name, real, out / f"{name}_real.csv", patches=PATCHES, overwrite=True)
        reconstruct(out / "flair", phantom, out / "flair_on_phantom", patches=PATCHES, split="test", overwrite=True)
        write_code_map(
            out / "flair_real",
            out / "flair_real_real.csv",
            out / "real_map.png",
            colour="case_name",
            table=names_of(real, out / "names.csv"),
            overwrite=True,
        )


def trained(recipe: dict[str, Any], cases: Path, folder: Path) -> None:
    """Train once; the processor seconds stand in a file beside the run."""
    if (folder / "model" / "model.json").is_file():
        return
    before = resource.getrusage(resource.RUSAGE_SELF)
    train(recipe, cases, folder, device="cpu")
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    folder.with_name(f"{folder.name}_seconds.json").write_text(json.dumps(round(spent)))


def probed(out: Path, name: str, cases: Path) -> None:
    """Codes of all patients, and probes of these, of pixels, and of the network without training."""
    codes = encode(out / name, cases, out / f"{name}.csv", device="cpu", overwrite=True)
    probes = probe_codes(
        codes, cases.with_name("factors.csv"), factors=list(FACTORS), run=out / name, cases=cases, seed=0
    )
    (out / f"{name}_probes.json").write_text(json.dumps(probes.as_dict(), indent=2, default=list))


def pictures(out: Path, cases: Path) -> None:
    """Traversals and a map of slices, an interpolation of whole brains."""
    codes, factors = out / "slices.csv", cases.with_name("factors.csv")
    options: dict[str, Any] = {"overwrite": True, "device": "cpu"}
    traverse(out / "slices", out / "components", codes=codes, along="components", count=4, **options)
    traverse(out / "slices", out / "fluid", codes=codes, factor="csf_fraction", table=factors, **options)
    write_code_map(
        out / "slices", codes, out / "map.png", colour="csf_fraction", table=factors, thumbnails=24, **options
    )
    interpolate(out / "brains", cases, out / "way", "source_test_000", "target_test_000", **options)


def real_table(data: Path, path: Path) -> Path:
    """The case table of the real patients."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "split", "flair"])
        writer.writerows([name, split, data / folder / "flair.nii.gz"] for name, (folder, split) in REAL.items())
    return path


def names_of(table: Path, path: Path) -> Path:
    """A table with the name of each case as a column, for the colours of a map."""
    with table.open() as read, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "case_name"])
        writer.writerows([row["case"], f"{row['case']} ({row['split']})"] for row in csv.DictReader(read))
    return path


def write_page(out: Path) -> None:
    """The numbers as JSON and as a page, with remarks that a person wrote; no image of a real patient."""
    found = results(out)
    (PAGE / "latent.json").write_text(json.dumps(found, indent=2) + "\n")
    lines = ["# What latent codes hold", "", HEAD, "", "## Known factors, told by a linear probe", ""]
    lines += probe_lines(found["probes"])
    lines += [
        "",
        "![The direction of fluid in the codes of slices](latent_fluid.png)",
        "",
        "![Map of the codes of slices](latent_map.png)",
    ]
    if found["real"]:
        lines += ["", "## Real patients", "", *real_lines(found["real"])]
    remarks = PAGE / "latent_remarks.md"
    text = "\n".join([*lines, "", remarks.read_text().rstrip() if remarks.is_file() else ""]).rstrip() + "\n"
    (PAGE / "latent.md").write_text(text)
    sources = {"fluid/traversal_csf_fraction.png": "fluid", "map.png": "map", "components/traversal.png": "components"}
    for source, name in sources.items():
        shrink(out / source, PAGE / ("latent.png" if name == "components" else f"latent_{name}.png"))


HEAD = (
    f"Brains of a phantom on two scanners (92 patients, seed {SEED}) and VAEs of 1200 steps: axial T1 slices, 64 x 64 "
    "at 3.5 mm (the middle one of each patient), and whole T1 brains, 24 x 32 x 24 at 7 mm. Code of 32 numbers, seed "
    "0. Probes are ridge and logistic regressions, cross-validated over patients; in brackets the 95 % interval over "
    "patients. Training needs no factor, so the codes of its patients are probed with those of the others. One of two "
    "x86 cores, 2026-11-29; processor seconds of the trainings are in `latent.json`. Commands: "
    "`pipelines/generation/latent.py`.\n\n![Principal components of the codes of slices](latent.png)"
)


def results(out: Path) -> dict[str, Any]:
    """All numbers of the page."""
    probes = {name: json.loads((out / f"{name}_probes.json").read_text()) for name in ("slices", "brains")}
    real = {}
    for name in ("flair_real_on_real", "flair_on_real", "flair_on_phantom"):
        if (path := out / name / "scores.json").is_file():
            scores = json.loads(path.read_text())
            real[name] = {"cases": scores["cases"] if name.endswith("real") else [], "summary": scores["summary"]}
    seconds = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("*_seconds.json"))}
    return {"probes": probes, "real": real, "seconds": seconds}


def probe_lines(probes: dict[str, Any]) -> list[str]:
    """A row a factor and model."""
    lines = ["| factor | images | metric | codes | pixels | the same network, untrained |", "|---|---|---|---|---|---|"]
    for factor, said in FACTORS.items():
        for name, content in probes.items():
            row = next(each for each in content["factors"] if each["factor"] == factor)
            metric = {"r2": "R²", "auroc": "AUROC"}[row["codes"]["metric"]]
            cells = " | ".join(_cell(row[kind]) for kind in ("codes", "pixels", "untrained"))
            lines.append(f"| {said} | {name} | {metric} | {cells} |")
    return lines


def _cell(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['value']:.2f} ({low:.2f} to {high:.2f})"


def real_lines(real: dict[str, Any]) -> list[str]:
    """Reconstruction of real patients that neither model has seen, and of phantoms for scale."""
    keys = ("mae", "ssim", "psnr", "gradient_energy_ratio")
    rows = ["| model learnt from | scored on | MAE (normalised) | SSIM | PSNR (dB) | gradient energy ratio |"]
    rows.append("|---|---|---|---|---|---|")
    learnt = {"flair_real_on_real": "3 real patients", "flair_on_real": "48 phantoms"}
    for name, said in learnt.items():
        for case in real[name]["cases"]:
            rows.append(f"| {said} | {case['case']} | " + " | ".join(f"{case[key]:.2f}" for key in keys) + " |")
    summary = real["flair_on_phantom"]["summary"]
    means = " | ".join(f"{summary[key]['mean']:.2f}" for key in keys)
    return [*rows, f"| 48 phantoms | 36 phantoms | {means} |"]


def shrink(source: Path, target: Path, most: int = 800) -> None:
    """A copy of a picture, at most ``most`` pixels wide and in grey where it has no colour, to keep the docs small."""
    from skimage.io import imread, imsave
    from skimage.transform import resize

    image = imread(source)[..., :3] / 255
    factor = min(1.0, most / image.shape[1])
    size = tuple(round(side * factor) for side in image.shape[:2])
    small = resize(image, (*size, 3), anti_aliasing=True)
    grey = np.ptp(small, axis=2).max() < 0.15
    imsave(target, np.rint(255 * (small.mean(axis=2) if grey else small)).astype(np.uint8), check_contrast=False)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
