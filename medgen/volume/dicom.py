"""One DICOM series as a volume: its slices are put in order by their positions, and must lie evenly and whole.

Written on pydicom. Other readers stretch a series that lacks slices over the gap, drop a slice that is cut off, or
ignore a tilted gantry, and say nothing; here each is an error, and ``repair_volume`` mends it on demand. highdicom's
own volumes refuse every series without a frame of reference, which anonymising often removes, and do not say which
slice is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medgen.errors import InputError
from medgen.volume.codestreams import coded_size
from medgen.volume.grid import Grid
from medgen.volume.padding import AIR, Padding, doubtful_padding, fill_padding
from medgen.volume.series import is_dicom, read_pixels
from medgen.volume.slices import Slice, damage, silenced
from medgen.volume.stack import Stack, at_one_place, read_stack, require_enough, require_even, stack_grid

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["is_dicom", "read_dicom", "read_dicom_grid", "stack_values", "without_copies"]


def read_dicom(path: Path, frame: int | None, dtype: DTypeLike | None) -> tuple[NDArray[Any], Grid]:
    """The voxels of a whole, even and straight series, and where they lie.

    Args:
        path: a folder with the files of one series, or one file with several frames.
        frame: 0 or None; there is only one volume.
        dtype: as for :func:`stack_values`.

    Returns:
        (X, Y, Z), first axis along the rows of a slice, second along its columns, third from slice to slice; the grid.

    Raises:
        InputError: as for :func:`read_dicom_grid` and :func:`stack_values`.
    """
    stack = read_stack(path, frame)
    require_even(stack)
    grid = stack_grid(stack, len(stack.slices))
    data, notes = stack_values(stack, dtype)
    return data, replace(grid, notes=grid.notes + notes)


def read_dicom_grid(path: Path, frame: int | None = None) -> Grid:
    """Where the voxels of a series lie, without reading them, so that a slice cut off in its pixel data can pass.

    Args:
        path: as for :func:`read_dicom`.
        frame: likewise.

    Raises:
        InputError: as for ``read_stack``, ``require_even`` and ``stack_grid``.
    """
    stack = read_stack(path, frame)
    require_even(stack)
    return stack_grid(stack, len(stack.slices))


def stack_values(stack: Stack, dtype: DTypeLike | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The voxels of slices in their order, with each slice's own slope and intercept applied and padding set to air.

    Args:
        stack: the slices.
        dtype: type of the result; None keeps the stored one where no slice has a slope or an intercept (with room for
            air where the header of a CT names padding), and float64 elsewhere.

    Returns:
        (X, Y, slices), and notes on padding.

    Raises:
        InputError: pixel data are cut off, damaged, or packed in a way for which no decoder is installed.
    """
    slices = stack.slices
    identity = all(each.slope == 1.0 and each.intercept == 0.0 for each in slices)
    wanted = _type_of(slices, dtype, identity=identity)
    data = np.empty((len(slices), *slices[0].shape[::-1]), wanted)
    padding = _Padded(data)
    for file in dict.fromkeys(each.path for each in slices):
        inside = [(number, each) for number, each in enumerate(slices) if each.path == file]
        frames = _decoded(file, inside[0][1])
        for number, each in inside:
            values = frames[each.frame]
            padding.find(number, each, values)
            # In float64, then rounded once: a slope of 0.1 in float32 is not the 0.1 of the header.
            data[number] = values if identity else values * np.float64(each.slope) + each.intercept
    return data.transpose(2, 1, 0), padding.fill()


def _type_of(slices: Sequence[Slice], dtype: DTypeLike | None, *, identity: bool) -> np.dtype[Any]:
    """The type of the values of a series."""
    air = {"i2" for each in slices if each.padding and each.padding.hounsfield}
    stored = np.result_type(*{each.stored for each in slices}, *air)
    wanted = np.dtype(dtype) if dtype is not None else stored if identity else np.dtype(float)
    if not identity and wanted.kind != "f":
        raise TypeError(f"slopes and intercepts need a floating type, not {wanted}")
    if air and wanted.kind not in "if":
        raise TypeError(f"the padding of a CT becomes {AIR:g} HU, which {wanted} cannot hold")
    return wanted


