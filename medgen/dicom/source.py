"""The DICOM series that a result was made from: where its slices lie, and what its headers say of patient and study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medgen.errors import InputError
from medgen.volume.damage import explained
from medgen.volume.slices import Slice, damage, damaged, silenced
from medgen.volume.stack import Stack, read_stack

if TYPE_CHECKING:
    from pydicom import Dataset


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

    def thickness(self, number: int) -> float:
        """Of a slice in mm, as its header has it; else the usual way to the next slice."""
        own = self.headers[self.slices[number].path].get("SliceThickness")
        return float(own) if own else float(np.median(np.diff(self.stack.heights)))


def read_source(path: str | Path, series: str | None = None) -> SourceSeries:
    """Read where a series lies and whose it is; no pixel is read.

    Args:
        path: a folder with the files of one series, or one file with several frames.
        series: which one of several, by its number, its SeriesInstanceUID or the name of one of its files.

    Raises:
        InputError: there is no such series, several and no choice, files are damaged, or the slices do not lie on one
            line.
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
    if not all(header.get("StudyInstanceUID") for header in headers.values()):
        raise InputError(
            "the series belongs to no study (StudyInstanceUID is missing), so nothing can be added to one",
            where=path,
            fix="export the series again from the archive",
        )
    return SourceSeries(stack, headers)
