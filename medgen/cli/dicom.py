"""``medgen dicom list`` and ``medgen dicom write``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, Output

if TYPE_CHECKING:
    from medgen.dicom.studies import FoundSeries

app = App(
    name="dicom",
    help="See what a DICOM study holds, and write results into it.",
    sort_key=4.7,
    default_parameter=DEFAULTS,
)


@app.command(name="list")
def list_series(folder: Path, /) -> None:
    """List the series in a folder with everything below it, or in a zip file.

    Each series is shown with what it could be, by its header: T1, T2W, FLAIR,
    ADC, DWI, high b (of diffusion, from 800 s/mm2), SWI, GE, CT, localizer.
    That is a guess to look at, not a decision. Patients and studies are
    numbered as they are found; nothing that names a patient is shown but
    folders and what was written as the description of a series.

    For example:

        medgen dicom list download
        medgen dicom list study.zip --json

    Args:
        folder: a folder, a zip file, or one DICOM file.
    """
    from dataclasses import asdict

    from medgen.cli.output import answer, show_table
    from medgen.cli.progress import progress_display
    from medgen.dicom.studies import list_studies

    with progress_display() as progress:
        found = list_studies(folder, progress=progress)
    answer([asdict(each) for each in found])
    columns = (
        "patient",
        "study",
        "series",
        "modality",
        "description",
        "b-values",
        "images",
        "size",
        "could be",
        "where",
    )
    show_table(columns, [_row(each) for each in found])


def _row(each: FoundSeries) -> tuple[str, ...]:
    return (
        str(each.patient),
        str(each.study),
        each.number,
        each.modality,
        each.description,
        ", ".join(map(str, each.b_values)) if any(each.b_values) else "",
        str(each.images),
        " x ".join(map(str, each.size)),
        each.could_be,
        each.where,
    )


@app.command
def write(
    result: Path,
    /,
    *,
    source: Path,
    output: Output,
    kind: Annotated[Literal["ct", "labels", "contours", "map"], Parameter(name="--as")],
    classes: Annotated[str | None, Parameter(metavar="NAMES")] = None,
    description: str | None = None,
    series: str | None = None,
    anonymize: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a result as DICOM into the study of the series that it was made from.

    It lies on the slices of that series. Where the result has another grid,
    because the series was mended with 'medgen fix' before, it is
    interpolated at the voxels that the series has, and a label map takes the
    nearest. The series says that it is not for clinical use.
    'medgen predict --dicom' does the same with what it predicts.

    For example:

        medgen dicom write ct.nii.gz --as ct --source T1 -o T1_ct
        medgen dicom write l.nii.gz --as labels --classes lesion --source T2 -o seg
        medgen dicom write l.nii.gz --as contours --classes a --source T2 -o rt
        medgen dicom write p.nii.gz --as map --source T2 -o map

    Args:
        result: a volume, such as 'medgen predict' writes.
        source: the folder of the series, or its one file.
        output: the folder to make.
        kind: ct, for a CT in HU: a series. labels, for a label map: a segmentation of each class. contours, for a
            label map: the outlines of all classes, as an RT structure set. map, for any other numbers: a parametric
            map. Labels and map need the extra 'dicom'.
        classes: of a label map, the names of its values from 1 on, separated by commas.
        description: what it is, in the description of the series.
        series: which one of several in the folder, by its number or the name of one of its files.
        anonymize: nothing in it tells who the patient is; it then has a study of its own.
        overwrite: replace a folder that holds such a result.
    """
    from medgen import dicom
    from medgen.cli.output import note, say
    from medgen.errors import UsageError
    from medgen.files import require_apart
    from medgen.volume import read_label, read_volume

    labelled = {"labels": dicom.write_segmentations, "contours": dicom.write_contours}
    if (classes is None) == (kind in labelled):
        fix = "add --classes lesion" if classes is None else "leave --classes out, or write --as labels"
        raise UsageError("--classes names the values of a label map", fix=fix)
    require_apart(output, [result, source])
    found, made = dicom.read_source(source, series), dicom.Made(description=description or "")
    options: dict[str, Any] = {"owner": dicom.Owner(anonymous=anonymize), "made": made, "overwrite": overwrite}
    if kind in labelled:
        names = [name.strip() for name in (classes or "").split(",")]
        notes = labelled[kind](read_label(result), found, output, classes=names, **options)
    elif kind == "ct":
        notes = dicom.write_ct_series(read_volume(result), found, output, **options)
    else:
        notes = dicom.write_parametric_maps({description or "map": read_volume(result)}, found, output, **options)
    for each in notes:
        note(f"note: {each}")
    say(f"written: {output}")
