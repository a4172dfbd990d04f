"""The slices of a DICOM series in order, and whether they make one whole, even and straight volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.grid import SAME_GRID, Grid, straighten
from medgen.volume.nifti import require_regular
from medgen.volume.series import find_slices
from medgen.volume.slices import Slice

_FEWEST = 3  # slices: between two, nothing shows whether one is missing
_ONE_PLACE = 1e-3  # mm; slices that are less apart lie at one position
_PARALLEL = 1e-4  # difference of direction cosines between slices
_WIDE = 1.5  # usual steps
_NAMED = 5
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in the order of their positions; how far apart they lie is not judged yet.

    Attributes:
        slices: alike in size, direction, pixel spacing and frame of reference, no two at one position.
        heights: where each lies along their normal, mm, ascending.
        path: the folder or file, for messages.
        notes: what was left out.
    """

    slices: list[Slice]
    heights: NDArray[np.float64]
    path: Path
    notes: tuple[str, ...]


def read_stack(
    path: Path, frame: int | None = None, series: str | None = None, *, allow_repeats: bool = False
) -> Stack:
    """The slices of a series, in order.

    Args:
        path: as for ``read_dicom``.
        frame: likewise.
        series: which one of several, as for ``find_slices``.
        allow_repeats: let slices share a position; the caller sorts them out and calls :func:`require_apart`.

    Raises:
        InputError: as for ``find_slices``; the slices are fewer than three, differ in size or direction, share a
            position, or do not lie on one line.
    """
    slices, notes = find_slices(path, series)
    if frame not in (None, 0):
        raise InputError(
            f"there is no frame {frame}: a DICOM series is one volume", where=path, fix="leave --frame out"
        )
    require_enough(slices, path)
    _require_alike(slices)
    normal = np.cross(*_directions(slices[0]))
    slices = sorted(slices, key=lambda each: float(np.dot(each.position, normal)))
    stack = Stack(slices, np.array([np.dot(each.position, normal) for each in slices]), path, notes)
    if not allow_repeats:
        require_apart(stack)
    _require_one_line(stack)
    return stack


def require_enough(slices: Sequence[Slice], path: Path) -> None:
    """Refuse fewer than three slices.

    Raises:
        InputError: there are fewer.
    """
    if len(slices) < _FEWEST:
        raise InputError(
            f"the series has {len(slices)} of at least {_FEWEST} slices: between so few no gap can be noticed",
            where=path,
            fix="give the folder with all slices of the series",
        )


def stack_grid(stack: Stack, count: int, *, keep_shear: bool = False) -> Grid:
    """The grid of ``count`` even slices from the first to the last of a stack.

    Args:
        stack: the slices.
        count: how many there are, or would be if none were missing.
        keep_shear: give the grid of slices that are stacked aslant as it is.

    Raises:
        InputError: the slices are stacked aslant (a tilted gantry), or the grid is degenerate.
    """
    first, last = stack.slices[0], stack.slices[-1]
    across, down = _directions(first)
    step = (np.array(last.position) - first.position) / (count - 1)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * first.spacing[0], down * first.spacing[1], step], axis=1)
    affine[:3, 3] = first.position
    affine, shape = _LPS_TO_RAS @ affine, (*first.shape, count)
    require_regular(affine, stack.path)
    straight, angle, moved = straighten(affine, shape)
    if moved > SAME_GRID and not keep_shear:
        raise InputError(
            f"the slices are stacked {angle:.2f} degrees off their normal: a tilted gantry, or a sheared volume",
            where=stack.path,
            fix="medgen fix FOLDER -o VOLUME.nii.gz --resample brings them onto a straight grid",
        )
    # float32, as a NIfTI-1 header holds it
    held = np.asarray(affine if moved > SAME_GRID else straight, np.float32).astype(np.float64)
    return Grid(shape, held, 1, 1, str(stack.path), stack.notes + _doubts(stack, count))


def slice_numbers(stack: Stack) -> NDArray[np.intp] | None:
    """The number of each slice, from 0, among even ones of which some may be missing; None where they lie unevenly."""
    heights = stack.heights
    steps = np.diff(heights)
    single = steps[steps < _WIDE * steps.min()]
    unit = float(single.mean())  # of rounded positions, the smallest is too small to measure a gap by
    multiples = np.rint(steps / unit)
    numbers = np.concatenate([[0], np.cumsum(multiples)])
    even = heights[0] + (heights[-1] - heights[0]) * numbers / numbers[-1]
    off = max(np.ptp(single), np.abs(steps - multiples * unit).max(), np.abs(heights - even).max())
    return numbers.astype(np.intp) if off <= SAME_GRID * steps.min() else None


