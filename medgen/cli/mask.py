"""``medgen mask``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import Output


def mask(
    source: Annotated[Path, Parameter(name="INPUT")],
    /,
    *,
    output: Output,
    part: Annotated[Literal["brain", "head"], Parameter(name="--of")] = "brain",
    role: str = "t1",
    strip: bool = False,
    model: str = "head-tissues",
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
) -> None:
    """Make brain or head masks of MR scans of any contrast.

    The shipped model head-tissues finds the tissues. It learnt from phantoms
    alone: look at the masks before you use them.

    For example:

        medgen mask t1.nii.gz -o mask.nii.gz
        medgen mask flair.nii.gz -o brain.nii.gz --strip
        medgen mask cases.csv --role t1 -o masked --strip

    Args:
        source: a volume or the folder of a DICOM series; or a case table.
        output: the NIfTI file to write; for a table a folder, whose cases.csv is the table with the column 'mask'.
        part: brain (with its fluid) or head.
        role: of a table, the image that the brain is found in.
        strip: of one scan, write it without what lies outside in place of the mask; of a table, write both: every
            image but CT and label maps is stripped, on its own grid.
        model: a run or a shipped model that finds grey, white and csf in one image.
        overwrite: replace what is there.
        resume: of a table, keep cases that are done.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.errors import UsageError
    from medgen.inference.masks import make_mask, mask_cases

    with progress_display() as progress:
        if source.suffix == ".csv":
            written = mask_cases(
                source,
                output,
                role=role,
                part=part,
                strip=strip,
                run=model,
                device=device,
                overwrite=overwrite,
                resume=resume,
                progress=progress,
            )
        elif resume:
            raise UsageError("--resume is for a case table, not for one scan", fix="leave it out, or give a .csv")
        else:
            written = make_mask(
                source,
                output,
                part=part,
                strip=strip,
                run=model,
                device=device,
                overwrite=overwrite,
                progress=progress,
            )
    say(str(written))
