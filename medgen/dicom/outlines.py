"""The outlines of a mask in one slice, as the polygons that DICOM takes: closed, and with holes cut out by a slit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Polygon = NDArray[np.float64]


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons that hold the centres of the pixels of a mask and of no others.

    They run half a pixel beyond the outermost centres, along the lines of marching squares. A hole becomes part of the
    polygon around it (PS3.3, C.8.8.6.3, "keyhole"): a slit of no width leads to it and back. No slit passes through
    the centre of a pixel, where a reader could take it for the border: it joins a point between two rows with one
    between two columns, and between such points there is no centre.

    Args:
        mask: (rows, columns).

    Returns:
        (points, 2) each, as row and column from the centre of the first pixel; the last point leads to the first.
    """
    from skimage.measure import find_contours

    # Padding closes what touches the border. Pixels that share a corner alone are pieces of their own.
    padded = np.pad(mask, 1).astype(np.float64)
    lines = [line[:-1] - 1.0 for line in find_contours(padded, 0.5, positive_orientation="high")]  # type: ignore[no-untyped-call]
    areas = [_area(line) for line in lines]
    outer = [line for line, area in zip(lines, areas, strict=True) if area > 0]
    sizes = np.array([area for area in areas if area > 0])
    holes: list[list[Polygon]] = [[] for _ in outer]
    for hole in (line for line, area in zip(lines, areas, strict=True) if area < 0):
        around = [number for number, line in enumerate(outer) if _holds(line, hole)]
        holes[min(around, key=lambda number: sizes[number])].append(hole)
    return [_joined(line, inside) for line, inside in zip(outer, holes, strict=True)]


def _area(line: Polygon) -> float:
    """In pixels; above 0 around a piece and below 0 around a hole, as the lines turn the other way there."""
    rows, columns = line.T
    return 0.5 * float(np.sum(rows * np.roll(columns, -1) - columns * np.roll(rows, -1)))


def _holds(line: Polygon, hole: Polygon) -> bool:
    """Whether a hole lies in a polygon; no two lines of marching squares have a point in common."""
    from skimage.measure import points_in_poly

    return bool(points_in_poly(hole[:1], line)[0])  # type: ignore[no-untyped-call]


def _joined(line: Polygon, holes: list[Polygon]) -> Polygon:
    """One polygon without the holes, the nearest first, so that a slit does not run across the next hole."""
    tree = cKDTree(line)
    for hole in sorted(holes, key=lambda each: float(tree.query(each)[0].min())):
        start, end = _slit(line, hole)
        line = np.concatenate([line[: start + 1], hole[end:], hole[: end + 1], line[start:]])
    return line


def _slit(line: Polygon, hole: Polygon) -> tuple[int, int]:
    """Indices of the nearest points of which one lies between two rows and the other between two columns."""
    between = [np.flatnonzero(each[:, 0] % 1 != 0) for each in (line, hole)]
    within = [np.flatnonzero(each[:, 0] % 1 == 0) for each in (line, hole)]
    best = (np.inf, 0, 0)
    for mine, theirs in ((between[0], within[1]), (within[0], between[1])):
        away, nearest = cKDTree(line[mine]).query(hole[theirs])
        first = int(np.argmin(away))
        best = min(best, (float(away[first]), int(mine[nearest[first]]), int(theirs[first])))
    return best[1], best[2]
