"""The outlines of a mask in one slice, as the polygons that DICOM takes: closed, and with holes cut out by a slit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
_Numbers = NDArray[np.intp]


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons that hold the centres of the pixels of a mask and of no others.

    They run half a pixel beyond the outermost centres, along the lines of marching squares. A hole becomes part of the
    polygon around it (PS3.3, C.8.8.6.3, "keyhole"): a slit of no width leads to it and back. A slit runs between two
    columns of pixels, from the top of its hole up to the next line, so it passes through no centre, where a reader
    could take it for the border, and through no other hole.

    Args:
        mask: (rows, columns).

    Returns:
        (points, 2) each, as row and column from the centre of the first pixel; the last point leads to the first.
    """
    from skimage.measure import find_contours

    # Padding closes what touches the border. Pixels that share a corner alone are pieces of their own.
    padded = np.pad(mask, 1)
    lines = [line[:-1] for line in find_contours(padded.astype(np.float64), 0.5, positive_orientation="high")]  # type: ignore[no-untyped-call]
    if not lines:
        return []
    points, first = np.concatenate(lines), np.cumsum([0, *map(len, lines[:-1])])
    holes = _areas(points, first) < 0
    parts = _parts(lines, _slits(padded, points, first, np.flatnonzero(holes)))
    return [_followed(number, parts) - 1.0 for number in np.flatnonzero(~holes).tolist()]


class _Slit(NamedTuple):
    """A way from a line to a hole.

    Attributes:
        hole: number of its line.
        begins: the point of this line.
        line: number of the one that is met.
        ends: the point of that one.
        bend: (points, 2), between the two points; none if the slit is straight.
    """

    hole: int
    begins: int
    line: int
    ends: int
    bend: Polygon


def _areas(points: Polygon, first: _Numbers) -> NDArray[np.float64]:
    """In pixels; above 0 around a piece and below 0 around a hole, as the lines turn the other way there.

    Args:
        points: of all lines, one after the other.
        first: number of the first point of each line.
    """
    after = np.arange(1, len(points) + 1)
    after[np.append(first[1:], len(points)) - 1] = first
    (rows, columns), (next_rows, next_columns) = points.T, points[after].T
    return 0.5 * np.add.reduceat(rows * next_columns - columns * next_rows, first)


def _slits(padded: NDArray[np.bool_], points: Polygon, first: _Numbers, holes: _Numbers) -> Iterator[_Slit]:
    """The slit of each hole.

    Above the pixel at the right end of a hole's first row, and above the one to the right of it, lie two pixels of the
    piece. Between these columns the slit begins. It ends where one of the two columns leaves the piece, at the point of
    a line between them; or where both do, at the point on the line above the left one, half a row further on. What it
    meets begins further up, so no slits lead in a circle.

    Args:
        padded: the mask with a border of background.
        points: of all lines, one after the other.
        first: number of the first point of each line.
        holes: numbers of their lines.
    """
    width = 2 * padded.shape[1]
    twice = np.rint(2 * points).astype(np.intp)  # in half pixels
    numbers = np.zeros((2 * padded.shape[0], width), np.intp)
    numbers[tuple(twice.T)] = np.arange(len(points))
    highest = np.minimum.reduceat(twice[:, 0] * width + width - 1 - twice[:, 1], first)[holes]
    row, column = highest // width // 2, (width - 1 - highest % width) // 2
    inside = padded[:, :-1] & padded[:, 1:]
    left = np.maximum.accumulate(np.where(inside, 0, np.arange(len(padded))[:, None]), axis=0)[row, column]
    straight = padded[left, column] | padded[left, column + 1]
    begins = numbers[2 * row + 2, 2 * column + 1] - first[holes]
    ends = np.where(straight, numbers[2 * left, 2 * column + 1], numbers[2 * left + 1, 2 * column])
    bends = np.stack([left + 1.0, column + 0.5], axis=1)[:, None]
    lines = np.searchsorted(first, ends, side="right") - 1
    for hole, begin, line, end, bend, plain in zip(
        holes, begins, lines, ends - first[lines], bends, straight, strict=True
    ):
        yield _Slit(int(hole), int(begin), int(line), int(end), bend[:0] if plain else bend)


def _parts(lines: list[Polygon], slits: Iterable[_Slit]) -> list[list[Polygon | int]]:
    """Each line as its points and, where slits go off, the numbers of the holes that they lead to."""
    own = {slit.hole: slit for slit in slits}
    met: list[list[tuple[int, int]]] = [[] for _ in lines]
    for slit in own.values():
        turned = own[slit.line].begins if slit.line in own else 0  # the way round a hole begins at its own slit
        met[slit.line].append(((slit.ends - turned) % len(lines[slit.line]), slit.hole))
    parts: list[list[Polygon | int]] = []
    for number, line in enumerate(lines):
        bend, way = line[:0], line
        if number in own:
            bend, turned = own[number].bend, own[number].begins
            way = np.concatenate([line[turned:], line[: turned + 1]])
        mine: list[Polygon | int] = [bend]
        before = 0
        for place, hole in sorted(met[number]):
            mine += [way[before : place + 1], hole]
            before = place
        parts.append([*mine, way[before:], bend])
    return parts


def _followed(number: int, parts: list[list[Polygon | int]]) -> Polygon:
    """One polygon: a line, with each hole where the slit to it goes off."""
    found: list[Polygon] = []
    ways = [iter(parts[number])]
    while ways:
        part = next(ways[-1], None)
        if part is None:
            ways.pop()
        elif isinstance(part, int):
            ways.append(iter(parts[part]))
        else:
            found.append(part)
    return np.concatenate(found)
