"""``medgen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(
    folder: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    cases: Path | None = None,
    no_viewer: bool = False,
) -> None:
    """Write one HTML file on predictions, scores and training.

    Patients with their predictions (error maps, outlines of label maps, or
    detected lesions), a viewer of the volumes of the worst of them, scores
    with 95 % intervals, and training curves. The file opens without a
    network, and has less than 20 MB.

    For example:

        medgen report demo
        medgen report . -o report.html
        medgen report . --no-viewer -o small.html

    Args:
        folder: a run folder (its training alone), or one that holds some of 'run', 'predictions', 'scores.json' or
            'scores', 'cases.csv' or 'data/cases.csv'.
        output: the file to write; 'report.html' in the folder by default.
        cases: the case table, where it is not in the folder.
        no_viewer: leave volumes and viewer out, for a small file.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.report import write_report

    with progress_display() as progress:
        say(str(write_report(folder, output, cases=cases, viewer=not no_viewer, progress=progress)))
