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
    drop_copies: bool = False,
    label: bool = False,
    geometry: Literal["sform", "qform"] | None = None,
    frame: int | None = None,
    overwrite: bool = False,
) -> None:
    """Repair a DICOM series or volume that medgen refuses; write NIfTI.

    Only the repairs that you allow are made. A second file, ending in
    .fix.json, records them and the slices that were interpolated. Check
    the result by eye. A volume without a fault is only converted.

    For example:

        medgen fix HBV -o hbv.nii.gz --fill-gaps
        medgen fix CT -o ct.nii.gz --series 4 --resample
        medgen fix label.nii.gz -o straight.nii.gz --resample --label

    Args:
        volume: the folder of a DICOM series, or a DICOM, NIfTI or MetaImage file.
        output: the NIfTI file to write.
        series: the series to read from a folder with several: its number, or the name of one of its files if two
            series have the same number.
        fill_gaps: interpolate missing slices from their neighbours; never before the first or after the last slice.
        resample: resample a tilted or sheared volume to a rectangular grid, and uneven slices to even ones; voxels
            outside the source get the smallest value of the image.
        drop_copies: leave out slices that copy another slice at the same position exactly; slices that differ are
            still an error.
        label: the volume is a label map: interpolate by nearest neighbour instead of linearly.
        geometry: the header field to trust if sform and qform disagree.
        frame: number of the volume in a 4D file, from 0.
        overwrite: replace an existing output file.
    """
    from medgen.cli.output import note, say
    from medgen.volume import repair_volume
    from medgen.volume.repair import repaired_files

    repaired_files(output, [volume], overwrite=overwrite)
    repaired = repair_volume(
        volume,
        series=series,
        fill_gaps=fill_gaps,
        resample=resample,
        drop_copies=drop_copies,
        label=label,
        geometry=geometry,
        frame=frame,
    )
    written = repaired.write(output, overwrite=overwrite)
    for text in repaired.volume.notes:
        note(f"note: {text}")
    for path in written:
        say(str(path))
