"""A cohort of virtual patients with and without prostate cancer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case, write_cases
from medgen.cases.phantoms import MANIFEST, image_hashes
from medgen.errors import UsageError
from medgen.files import write_json
from medgen.phantom.grid import SliceGrid
from medgen.phantom.prostate.anatomy import EXTENT, draw_pelvis
from medgen.phantom.prostate.lesions import draw_findings
from medgen.phantom.prostate.scan import Streams, resampled, scan_diffusion, scan_t2w
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.workers import require_free, require_making, side_by_side, write_images
from medgen.types import Progress, Split
from medgen.volume import Kind

_LARGEST = 999
_SPACINGS = (0.4, 4.0)
_SCANNER = 2  # 0 and 1 are those of the head


@dataclass(frozen=True)
class _Job:
    out: Path
    name: str
    index: int
    positive: bool
    spacing: tuple[float, float, float]
    native_diffusion: bool
    contrast: float
    seed: int
    overwrite: bool


def make_prostate_phantom(
    out: str | Path,
    *,
    train: int = 64,
    validation: int = 0,
    test: int = 60,
    seed: int = 0,
    positive: float = 0.5,
    spacing: tuple[float, float, float] = (0.5, 0.5, 3.0),
    native_diffusion: bool = False,
    contrast: float = 1.0,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make a phantom for the detection of aggressive prostate cancer, one case table.

    The field is 96 x 96 x 57 mm. Nobody is in two splits, and a larger split has the people of a smaller one and some
    more. With and without a tumour, the rest of the same person is the same.

    Args:
        out: folder to write: ``<case>/<case>_<role>.nii.gz`` with the roles t2w, adc (1e-6 mm^2/s), hbv (b = 1400
            s/mm^2; int16 >= 0), label (0 background, 1 peripheral zone, 2 transition zone, 3 aggressive tumour), lesion
            (ISUP grade group 1 to 5) and mask (within 8 mm of the gland); ``cases.csv`` and ``phantom.json``.
        train: training cases.
        validation: validation cases.
        test: test cases.
        seed: chooses people, scanner and noise.
        positive: share of each split, 0 to 1, with a tumour of ISUP 2 or more; a third of the others has one of ISUP 1.
        spacing: voxel of T2W, label, lesion and mask along X, Y, Z in mm, each 0.4 to 4.
        native_diffusion: write adc and hbv on the 2 x 2 x 3 mm they are acquired with, not on the grid of T2W.
        contrast: factor on how much of its place a tumour takes, 0 to 1.5; lower is harder to see.
        overwrite: replace files of the same names.
        workers: processes; by default one a core. The result does not depend on it. With more than one, a script
            must call this under ``if __name__ == "__main__":``, because processes are started afresh.
        progress: called with (done, total, what).

    Returns:
        Path of ``cases.csv``.

    Raises:
        UsageError: an argument is out of range, or the folder holds a case table and ``overwrite`` is off.
        StorageError: the disk is full or the folder cannot be written.
    """
    out = Path(out)
    counts = {"train": train, "val": validation, "test": test}
    _check(counts, positive, spacing, contrast)
    require_making([seed], workers)
    require_free(out, overwrite)
    x, y, z = (float(size) for size in spacing)
    jobs = [
        _Job(
            out=out,
            name=f"prostate_{split}_{number:03d}",
            index=1000 * place + number,
            positive=_is_positive(number, positive),
            spacing=(x, y, z),
            native_diffusion=native_diffusion,
            contrast=float(contrast),
            seed=seed,
            overwrite=overwrite,
        )
        for place, (split, count) in enumerate(counts.items())
        for number in range(count)
    ]
    images = side_by_side(jobs, _make, workers, progress)
    settings: dict[str, Any] = {"cases": counts, "positive": float(positive), "spacing": [x, y, z]}
    settings |= {"native_diffusion": native_diffusion, "contrast": float(contrast)}
    hashes = image_hashes({job.name: paths for job, paths in zip(jobs, images, strict=True)})
    write_json(out / MANIFEST, {"anatomy": "prostate", **settings, "seed": seed, "images": hashes})
    splits: list[Split] = [split for split in ("train", "val", "test") for _ in range(counts[split])]
    cases = [Case(job.name, split, None, paths) for job, split, paths in zip(jobs, splits, images, strict=True)]
    return write_cases(cases, out / "cases.csv")


def _is_positive(number: int, share: float) -> bool:
    """Whether patient ``number`` of a split has an aggressive tumour: round(share * n) of the first n have."""
    before, after = (int(np.floor(count * share + 0.5 + 1e-9)) for count in (number, number + 1))
    return after > before


def _check(counts: dict[str, int], positive: float, spacing: tuple[float, ...], contrast: float) -> None:
    if min(counts.values()) < 0 or max(counts.values()) > _LARGEST or not sum(counts.values()):
        asked = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise UsageError(f"{asked} cases were asked for", fix="ask for 0 to 999 of each, and at least one")
    if not 0 <= positive <= 1:
        raise UsageError(f"the share of patients with a tumour is {positive}", fix="choose 0 to 1")
    if len(spacing) != 3 or not all(_SPACINGS[0] <= size <= _SPACINGS[1] for size in spacing):
        raise UsageError(
            f"the spacing is {' x '.join(map(str, spacing))} mm",
            fix=f"give three numbers from {_SPACINGS[0]} to {_SPACINGS[1]} mm",
        )
    if not 0 <= contrast <= 1.5:
        raise UsageError(f"the contrast of tumours is {contrast}", fix="choose 0 to 1.5")


def _make(job: _Job) -> dict[str, Path]:
    """Make and write one patient; gives the path of each role."""
    arrays = examine(job.index, job.seed, job.positive, job.spacing, job.native_diffusion, job.contrast)
    return write_images(arrays, job.out / job.name, overwrite=job.overwrite)


def examine(
    index: int,
    seed: int,
    positive: bool,
    spacing: tuple[float, float, float] = (0.5, 0.5, 3.0),
    native_diffusion: bool = False,
    contrast: float = 1.0,
) -> dict[str, tuple[NDArray[Any], NDArray[np.float64], Kind]]:
    """Arrays (X, Y, Z) of each role of one patient, their voxel index to mm, and how they are stored."""
    streams = Streams(Stream(seed, SUBJECT, index), Stream(seed, SCANNER, _SCANNER), Stream(seed, REALISATION, index))
    pelvis = draw_pelvis(streams.subject)
    findings = draw_findings(pelvis, streams.subject, positive=positive, contrast=contrast)
    grid = SliceGrid(EXTENT, spacing)
    on_t2w = scan_t2w(grid, pelvis, findings, streams)
    acquired, diffusion = scan_diffusion(pelvis, findings, streams)
    target = acquired if native_diffusion else grid
    arrays: dict[str, tuple[NDArray[Any], NDArray[np.float64], Kind]] = {"t2w": (on_t2w["t2w"], grid.affine, "hu")}
    for role, image in diffusion.items():
        arrays[role] = (np.rint(resampled(image, acquired, target)).astype(np.int16), target.affine, "hu")
    for role in ("label", "lesion", "mask"):
        arrays[role] = (on_t2w[role], grid.affine, "label")
    return arrays
