"""Turns the table of structures into tissue fractions, front to back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medgen.phantom.deformation import SubjectMap
from medgen.phantom.grid import Grid
from medgen.phantom.head.structure import Structure
from medgen.phantom.head.tissues import HEALTHY, INDEX
from medgen.phantom.randomness import Stream, smooth_field
from medgen.phantom.shapes import Shape, coverage, smooth_union
from medgen.types import Floats

Box = tuple[slice, slice, slice]


class Canvas:
    """Fractions of every healthy tissue, and the part of each voxel that nothing has taken yet.

    Structures are laid down in order of priority; each takes its coverage of what the earlier ones left. So the
    fractions sum to 1 when the last layer takes everything.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.fractions: Floats = np.zeros((len(HEALTHY), *grid.shape))
        self.free: Floats = np.ones(grid.shape)

    def cover(self, tissue: str, part: Floats, box: Box | None = None) -> None:
        """Give ``part`` (X, Y, Z) of the free voxel in ``box`` to one tissue."""
        self.mix({tissue: None}, part, box)

    def mix(self, shares: Mapping[str, Floats | None], part: Floats, box: Box | None = None) -> None:
        """Give ``part`` of the free voxel to several tissues by ``shares`` that sum to 1 (None: all of it)."""
        where = box or (slice(None), slice(None), slice(None))
        taken = self.free[where] * part
        for tissue, share in shares.items():
            self.fractions[(INDEX[tissue], *where)] += taken if share is None else taken * share
        self.free[where] -= taken


@dataclass(frozen=True, eq=False)
class Textures:
    """Random fields of one subject (X, Y, Z), mean 0, standard deviation 1.

    Attributes:
        fine: varies over 4.5 mm (air cells, trabeculae).
        medium: over 9 mm (surfaces, fat between muscles).
        slow: over 25 mm (layers).
    """

    fine: Floats
    medium: Floats
    slow: Floats

    @classmethod
    def draw(cls, stream: Stream, grid: Grid) -> Textures:
        """The fields of the subject of ``stream``."""
        scales = {"fine": 4.5, "medium": 9.0, "slow": 25.0}
        return cls(**{name: smooth_field(stream.generator(name), grid, knots)[0] for name, knots in scales.items()})


class Carver:
    """Evaluates structures on one subject's grid.

    Attributes:
        points: template mm of every voxel, (3, X, Y, Z).
        hull: mm to the inside of the skull, negative inside (set once known).
        skin: mm to the skin, negative inside (set once known).
    """

    def __init__(self, stream: Stream, mapping: SubjectMap, grid: Grid, points: Floats, textures: Textures) -> None:
        self.points, self.textures = points, textures
        self.hull = self.skin = np.zeros(0)
        self._stream, self._mapping, self._grid = stream, mapping, grid
        self._drawn: dict[tuple[str, int], tuple[Shape, ...]] = {}

    def box(self, bounds: tuple[Floats, Floats], margin: float) -> Box | None:
        """Voxels that may lie within ``margin`` mm of template ``bounds``; None if outside the field of view."""
        return self._mapping.box(self._grid, bounds[0] - margin, bounds[1] + margin)

    def distances(self, structure: Structure, margin: float) -> Iterator[tuple[Box, Floats]]:
        """Boxes and signed distances in mm of the sides of ``structure`` that this subject has."""
        for side in (1, -1) if structure.paired else (1,):
            shapes = self._shapes(structure, side)
            if not shapes:
                continue
            corners = [shape.bounds() for shape in shapes]
            low = np.min([corner[0] for corner in corners], axis=0)
            high = np.max([corner[1] for corner in corners], axis=0)
            box = self.box((low, high), margin + structure.grow)
            if box is None:
                continue
            points = self.points[(slice(None), *box)]
            distance = shapes[0].distance(points)
            for shape in shapes[1:]:
                distance = smooth_union(distance, shape.distance(points), structure.blend)
            yield box, distance + structure.rough * self.textures.medium[box] - structure.grow

    def paint(self, canvas: Canvas, structure: Structure, free: Floats | None = None) -> None:
        """Lay ``structure`` down on ``canvas``; ``free`` (X, Y, Z) scales what it takes."""
        spacing = canvas.grid.spacing
        for box, distance in self.distances(structure, 2.0 + spacing):
            if not structure.within_skull:
                distance = np.maximum(distance, structure.clear_brain - self.hull[box])
            if structure.clear_skin:
                distance = np.maximum(distance, structure.clear_skin + self.skin[box])
            part = structure.amount * coverage(distance, spacing)
            if free is not None:
                part *= free[box]
            if structure.rim:
                core = coverage(distance + structure.rim, spacing)
                inner = np.divide(core, part, out=np.zeros_like(core), where=part > 1e-6).clip(0, 1)
            else:
                inner = np.ones_like(part)
            canvas.mix(self._shares(structure, inner, box), part, box)

    def _shares(self, structure: Structure, inner: Floats, box: Box) -> dict[str, Floats | None]:
        """Tissues of a structure whose interior takes ``inner`` of it and whose rim the rest."""
        fine, medium = self.textures.fine[box], self.textures.medium[box]
        if structure.fill == "bone":
            marrow = inner * (1 - np.clip(0.12 + 0.14 * fine, 0, 0.6))
            return {"marrow": marrow, "cortical": 1 - marrow}
        if structure.fill == "cells":
            air = np.clip(0.66 + 0.75 * fine, 0, 1)
            return {"air": air, "cortical": 0.65 * (1 - air), "mucosa": 0.35 * (1 - air)}
        if structure.fill == "muscle" and not structure.rim:
            fat = np.clip(0.05 + 0.12 * medium, 0, 0.6)
            return {"muscle": 1 - fat, "fat": fat}
        if not structure.rim:
            return {structure.fill: None}
        return {structure.fill: inner, structure.rim_tissue: 1 - inner}

    def _shapes(self, structure: Structure, side: int) -> tuple[Shape, ...]:
        """This subject's variant of a structure on one side; drawn once."""
        key = (structure.like or structure.name, side)
        if key not in self._drawn:
            generator = self._stream.generator(f"{structure.name} {side}")
            shift = structure.shift * np.clip(generator.standard_normal(3), -2, 2)
            scale = np.exp(structure.vary * np.clip(generator.standard_normal(3), -2, 2))
            absent = generator.random() < structure.absent
            shapes = structure.shapes if side > 0 else tuple(shape.mirrored() for shape in structure.shapes)
            self._drawn[key] = () if absent else tuple(shape.varied(shift, scale) for shape in shapes)
        return self._drawn[key]
