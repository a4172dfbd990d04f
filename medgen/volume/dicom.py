"""One DICOM series as a volume: its slices are put in order by their positions, and must lie evenly and whole.

Written on pydicom. Other readers stretch a series that lacks slices over the gap, drop a slice that is cut off, or
ignore a tilted gantry, and say nothing; here each is an error. highdicom's own volumes refuse every series without a
frame of reference, which anonymising often removes, and do not say which slice is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medgen.errors import InputError
from medgen.volume.grid import SAME_GRID, Affine, Grid, straighten
from medgen.volume.nifti import require_regular
from medgen.volume.series import find_slices, is_dicom, read_pixels
from medgen.volume.slices import DAMAGE, Slice, silenced

__all__ = ["is_dicom", "read_dicom", "read_dicom_grid"]

_FEWEST = 3  # slices: between two, nothing shows whether one is missing
_ONE_PLACE = 1e-3  # mm; slices that are less apart lie at one position
_PARALLEL = 1e-4  # difference of direction cosines between slices
_NAMED = 5
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_dicom(path: Path, frame: int | None, dtype: DTypeLike | None) -> tuple[NDArray[Any], Grid]:
    """The voxels of a series with each slice's own slope and intercept applied, and where they lie.

    Args:
        path: a folder with the files of one series, or one file with several frames.
        frame: 0 or None; there is only one volume.
        dtype: type of the result; None keeps the stored one where no slice has a slope or an intercept, and float64
            elsewhere.

    Returns:
        (X, Y, Z), first axis along the rows of a slice, second along its columns, third from slice to slice; the grid.

    Raises:
        InputError: as for :func:`read_dicom_grid`; pixel data that are cut off, damaged or packed in a way for which
            no decoder is installed.
    """
    slices, grid = _stack(path, frame)
    identity = all(each.slope == 1.0 and each.intercept == 0.0 for each in slices)
    stored = np.result_type(*{each.stored for each in slices})
    wanted = np.dtype(dtype) if dtype is not None else stored if identity else np.dtype(float)
    if not identity and wanted.kind != "f":
        raise TypeError(f"slopes and intercepts need a floating type, not {wanted}")
    data = np.empty(grid.shape[::-1], wanted)
    for file in dict.fromkeys(each.path for each in slices):
        inside = [(number, each) for number, each in enumerate(slices) if each.path == file]
        frames = _decoded(file, inside[0][1].shape)
        for number, each in inside:
            values = frames[each.frame]
            # In float64, then rounded once: a slope of 0.1 in float32 is not the 0.1 of the header.
            data[number] = values if identity else values * np.float64(each.slope) + each.intercept
    return data.transpose(2, 1, 0), grid


def read_dicom_grid(path: Path, frame: int | None = None) -> Grid:
    """Where the voxels of a series lie, without reading them, so that a slice cut off in its pixel data can pass.

    Args:
        path: as for :func:`read_dicom`.
        frame: likewise.

    Raises:
        InputError: as for ``find_slices``; the slices are fewer than three, differ in size or direction, share a
            position, leave a gap, lie unevenly, or are stacked aslant (a tilted gantry).
    """
    return _stack(path, frame)[1]


def _stack(path: Path, frame: int | None) -> tuple[list[Slice], Grid]:
    """The slices in the order of their positions, and the grid that they make."""
    slices, notes = find_slices(path)
    if frame not in (None, 0):
        raise InputError(
            f"there is no frame {frame}: a DICOM series is one volume", where=path, fix="leave --frame out"
        )
    if len(slices) < _FEWEST:
        raise InputError(
            f"the series has {len(slices)} of at least {_FEWEST} slices: between so few no gap can be noticed",
            where=path,
            fix="give the folder with all slices of the series",
        )
    _require_alike(slices)
    across, down = (_unit(slices[0].orientation[part]) for part in (slice(0, 3), slice(3, 6)))
    normal = np.cross(across, down)
    slices = sorted(slices, key=lambda each: float(np.dot(each.position, normal)))
    heights = np.array([np.dot(each.position, normal) for each in slices])
    _require_even(slices, heights, path)
    step = (np.array(slices[-1].position) - slices[0].position) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * slices[0].spacing[0], down * slices[0].spacing[1], step], axis=1)
    affine[:3, 3] = slices[0].position
    shape = (*slices[0].shape, len(slices))
    straight = _straight(_LPS_TO_RAS @ affine, shape, path)
    return slices, Grid(shape, straight, 1, 1, str(path), notes + _doubts(slices, heights))


def _unit(cosines: Sequence[float]) -> NDArray[np.float64]:
    vector = np.array(cosines)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _require_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices that cannot stand in one grid."""
    first = slices[0]
    for each in slices[1:]:
        for what, same in (
            ("size", each.shape == first.shape),
            ("direction", np.allclose(each.orientation, first.orientation, rtol=0, atol=_PARALLEL)),
            ("pixel spacing", np.allclose(each.spacing, first.spacing, rtol=1e-4, atol=0)),
            ("frame of reference", each.frame_of_reference == first.frame_of_reference),
        ):
            if not same:
                raise InputError(
                    f"the slices differ in their {what}: {_name(first)} and {_name(each)}",
                    where=each.path,
                    fix="take out of the folder what is no slice of this volume",
                )


