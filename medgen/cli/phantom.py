"""``medgen phantom head`` and ``medgen phantom adaptation``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from medgen.cli.parameters import DEFAULTS

app = App(
    name="phantom",
    help="Make virtual patients whose true anatomy, CT and lesions are known.",
    sort_key=2,
    default_parameter=DEFAULTS,
)


@app.command
def head(
    out: Path,
    /,
    *,
    subjects: int,
    seed: int = 0,
    domain: Literal["source", "target"] = "source",
    spacing: float = 2.0,
    misalignment: float = 0.0,
    lesions: bool = False,
    stripped: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> None:
    """Make head phantoms: MR contrasts, CT in HU and a body mask.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom head phantom --subjects 8 --seed 0 --spacing 2

    Args:
        out: the folder to write; 'cases.csv' in it lists the images.
        subjects: how many virtual patients.
        seed: chooses the patients.
        domain: the scanner: 'source' or the shifted 'target'.
        spacing: voxel size in mm.
        misalignment: how far, in mm, the CT of training and validation is off the MR, as after an imperfect
            registration; test cases are exact.
        lesions: add contusions and their label, and other lesions that have none.
        stripped: keep the brain only; the mask is then the brain.
        overwrite: replace what is there.
        workers: processes that work at once; as many as there are cores by default.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.phantom import make_head_phantom

    with progress_display() as progress:
        table = make_head_phantom(
            out,
            subjects=subjects,
            seed=seed,
            domain=domain,
            spacing=spacing,
            misalignment=misalignment,
            lesions=lesions,
            stripped=stripped,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    say(str(table))


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
    seed: int = 0,
    spacing: float = 2.0,
    overwrite: bool = False,
    workers: int | None = None,
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
        seed: chooses the patients.
        spacing: voxel size in mm.
        overwrite: replace what is there.
        workers: processes that work at once; as many as there are cores by default.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.phantom import make_adaptation_phantom

    with progress_display() as progress:
        table = make_adaptation_phantom(
            out,
            source=source,
            target=target,
            test=test,
            source_test=source_test,
            validation=validation,
            seed=seed,
            spacing=spacing,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    say(str(table))
