"""A report: figures, and one HTML file that opens offline and loads nothing from the network."""

from __future__ import annotations

import logging
from pathlib import Path

from medgen.types import Progress

log = logging.getLogger(__name__)


def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    cases: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML file on a run or a study, and its pictures as PNG files beside it.

    Args:
        folder: a run folder, or a folder that holds some of ``run/``, ``scores/<method>.json`` or
            ``scores.json``, ``predictions/<case>/<case>_<role>.nii.gz``, ``data/cases.csv`` or ``cases.csv``, and
            folders that ``medgen sample`` wrote.
        output: the file to write; ``report.html`` in the folder by default. Pictures go to ``figures/`` beside.
        cases: the case table, where it is not in the folder.
        progress: called with (done, total, name of the figure).

    Returns:
        The file.

    Raises:
        InputError: there is nothing to report, or a file is damaged.
        StorageError: the disk is full or the folder cannot be written.
    """
    from medgen.files import atomic_path, require_output
    from medgen.report.figures import draw_figures
    from medgen.report.page import render_page
    from medgen.report.sources import find_sources

    folder = Path(folder)
    path = Path(output) if output is not None else folder / "report.html"
    sources = find_sources(folder, cases=Path(cases) if cases is not None else None)
    require_output(path)
    for sentence in sources.missing:
        log.info("%s", sentence)
    for sentence in sources.doubts:
        log.warning("%s", sentence)
    figures = draw_figures(sources, progress=progress)
    for figure in figures:
        with atomic_path(path.parent / "figures" / f"{figure.name}.{figure.media}") as temporary:
            temporary.write_bytes(figure.light)
    with atomic_path(path) as temporary:
        temporary.write_text(render_page(sources, figures), encoding="utf-8")
    return path
