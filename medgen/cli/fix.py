"""``medgen fix``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import Output


def fix(
    volume: Annotated[Path, Parameter(name="INPUT")],
    /,
    *,
    output: Output,
    series: Annotated[str | None, Parameter(metavar="NUMBER")] = None,
    fill_gaps: bool = False,
    resample: bool = False,
    label: bool = False,
    geometry: Literal["sform", "qform"] | None = None,
    frame: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make one NIfTI volume of a series or file that is refused.

    Only what you allow is mended. Beside the volume, a file ending in .fix.json
    says what was done and which slices are interpolated. Look at the
    result. A volume without a fault is just converted.

    For example:

        medgen fix HBV -o hbv.nii.gz --fill-gaps
        medgen fix CT -o ct.nii.gz --series 4 --resample
        medgen fix label.nii.gz -o straight.nii.gz --resample --label

    Args:
        volume: the folder of a DICOM series, or a DICOM, NIfTI or MetaImage file.
        output: the NIfTI file to write.
        series: which series of a folder with several: its number or, where two have one, the name of one of its files.
        fill_gaps: interpolate missing slices between their neighbours; never beyond the first or last.
        resample: bring a tilted or sheared volume onto a straight grid, and uneven slices onto even ones. Outside
            the source stands the smallest value of the image.
        label: it is a label map: take the nearest voxel in place of linear interpolation.
        geometry: which one to believe where sform and qform disagree.
        frame: which volume of a 4D file, from 0.
        overwrite: replace what is there.
    """
    from medgen.cli.output import note, say
    from medgen.volume import repair_volume

    repaired = repair_volume(
        volume,
        series=series,
        fill_gaps=fill_gaps,
        resample=resample,
        label=label,
        geometry=geometry,
        frame=frame,
    )
    written = repaired.write(output, overwrite=overwrite)
    for text in repaired.volume.notes:
        note(f"note: {text}")
    for path in written:
        say(str(path))
