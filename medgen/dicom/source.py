"""The DICOM series that a result was made from: where its slices lie, and what its headers say of patient and study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen.errors import InputError
from medgen.volume.damage import explained
from medgen.volume.slices import Slice, damage, damaged, silenced
from medgen.volume.stack import Stack, read_stack

if TYPE_CHECKING:
    from pydicom import Dataset

_NEEDED = {
    "StudyInstanceUID": "belongs to no study, so nothing can be added to one",
    "SeriesInstanceUID": "does not say which series it is of",
    "SOPInstanceUID": "does not say which image it is",
}


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series as it lies in a folder; gaps, uneven slices and a tilted gantry are kept as they are.

    Attributes:
        stack: its slices, in the order of their positions.
        headers: all elements but the pixels of each of its files.
    """

    stack: Stack
    headers: dict[Path, Dataset]

    @property
    def slices(self) -> list[Slice]:
        """In the order of their positions along the normal of the slices."""
        return self.stack.slices

    @property
    def first(self) -> Dataset:
        """The header of the first slice."""
        return self.headers[self.slices[0].path]

    @property
    def number(self) -> int:
        """Of the series; 0 where it has none, or none that is a number."""
        return int(_float(self.first, "SeriesNumber") or 0)

    @property
    def thickness(self) -> float:
        """Of the slices in mm, as a header has it; else the usual way to the next slice."""
        for header in self.headers.values():
            groups = [*(header.get("SharedFunctionalGroupsSequence") or ())]
            groups += header.get("PerFrameFunctionalGroupsSequence") or ()
            measures = [each for group in groups for each in group.get("PixelMeasuresSequence") or ()]
            for place in (header, *measures):
                if (own := _float(place, "SliceThickness")) and own > 0:
                    return own
        return float(np.median(np.diff(self.stack.heights)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of the place of any result."""
        if str(self.first.get("FrameOfReferenceUID") or ""):
            return ()
        return ("the source has no frame of reference: the result has one of its own, and its place is unproven",)

    @property
    def lossy(self) -> bool:
        """Whether an image of the series was ever packed with a loss."""
        return any(str(header.get("LossyImageCompression", "")) == "01" for header in self.headers.values())


def read_source(path: str | Path, series: str | None = None) -> SourceSeries:
    """Read where a series lies and whose it is; no pixel is read.

    Args:
        path: a folder with the files of one series, or one file with several frames.
        series: which one of several, by its number, its SeriesInstanceUID or the name of one of its files.

    Raises:
        InputError: there is no such series, several and no choice, files are damaged, the slices do not lie on one
            line, or a file does not say of which study, series and image it is.
    """
    import pydicom

    path = Path(path)
    with explained(path):
        stack = read_stack(path, series=series)
        headers: dict[Path, Dataset] = {}
        for file in dict.fromkeys(each.path for each in stack.slices):
            try:
                with silenced():
                    headers[file] = pydicom.dcmread(file, stop_before_pixels=True)
            except PermissionError:
                raise
            except damage() as error:
                raise damaged(file) from error
            for keyword, told in _NEEDED.items():
                if not str(headers[file].get(keyword) or ""):
                    fix = "export the series again from the archive"
                    raise InputError(f"the slice {told} ({keyword} is missing)", where=file, fix=fix)
    if len({str(header.StudyInstanceUID) for header in headers.values()}) > 1:
        raise InputError(
            "the slices belong to several studies", where=path, fix="give the folder of one series of one study"
        )
    return SourceSeries(stack, headers)


def _float(header: Any, keyword: str) -> float | None:
    """A number of a header; None where there is none that can be read."""
    try:
        with silenced():
            value = float(header.get(keyword))
    except damage():
        return None
    return value if np.isfinite(value) else None
