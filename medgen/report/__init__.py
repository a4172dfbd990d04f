"""A report: figures, and one HTML file that opens offline and loads nothing from the network."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medgen.types import Progress

log = logging.getLogger(__name__)


def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    cases: str | Path | None = None,
    viewer: bool = True,
    run: str | Path | None = None,
    status: str = "",
    every: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML file on a run or a study, and its pictures as PNG files beside it.

    Args:
        folder: a run folder, or a folder that holds some of ``run/``, ``scores/<method>.json`` or
            ``scores.json``, ``predictions/<case>/<case>_<role>.nii.gz``, ``data/cases.csv`` or ``cases.csv``, and
            folders that ``medgen sample`` wrote.
        output: the file to write; ``report.html`` in the folder by default. Pictures go to ``figures/`` beside.
        cases: the case table, where it is not in the folder.
        viewer: hold volumes of the worst patients too, and a viewer of them; the file stays below 20 MB.
        run: the run to show, whatever weights made the predictions; by default that which made them.
        status: a sentence on top, such as how far a training is.
        every: seconds after which a page that is served asks its server for a newer one, and again; by default a page
            makes no request.
        progress: called with (done, total, name of the figure), then with (done, total, name of the patient).

    Returns:
        The file.

    Raises:
        UsageError: a file that is there is no earlier report, or no picture of one.
        InputError: there is nothing to report, or a file is damaged.
        StorageError: the disk is full or the folder cannot be written.
    """
    from medgen.files import atomic_path, require_text_result, require_writable, storage_errors
    from medgen.report.figures import draw_figures
    from medgen.report.page import MARK, render_page
    from medgen.report.patients import show_patients
    from medgen.report.sources import find_sources

    folder = Path(folder)
    path = Path(output) if output is not None else folder / "report.html"
    require_text_result(path, MARK)
    require_writable(path.parent / "figures")
    places = {name: Path(each) for name, each in (("cases", cases), ("run", run)) if each is not None}
    sources = replace(find_sources(folder, **places), status=status, every=every)
    for sentence in sources.missing:
        log.info("%s", sentence)
    for sentence in sources.doubts:
        log.warning("%s", sentence)
    figures = draw_figures(sources, progress=progress)
    beside = {path.parent / "figures" / f"{figure.name}.{figure.media}": figure.light for figure in figures}
    _require_own(beside, path)
    patients = show_patients(sources, figures, viewer=viewer, progress=progress)
    with atomic_path(path) as temporary:
        temporary.write_text(render_page(sources, figures, patients), encoding="utf-8")
    for place in beside:  # the page has others now: after an interruption nothing would know these as its own
        with storage_errors(place):
            place.unlink(missing_ok=True)
    for place, picture in beside.items():
        with atomic_path(place) as temporary:
            temporary.write_bytes(picture)
    return path


def _require_own(pictures: Iterable[Path], report: Path) -> None:
    """Refuse to replace pictures that no report in the folder holds byte for byte."""
    from medgen.errors import UsageError
    from medgen.files import has_mark
    from medgen.report.page import MARK, embedded

    taken = [each for each in pictures if os.path.lexists(each)]
    if not taken:
        return
    pages = [page for page in report.parent.glob("*.html") if page.is_file() and has_mark(page, MARK)]
    texts = [page.read_bytes() for page in pages]
    for picture in taken:
        if picture.is_file() and any(embedded(picture.read_bytes()).encode() in text for text in texts):
            continue
        fix = "move the folder 'figures', or choose another folder for -o"
        raise UsageError("a picture of this name exists, and no report that it is of", where=picture, fix=fix)
