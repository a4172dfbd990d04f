"""``medgen cases from-nnunet | from-msd | from-bids``: a case table out of a folder in a known layout."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from medgen.cli.parameters import DEFAULTS, Output

app = App(
    name="cases", help="Make a case table from a folder in a known layout.", sort_key=3, default_parameter=DEFAULTS
)


@app.command
def from_nnunet(folder: Path, /, *, output: Output = Path("cases.csv")) -> None:
    """Read an nnU-Net folder (dataset.json, imagesTr, labelsTr).

    For example:

        medgen cases from-nnunet Dataset001_Brain -o cases.csv

    Args:
        folder: the dataset folder.
        output: the table to write.
    """
    _write("from_nnunet", folder, output)


@app.command
def from_msd(folder: Path, /, *, output: Output = Path("cases.csv")) -> None:
    """Read a Medical Segmentation Decathlon folder (dataset.json).

    For example:

        medgen cases from-msd Task01_BrainTumour -o cases.csv

    Args:
        folder: the task folder.
        output: the table to write.
    """
    _write("from_msd", folder, output)


@app.command
def from_bids(folder: Path, /, *, output: Output = Path("cases.csv")) -> None:
    """Read a BIDS folder (sub-*/anat/*.nii.gz).

    For example:

        medgen cases from-bids my_study -o cases.csv

    Args:
        folder: the dataset folder.
        output: the table to write.
    """
    _write("from_bids", folder, output)


def _write(importer: str, folder: Path, output: Path) -> None:
    from medgen import cases
    from medgen.cli.output import note, say

    found = getattr(cases, importer)(folder)
    say(str(cases.write_cases(found, output)))
    note(f"{len(found)} cases; look at their splits, then run: medgen check {output}")