def _require_even(slices: Sequence[Slice], heights: NDArray[np.float64], path: Path) -> None:
    """Refuse two slices at one position, gaps and uneven distances; ``heights`` are mm along the normal, ascending."""
    steps = np.diff(heights)
    if len(twice := np.flatnonzero(steps < _ONE_PLACE)):
        first = int(twice[0])
        raise InputError(
            f"{len(twice)} of {len(slices)} slices lie where another one does, the first at {heights[first]:.2f} mm: "
            f"{_name(slices[first])} and {_name(slices[first + 1])}",
            where=path,
            fix="give a folder with one image (echo, b-value, time point) of each position",
        )
    smallest = float(steps.min())
    multiples = steps / smallest
    whole = np.rint(multiples)
    if np.abs(multiples - 1).max() <= SAME_GRID:
        even = np.linspace(heights[0], heights[-1], len(heights))
        if np.abs(heights - even).max() <= SAME_GRID * smallest:
            return
    elif np.abs(multiples - whole).max() <= SAME_GRID:
        missing = [
            heights[i] + (heights[i + 1] - heights[i]) * k / whole[i]
            for i in range(len(steps))
            for k in range(1, int(whole[i]))
        ]
        after = _name(slices[int(np.argmax(whole > 1))])
        raise InputError(
            f"{len(missing)} of {len(slices) + len(missing)} slices are missing, at {_listed(missing)} mm along the "
            f"normal of the slices (the first after {after}; the others lie {smallest:.4g} mm apart)",
            where=path,
            fix="export the series again; a gap is not filled in",
        )
    raise InputError(
        f"the slices lie unevenly: {steps.min():.4g} to {steps.max():.4g} mm apart",
        where=path,
        fix="resample the series onto even slices, for example with dcm2niix, and give that",
    )


def _straight(affine: Affine, shape: tuple[int, int, int], path: Path) -> Affine:
    """The affine without what rounding of positions bent; float32, as a NIfTI-1 header holds it."""
    require_regular(affine, path)
    straight, angle, moved = straighten(affine, shape)
    if moved > SAME_GRID:
        raise InputError(
            f"the slices are stacked {angle:.2f} degrees off their normal: a tilted gantry, or a sheared volume",
            where=path,
            fix="resample the series onto a straight grid, for example with dcm2niix, and give that",
        )
    return np.asarray(straight, np.float32).astype(np.float64)


def _doubts(slices: Sequence[Slice], heights: NDArray[np.float64]) -> tuple[str, ...]:
    """Even distances that are not those of the header: every second slice may be missing."""
    step = float(np.diff(heights).mean())
    between = slices[0].between
    if not between or abs(step - abs(between)) <= SAME_GRID * abs(between):
        return ()
    return (f"the slices lie {step:.4g} mm apart, where the header says {abs(between):.4g}: some may be missing",)


def _decoded(path: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """The stored numbers of a file, (frames, rows, columns)."""
    syntax = ""
    try:
        with silenced():
            pixels = read_pixels(path)
            syntax = str(pixels.file_meta.TransferSyntaxUID.name)
            frames = np.asarray(pixels.pixel_array)
        return frames.reshape(-1, shape[1], shape[0])
    except PermissionError:
        raise
    except DAMAGE as error:
        if isinstance(error, NotImplementedError) or "missing dependencies" in str(error):
            raise InputError(
                f"the slice is packed as '{syntax}', for which no decoder is installed",
                where=path,
                fix="pip install 'medgen[dicom-codecs]'",
            ) from error
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(
        "the pixel data of the slice are cut off or damaged", where=path, fix="copy the file again from the archive"
    )


def _name(each: Slice) -> str:
    return each.path.name if each.frame == 0 else f"{each.path.name} (frame {each.frame})"


def _listed(heights: Sequence[float]) -> str:
    more = f" and {len(heights) - _NAMED} more" if len(heights) > _NAMED else ""
    return ", ".join(f"{height:.1f}" for height in heights[:_NAMED]) + more