def wide_steps(stack: Stack) -> NDArray[np.intp]:
    """Numbers of the steps from slice to slice that are so much wider than the usual one that slices are missing."""
    steps = np.diff(stack.heights)
    return np.flatnonzero(steps > _WIDE * np.median(steps))


def require_no_hole(stack: Stack) -> None:
    """Refuse uneven slices among which some are missing as well.

    Raises:
        InputError: there is a wide step.
    """
    if len(wide := wide_steps(stack)):
        first, steps = int(wide[0]), np.diff(stack.heights)
        raise InputError(
            f"the slices lie unevenly, {np.median(steps):.4g} mm apart in the middle, and {steps[first]:.4g} mm lie "
            f"without any after {_name(stack.slices[first])}: slices are missing",
            where=stack.path,
            fix="export the series again; or allow both, medgen fix FOLDER -o VOLUME.nii.gz --resample --fill-gaps",
        )


def require_even(stack: Stack) -> None:
    """Refuse gaps and uneven distances.

    Raises:
        InputError: slices are missing, or the distances are no multiples of the smallest.
    """
    numbers, steps = slice_numbers(stack), np.diff(stack.heights)
    if numbers is None:
        raise InputError(
            f"the slices lie unevenly: {steps.min():.4g} to {steps.max():.4g} mm apart",
            where=stack.path,
            fix="medgen fix FOLDER -o VOLUME.nii.gz --resample puts them on even slices, by linear interpolation",
        )
    whole = numbers[-1] + 1
    if missing := sorted(set(range(whole)) - set(numbers.tolist())):
        after = _name(stack.slices[int(np.argmax(np.diff(numbers) > 1))])
        places = np.interp(missing, numbers, stack.heights)
        raise InputError(
            f"{len(missing)} of {whole} slices are missing, at {_listed(places)} mm along the "
            f"normal of the slices (the first after {after}; the others lie {steps.min():.4g} mm apart)",
            where=stack.path,
            fix="export the series again; or medgen fix FOLDER -o VOLUME.nii.gz --fill-gaps interpolates them",
        )


def _directions(each: Slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along the rows and the columns, LPS+."""
    return _unit(each.orientation[:3]), _unit(each.orientation[3:])


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


def at_one_place(stack: Stack) -> NDArray[np.intp]:
    """Numbers of the slices after which another one lies at the same position."""
    return np.flatnonzero(np.diff(stack.heights) < _ONE_PLACE)


def require_apart(stack: Stack) -> None:
    """Refuse two slices at one position.

    Raises:
        InputError: there are such.
    """
    slices, heights = stack.slices, stack.heights
    if len(twice := at_one_place(stack)):
        first = int(twice[0])
        raise InputError(
            f"{len(twice)} of {len(slices)} slices lie where another one does, the first at {heights[first]:.2f} mm: "
            f"{_name(slices[first])} and {_name(slices[first + 1])}",
            where=stack.path,
            fix="give a folder with one image (echo, b-value, time point) of each position; if they are copies of each "
            "other, medgen fix FOLDER -o VOLUME.nii.gz --drop-copies leaves them out",
        )


def _require_one_line(stack: Stack) -> None:
    """Refuse a slice that lies beside the line through the first and the last one."""
    places = np.array([each.position for each in stack.slices])
    shares = (stack.heights - stack.heights[0]) / (stack.heights[-1] - stack.heights[0])
    away = np.linalg.norm(places - places[0] - np.outer(shares, places[-1] - places[0]), axis=1)
    worst = int(np.argmax(away))
    if away[worst] > SAME_GRID * min(stack.slices[0].spacing):
        raise InputError(
            f"{_name(stack.slices[worst])} lies {away[worst]:.2f} mm beside the line through the first and last slice",
            where=stack.path,
            fix="take out of the folder what is no slice of this volume",
        )


def _doubts(stack: Stack, count: int) -> tuple[str, ...]:
    """Even distances that are not those of the header: every second slice may be missing."""
    step = float(stack.heights[-1] - stack.heights[0]) / (count - 1)
    between = stack.slices[0].between
    if not between or abs(step - abs(between)) <= SAME_GRID * abs(between):
        return ()
    return (f"the slices lie {step:.4g} mm apart, where the header says {abs(between):.4g}: some may be missing",)


def _name(each: Slice) -> str:
    return each.path.name if each.frame == 0 else f"{each.path.name} (frame {each.frame})"


def _listed(heights: NDArray[np.float64]) -> str:
    more = f" and {len(heights) - _NAMED} more" if len(heights) > _NAMED else ""
    return ", ".join(f"{height:.1f}" for height in heights[:_NAMED]) + more
