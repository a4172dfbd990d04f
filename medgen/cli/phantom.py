"""``medgen phantom head``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from medgen.cli.parameters import DEFAULTS

app = App(
    name="phantom",
    help="Make virtual patients whose true anatomy and CT are known.",
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
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    say(str(table))
