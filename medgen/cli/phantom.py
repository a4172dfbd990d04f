"""``medgen phantom head``, ``medgen phantom adaptation`` and ``medgen phantom prostate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS

app = App(
    name="phantom",
    help="Make virtual patients whose true anatomy, CT and lesions are known.",
    sort_key=2,
    default_parameter=DEFAULTS,
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Making:
    """Options of both phantoms.

    Args:
        seed: chooses the patients.
        spacing: voxel size in mm.
        overwrite: replace what is there.
        workers: processes that work at once; as many as there are cores by default.
    """

    seed: int = 0
    spacing: float = 2.0
    overwrite: bool = False
    workers: int | None = None


_USUAL = Making()


@app.command
def head(
    out: Path,
    /,
    *,
    subjects: int,
    domain: Literal["source", "target"] = "source",
    misalignment: float = 0.0,
    lesions: bool = False,
    stripped: bool = False,
    making: Making = _USUAL,
) -> None:
    """Make head phantoms: MR contrasts, CT in HU and a body mask.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom head phantom --subjects 8 --seed 0 --spacing 2

    Args:
        out: the folder to write; 'cases.csv' in it lists the images.
        subjects: how many virtual patients.
        domain: the scanner: 'source' or the shifted 'target'.
        misalignment: how far, in mm, the CT of training and validation is off the MR, as after an imperfect
            registration; test cases are exact.
        lesions: add contusions and their label, and other lesions that have none.
        stripped: keep the brain only; the mask is then the brain.
        making: seed, voxels and processes.
    """
    from medgen.phantom import make_head_phantom

    choice = {"domain": domain, "misalignment": misalignment, "lesions": lesions, "stripped": stripped}
    _make(make_head_phantom, out, making, subjects=subjects, **choice)


@app.command
def adaptation(
    out: Path,
    /,
    *,
    source: int = 20,
    target: int = 20,
    test: int = 24,
    source_test: int = 12,
    validation: tuple[int, int] = (4, 4),
    making: Making = _USUAL,
) -> None:
    """Make lesions to segment on two scanners: a labelled source and a target to adapt to.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom adaptation lesions --source 20 --target 20 --test 24 --seed 0

    Args:
        out: the folder to write; 'cases.csv' in it lists the images of both scanners.
        source: how many patients to train with on the source.
        target: how many patients to train with on the target.
        test: how many patients to test with on the target.
        source_test: how many patients to test with on the source.
        validation: how many patients to validate with, on the source and on the target.
        making: seed, voxels and processes.
    """
    from medgen.phantom import make_adaptation_phantom

    counts = {"source": source, "target": target, "test": test, "source_test": source_test, "validation": validation}
    _make(make_adaptation_phantom, out, making, **counts)


def _make(make: Callable[..., Path], out: Path, making: Making, **choice: Any) -> None:
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display

    with progress_display() as progress:
        table = make(out, **choice, **asdict(making), progress=progress)
    say(str(table))


@app.command
def prostate(
    out: Path,
    /,
    *,
    subjects: int | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    positive: float = 0.5,
    spacing: tuple[float, float, float] = (0.5, 0.5, 3.0),
    native_diffusion: bool = False,
    contrast: float = 1.0,
    overwrite: bool = False,
    workers: int | None = None,
) -> None:
    """Make patients with and without prostate cancer: T2W, ADC, high b, zones, tumours and their ISUP grade.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom prostate patients --train 64 --test 60 --seed 0

    Args:
        out: the folder to write; 'cases.csv' in it lists the images.
        subjects: how many patients, split into training, validation and test; or give the next three.
        train: how many patients to train with; 64 by default.
        validation: how many patients to validate with; none by default.
        test: how many patients to test with; 60 by default.
        seed: chooses the patients.
        positive: share of each split that has an aggressive tumour (ISUP 2 or more).
        spacing: voxel size of T2W in mm along X, Y and Z.
        native_diffusion: leave ADC and high b on the 2 x 2 x 3 mm they are acquired with.
        contrast: how solid tumours are; lower is harder to see.
        overwrite: replace what is there.
        workers: processes that work at once; as many as there are cores by default.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.errors import UsageError
    from medgen.phantom import default_splits, make_prostate_phantom

    if subjects is None:
        counts = (64 if train is None else train, validation or 0, 60 if test is None else test)
    elif (train, validation, test) == (None, None, None):
        counts = default_splits(subjects)
    else:
        raise UsageError(
            "--subjects splits the patients itself", fix="leave it out, or leave out --train, --validation and --test"
        )
    with progress_display() as progress:
        table = make_prostate_phantom(
            out,
            train=counts[0],
            validation=counts[1],
            test=counts[2],
            seed=seed,
            positive=positive,
            spacing=spacing,
            native_diffusion=native_diffusion,
            contrast=contrast,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    say(str(table))
