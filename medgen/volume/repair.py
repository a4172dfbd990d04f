"""The way out for a volume that is refused: slices between slices, a straight grid, one series of several.

Each is done on demand alone, by linear interpolation, and is written down beside the result. Nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medgen import __version__
from medgen.errors import InputError
from medgen.files import atomic_path, require_apart, require_free, require_output, write_json
from medgen.volume.damage import explained
from medgen.volume.dicom import is_dicom, stack_values, without_copies
from medgen.volume.grid import STRAIGHT, straighten
from medgen.volume.image import Volume, on_grid, read_file
from medgen.volume.interpolation import between_slices, onto_straight_grid
from medgen.volume.labels import as_label
from medgen.volume.nifti import Geometry
from medgen.volume.stack import Stack, read_stack, require_even, require_no_hole, slice_numbers, stack_grid, wide_steps
from medgen.volume.writing import require_nifti_name, write_volume

_NOTICE = "Interpolated voxels are computed, not measured. Research software, not for clinical use."
_COORDINATES = "slice: index along the third axis of the image, from 0; mm: along the normal of the slices, LPS+"
_MOST_HOLES = 2 / 3  # of the extent
_SNAP = 1e-3  # of a step; what is nearer to a slice is that one


class Interpolated(NamedTuple):
    """A slice that lies between those of the source: its index along the third axis, and mm along their normal."""

    slice: int
    mm: float


@dataclass(frozen=True, eq=False)
class Repaired:
    """A volume that is whole, even and straight, and what that took.

    Attributes:
        volume: one channel, float32, or the smallest unsigned integer for a label map; its notes say what was done.
        interpolated: the slices that the source does not have.
        shear: by how much two axes of the source missed the right angle, degrees; 0 where nothing was straightened.
        source_shape: voxels of the source along (X, Y, Z), without the slices that it lacks.
        source_spacing: mm; of slices that lie unevenly the smallest distance.
    """

    volume: Volume
    interpolated: tuple[Interpolated, ...]
    shear: float
    source_shape: tuple[int, int, int]
    source_spacing: tuple[float, float, float]

    def write(self, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write the volume, and before it what was done to it, so that it never stands alone.

        Args:
            path: ends in ``.nii`` or ``.nii.gz``.
            overwrite: replace what is there.

        Returns:
            The path, and the one of the JSON file beside it: of the same name, ending in ``.fix.json``; without
            patient data and without a name of the source.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
            UsageError: one of the files is the source, or exists and may not be overwritten, or the name has another
                ending.
        """
        inputs = [self.volume.source] if self.volume.source else []
        path, sidecar = repaired_files(path, inputs, overwrite=overwrite)
        before = sidecar.read_bytes() if sidecar.exists() else None
        try:
            with atomic_path(path) as temporary:
                write_volume(self.volume, temporary, kind=self._kind, overwrite=True)
                write_json(sidecar, self._facts())  # last, when a full disk can no longer stop the volume
        except BaseException:  # what stands there is the old volume, or none
            if before is None:
                sidecar.unlink(missing_ok=True)
            elif sidecar.read_bytes() != before:
                with atomic_path(sidecar) as temporary:
                    temporary.write_bytes(before)
            raise
        return path, sidecar

    @property
    def _kind(self) -> Literal["scalar", "label"]:
        return "scalar" if self.volume.data.dtype.kind == "f" else "label"

    def _facts(self) -> dict[str, Any]:
        return {
            "research_use_only": True,
            "notice": _NOTICE,
            "medgen": __version__,
            "kind": self._kind,
            "notes": self.volume.notes,
            "interpolated": [each._asdict() for each in self.interpolated],
            "coordinates": _COORDINATES,
            "shear_degrees": round(self.shear, 4),
            "input": {"shape": self.source_shape, "spacing_mm": np.round(self.source_spacing, 6).tolist()},
            "output": {"shape": self.volume.shape, "spacing_mm": np.round(self.volume.spacing, 6).tolist()},
        }


def repaired_files(
    path: str | Path, inputs: Iterable[str | Path] = (), *, overwrite: bool = False
) -> tuple[Path, Path]:
    """The files that :meth:`Repaired.write` writes, found writable before the work.

    Args:
        path: of the volume.
        inputs: what is repaired, which is never replaced.
        overwrite: whether other files that are there may be replaced.

    Raises:
        StorageError: the folder cannot be written.
        UsageError: one of the files is an input, or exists and may not be overwritten, or the name has another ending.
    """
    path = Path(path)
    require_nifti_name(path)
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".fix.json")
    require_apart((path, sidecar), inputs)
    for each in (path, sidecar):
        require_output(each)
        require_free(each, overwrite=overwrite)
    return path, sidecar