@dataclass
class _Padded:
    """Collects the padding of a series, slice by slice.

    Attributes:
        data: (slices, rows, columns), values in the unit of the image.
        voxels: which are padding; None while there is none.
        first: of a slice that has some.
        left: how many voxels only the header takes for padding.
        doubted: of a slice that has such.
    """

    data: NDArray[Any]
    voxels: NDArray[np.bool_] | None = None
    first: Padding | None = None
    left: int = 0
    doubted: Padding | None = None

    def find(self, number: int, each: Slice, values: NDArray[Any]) -> None:
        """Look for the padding that the header of a slice names in its stored numbers."""
        padding = each.padding
        if padding is None or not (here := (values >= padding.low) & (values <= padding.high)).any():
            return
        if padding.doubtful(each.slope, each.intercept):
            self.left, self.doubted = self.left + int(here.sum()), padding
            return
        if self.voxels is None:
            self.voxels, self.first = np.zeros(self.data.shape, bool), padding
        self.voxels[number] = here

    def fill(self) -> tuple[str, ...]:
        """Set all of it to air; notes on it."""
        note = fill_padding(self.data, self.voxels, self.first) if self.voxels is not None and self.first else ""
        doubt = doubtful_padding(self.left, self.data.size, self.doubted) if self.doubted else ""
        return tuple(text for text in (note, doubt) if text)


def without_copies(stack: Stack) -> Stack:
    """The stack without slices that lie where another one does and have the same value in every voxel.

    Raises:
        InputError: slices at one position differ, fewer than three are left, or as for :func:`stack_values`.
    """
    copied = []
    for number in at_one_place(stack).tolist():
        both, _ = stack_values(replace(stack, slices=stack.slices[number : number + 2]), None)
        if differing := int((both[..., 0] != both[..., 1]).sum()):
            names = " and ".join(each.path.name for each in stack.slices[number : number + 2])
            raise InputError(
                f"{names} lie at one position and differ in {differing} voxels, so none is a copy of the other",
                where=stack.path,
                fix="take one of the two out of the folder",
            )
        copied.append(number + 1)
    kept = [number for number in range(len(stack.slices)) if number not in set(copied)]
    names = ", ".join(stack.slices[number].path.name for number in copied)
    notes = (f"left out as exact copies of another slice: {names}",) if copied else ()
    slices = [stack.slices[number] for number in kept]
    require_enough(slices, stack.path)
    return Stack(slices, stack.heights[kept], stack.path, stack.notes + notes)


def _decoded(path: Path, one: Slice) -> NDArray[Any]:
    """The stored numbers of a file, (frames, rows, columns); as many frames as the header promises in one of them."""
    syntax = ""
    try:
        with silenced():
            pixels = read_pixels(path)
            syntax = str(pixels.file_meta.TransferSyntaxUID.name)
            _require_coded_size(pixels, path, one)
            frames = np.asarray(pixels.pixel_array).reshape(-1, *one.shape[::-1])
    except PermissionError:
        raise
    except damage() as error:
        if isinstance(error, NotImplementedError) or "missing dependencies" in str(error):
            raise InputError(
                f"the slice is packed as '{syntax}', for which no decoder is installed",
                where=path,
                fix="pip install 'medgen[dicom-codecs]'",
            ) from error
        raise _damaged(path) from error
    if len(frames) != one.frames:
        raise InputError(
            f"the pixel data hold {len(frames)} frames, the header promises {one.frames} (NumberOfFrames)",
            where=path,
            fix="export the file again: nothing says which of the two is right",
        )
    return frames


def _require_coded_size(pixels: Dataset, path: Path, one: Slice) -> None:
    """Refuse a packed frame that states another size than the header, before it is unpacked to that size.

    A decoder unpacks the size that the frame states, and pydicom only counts the bytes: rows and columns exchanged
    would read as another image.
    """
    from pydicom.encaps import generate_frames

    if not pixels.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    tables = [pixels.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = (tables[0], tables[1]) if all(tables) else None
    for frame in generate_frames(pixels.PixelData, number_of_frames=one.frames, extended_offsets=offsets):
        size = coded_size(frame)
        if size not in (None, one.shape):
            columns, rows = size
            raise InputError(
                f"a packed frame has {columns} x {rows} voxels, the header promises {one.shape[0]} x {one.shape[1]}",
                where=path,
                fix="export the file again: nothing says which of the two is right",
            )


def _damaged(path: Path) -> InputError:
    return InputError(
        "the pixel data of the slice are cut off or damaged", where=path, fix="copy the file again from the archive"
    )
