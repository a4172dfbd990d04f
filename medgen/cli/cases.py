"""``medgen cases from-nnunet | from-msd | from-bids | from-picai | from-samples``: make a case table from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, Output

if TYPE_CHECKING:
    from medgen.cases import Case

app = App(
    name="cases",
    help="Make a case table (CSV) from a folder in nnU-Net, MSD, BIDS or PI-CAI layout, or from samples.",
    sort_key=3,
    default_parameter=DEFAULTS,
)


@app.command
def from_nnunet(
    folder: Path, /, *, output: Output = Path("cases.csv"), validation: float = 0.2, overwrite: bool = False
) -> None:
    """Read an nnU-Net folder (dataset.json, imagesTr, labelsTr).

    For example:

        medgen cases from-nnunet Dataset001_Brain -o cases.csv

    Args:
        folder: the dataset folder.
        output: the case table to write.
        validation: fraction of the training cases that get split 'val'.
        overwrite: replace a case table that is there, and with it your changes of splits.
    """
    from medgen.cases import from_nnunet as read

    _require_free(output, overwrite, folder)
    _write(read(folder, validation=validation), output)


@app.command
def from_msd(
    folder: Path,
    /,
    *,
    output: Output = Path("cases.csv"),
    validation: float = 0.2,
    split_into: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Read a Medical Segmentation Decathlon folder (dataset.json).

    For example:

        medgen cases from-msd Task05_Prostate -o cases.csv --split-into channels

    Args:
        folder: the task folder.
        output: the case table to write.
        validation: fraction of the training cases that get split 'val'.
        split_into: write each channel of a 4D image as a 3D volume into this folder; needs as much disk space again.
        overwrite: replace a case table that is there, and with it your changes of splits, and the volumes.
    """
    from medgen.cases import from_msd as read

    _require_free(output, overwrite, folder)
    _write(read(folder, validation=validation, split_into=split_into, overwrite=overwrite), output)


@app.command
def from_bids(
    folder: Path,
    /,
    *,
    output: Output = Path("cases.csv"),
    validation: float = 0.2,
    test: float = 0.2,
    prefer: str | None = None,
    overwrite: bool = False,
) -> None:
    """Read a BIDS folder (sub-*/anat/*.nii.gz).

    For example:

        medgen cases from-bids my_study -o cases.csv --prefer run-1

    Args:
        folder: the dataset folder.
        output: the case table to write.
        validation: fraction of the subjects that get split 'val'.
        test: fraction of the subjects that get split 'test'.
        prefer: if a case has several images for one role, take the one whose file name contains this.
        overwrite: replace a case table that is there, and with it your changes of splits.
    """
    from medgen.cases import from_bids as read

    _require_free(output, overwrite, folder)
    _write(read(folder, validation=validation, test=test, prefer=prefer), output)


@app.command
def from_picai(
    folder: Path,
    /,
    *,
    output: Output = Path("cases.csv"),
    labels: Path | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    overwrite: bool = False,
) -> None:
    """Read a PI-CAI folder (<patient>/<patient>_<study>_t2w.mha).

    One case is one study, named <patient>_<study>, with the roles t2w, adc
    and hbv, and with --labels also lesion (ISUP grade of each voxel). All
    studies of a patient get the same split.

    For example:

        medgen cases from-picai images --labels delineations -o cases.csv

    Args:
        folder: the images, in one folder per patient or all in one folder.
        output: the case table to write.
        labels: folder of lesion maps <patient>_<study>.nii.gz on the grid of T2W.
        validation: fraction of the patients that get split 'val'.
        test: fraction of the patients that get split 'test'.
        overwrite: replace a case table that is there, and with it your changes of splits.
    """
    from medgen.cases import from_picai as read

    _require_free(output, overwrite, folder, labels)
    _write(read(folder, labels=labels, validation=validation, test=test), output)


@app.command
def from_samples(
    folder: Path,
    /,
    *,
    label: Annotated[tuple[str, ...], Parameter(negative=())],
    output: Output = Path("cases.csv"),
    validation: float = 0.2,
) -> None:
    """Read samples with label maps, to train a segmenter on synthetic images.

    The generator must have the label map among its inputs, e.g. in its recipe
    data.inputs=[t1, label] and preparation.intensity.label.window=[0, 1].
    Here its values become whole numbers. Label maps, and slices as volumes of
    one slice, are written into a folder beside the table with its name.

    For example:

        medgen sample generator -o samples --count 50
        medgen cases from-samples samples --label label -o synthetic.csv
        medgen train segmenter.yaml --cases synthetic.csv --out segmenter
        medgen predict segmenter -i real.csv -o predictions

    Args:
        folder: the folder that 'medgen sample' made.
        label: a role of the samples that is a label map or a mask; repeatable.
        output: the case table to write.
        validation: fraction of the samples that get split 'val'; the others get 'train', and none 'test'.
    """
    from medgen.cli.output import note, say
    from medgen.inference.synthetic_cases import cases_from_samples

    found = cases_from_samples(folder, output, labels=label, validation=validation)
    say(str(output))
    for warning in found.notes:
        note(warning)
    for role, empty in found.empty.items():
        if empty:
            note(f"{empty} of {found.cases} label maps '{role}' are empty")
    note(f"{found.cases} synthetic cases; then run: medgen check {output}")


def _require_free(output: Path, overwrite: bool, *inputs: Path | None) -> None:
    """Refuse an output that must not be replaced: without the user's word any, and always a file of the dataset.

    A table in the folder of the dataset (CSV) is no file that is read there.
    """
    from medgen.files import require_apart, require_free, require_output

    require_output(output)
    require_free(output, overwrite=overwrite)
    if output.exists():
        files = (file for folder in inputs if folder is not None for file in folder.rglob("*") if file.is_file())
        require_apart(output, (file for file in files if file.suffix != ".csv"))


def _write(found: tuple[Case, ...], output: Path) -> None:
    from medgen.cases import write_cases
    from medgen.cli.output import note, say

    say(str(write_cases(found, output)))
    note(f"{len(found)} cases; check their splits in the table, then run: medgen check {output}")