def repair_volume(
    path: str | Path,
    *,
    series: int | str | None = None,
    fill_gaps: bool = False,
    resample: bool = False,
    drop_copies: bool = False,
    label: bool = False,
    geometry: Geometry | None = None,
    frame: int | None = None,
) -> Repaired:
    """Read a volume that ``read_volume`` refuses for its geometry, and mend what is allowed to be mended.

    Args:
        path: a NIfTI or MetaImage file, or a DICOM series; one without a fault is read as it is.
        series: which series of a folder that holds several: its number or, where two have one number, its
            SeriesInstanceUID or the name of one of its files.
        fill_gaps: put slices that are missing between others there, each a mean of its two neighbours, weighted by
            distance, in the unit of the image.
        resample: bring a tilted or sheared volume onto a straight grid, and uneven slices onto even ones. The first
            axis keeps direction and spacing; so does the second if it stands at a right angle to the first. The
            third follows their normal, its spacing is the step along that. The grid covers the source; beyond it
            stands the smallest value of the image (0 in a label map). Slices that lie unevenly become even ones from
            the first to the last, as close as the closest two or a little closer.
        drop_copies: leave out a slice that lies where another one does, if every voxel of the two is equal.
        label: the volume is a label map: nearest neighbour in place of linear interpolation.
        geometry: as for ``read_volume``.
        frame: likewise.

    Raises:
        InputError: as for ``read_volume``, for what is not allowed to be mended or cannot be: two patients, fewer
            than three slices, slices that do not fit together, more slices missing than there are.
        StorageError: the file may not be read.
    """
    path, dtype = Path(path), None if label else np.float32
    with explained(path):
        stack = None
        if is_dicom(path):
            number = None if series is None else str(series)
            stack = whole = read_stack(path, frame, number, allow_repeats=drop_copies)
            stack = without_copies(whole) if drop_copies else whole
            dropped = len(whole.slices) - len(stack.slices)
            found = _from_stack(stack, dtype, fill_gaps=fill_gaps, resample=resample)
    if stack is None:
        volume = read_file(path, geometry, frame, dtype, keep_shear=resample)
        found = Repaired(volume, (), 0.0, volume.shape, volume.spacing)
    volume = as_label(found.volume) if label else found.volume
    _, angle, moved = straighten(volume.affine, volume.shape)
    shear = angle if moved > STRAIGHT else 0.0
    if shear:
        volume = onto_straight_grid(volume, shear, nearest=label)
    uneven = stack is not None and slice_numbers(stack) is None
    filled = len(wide_steps(stack)) if stack is not None and uneven else len(found.interpolated)
    idle = {
        "one file: no series to choose": series is not None and stack is None,
        "no copy of a slice to leave out": drop_copies and not (stack is not None and dropped),
        "no gap to fill": fill_gaps and not filled,
        "even and straight: nothing to resample": resample and not (uneven or shear),
        "no choice between sform and qform to make": geometry and f"{geometry} chosen" not in " ".join(volume.notes),
        "one frame: none to choose": frame is not None and f"frame {frame} of" not in " ".join(volume.notes),
    }
    notes = (*volume.notes, *(note for note, applies in idle.items() if applies))
    return replace(found, volume=replace(volume, notes=notes), shear=shear)


def _from_stack(stack: Stack, dtype: DTypeLike | None, *, fill_gaps: bool, resample: bool) -> Repaired:
    """A volume of even slices, which may still be sheared."""
    places = _places(stack, fill_gaps=fill_gaps, resample=resample)
    grid = stack_grid(stack, len(places), keep_shear=resample)
    values, padding = stack_values(stack, dtype)
    data = between_slices(values, places, nearest=dtype is None)
    heights = np.linspace(stack.heights[0], stack.heights[-1], len(places))
    made = tuple(Interpolated(int(i), round(float(heights[i]), 3)) for i in np.flatnonzero(places % 1))
    notes = grid.notes + padding
    if made:
        how = "taken from the nearest" if dtype is None else "interpolated linearly between their neighbours"
        named = ", ".join(f"{each.slice} ({each.mm:.1f} mm)" for each in made)
        notes += (f"{len(made)} of {len(places)} slices {how} (index along the third axis, from 0): {named}",)
    x, y, step = grid.spacing
    smallest = step * float(np.diff(stack.heights).min() / (heights[1] - heights[0]))
    shape = (*grid.shape[:2], len(stack.slices))
    return Repaired(on_grid(data, replace(grid, notes=notes)), made, 0.0, shape, (x, y, smallest))


def _places(stack: Stack, *, fill_gaps: bool, resample: bool) -> NDArray[np.float64]:
    """Where each slice of the result lies among those of the stack: 2.5 is halfway from the third to the fourth."""
    numbers = slice_numbers(stack)
    if not (resample if numbers is None else fill_gaps):
        require_even(stack)
    heights, present = stack.heights, np.arange(len(stack.slices), dtype=float)
    if numbers is None:
        if not fill_gaps:
            require_no_hole(stack)
        span, smallest = heights[-1] - heights[0], np.diff(heights).min()
        count = int(np.ceil(span / smallest - _SNAP)) + 1
    else:
        count = int(numbers[-1]) + 1
    holes = float(np.diff(heights)[wide_steps(stack)].sum() / (heights[-1] - heights[0]))
    if count > 2 * len(present) or holes > _MOST_HOLES:
        raise InputError(
            f"{len(present)} slices would become {count}: most of the volume would be made up",
            where=stack.path,
            fix="export the series again, with all its slices",
        )
    if numbers is None:
        places = np.interp(np.linspace(heights[0], heights[-1], count), heights, present)
    else:
        places = np.interp(np.arange(count), numbers, present)
    whole = np.rint(places)
    return np.asarray(np.where(np.abs(places - whole) < _SNAP, whole, places))
