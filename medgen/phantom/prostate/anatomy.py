"""The male pelvis around the prostate: one person's sizes, and distances to zones and organs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.phantom.grid import SliceGrid
from medgen.phantom.randomness import Stream, smooth_field
from medgen.phantom.shapes import Capsule, Ellipsoid, Shape, smooth_union
from medgen.types import Floats

Box = tuple[slice, slice, slice]

EXTENT = (96.0, 96.0, 57.0)  # mm of the scanned box

_NEAR, _FAR = 20.0, 50.0  # mm around the gland within which distances are computed, and what stands beyond


@dataclass(frozen=True)
class Pelvis:
    """Sizes of one person, in mm of the scanned box (RAS+, the origin in its middle).

    Attributes:
        centre: of the gland.
        radii: half axes of the gland.
        enlargement: benign enlargement of the transition zone, 0 none to 1 severe.
        transition: half axes of the transition zone.
        apex: part of its breadth that the gland loses towards the apex.
        groove: depth of the groove in the middle of the posterior surface.
        patchy: how uneven the peripheral zone is, about 1.
        rectum: radius of the rectum at the level of the gland.
        gas: part of the rectum's lumen that holds gas, from the front (0 none).
        pocket: lower and upper end of the gas, mm from the level of the gland's centre.
        bladder: half axes of the lumen of the bladder.
        levator: breadth of the fat between the gland and the levator ani.
        obturator: distance of the obturator muscle from the middle.
        tilt: of rectum and pubis from the long axis, mm per mm.
        vesicle: radius of the seminal vesicles.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    enlargement: float
    transition: tuple[float, float, float]
    apex: float
    groove: float
    patchy: float
    rectum: float
    gas: float
    pocket: tuple[float, float]
    bladder: tuple[float, float, float]
    levator: float
    obturator: float
    tilt: float
    vesicle: float


def draw_pelvis(stream: Stream) -> Pelvis:
    """The sizes of one person; tumours and distractors are drawn from other numbers."""
    generator = stream.generator("pelvis")
    enlargement = float(generator.beta(1.6, 2.2))
    size = (1 + 0.16 * (enlargement - 0.4)) * np.exp(np.clip(generator.normal(0, 0.05), -0.1, 0.1))
    radii = np.array((25.0, 17.0 + 4.5 * enlargement, 19.0 + 3.0 * enlargement)) * size
    radii *= np.exp(np.clip(generator.normal(0, 0.05, 3), -0.1, 0.1))
    share = np.array((0.52 + 0.26 * enlargement, 0.66 + 0.17 * enlargement, 0.80)) * np.exp(
        np.clip(generator.normal(0, 0.04, 3), -0.08, 0.08)
    )
    centre = np.array((0, 2, -3)) + np.clip(generator.standard_normal(3), -2, 2) * (1.2, 2.0, 1.5)
    bladder = np.array((33.0, 23.0, 19.0)) * generator.uniform(0.75, 1.15, 3)
    return Pelvis(
        centre=_triple(centre),
        radii=_triple(radii),
        enlargement=enlargement,
        transition=_triple(radii * np.minimum(share, 0.9)),
        apex=float(generator.uniform(0.12, 0.30)),
        groove=float(generator.uniform(0.0, 3.0)),
        patchy=float(generator.uniform(0.6, 1.8)),
        rectum=float(generator.uniform(9.5, 18.0)),
        gas=float(generator.uniform(0.3, 1.0)) if generator.random() < 0.35 else 0.0,
        pocket=(float(generator.uniform(-18, 0)), float(generator.uniform(8, 30))),
        bladder=_triple(bladder),
        levator=float(generator.uniform(1.5, 4.0)),
        obturator=float(generator.uniform(31.0, 36.5)),
        tilt=float(generator.uniform(0.05, 0.25)),
        vesicle=float(generator.uniform(4.0, 7.0)),
    )


class Space:
    """One person's pelvis seen on one grid.

    Attributes:
        grid: the voxels.
        pelvis: the person.
        points: mm of the person's own undeformed frame at every voxel, (3, X, Y, Z).
        gland: signed mm to the surface of the gland, negative inside, 50 where it is far away, (X, Y, Z).
        transition: the same of the transition zone.
    """

    def __init__(self, grid: SliceGrid, pelvis: Pelvis, stream: Stream) -> None:
        self.grid, self.pelvis = grid, pelvis
        self._stream = stream
        self._textures: dict[float, Floats] = {}
        generator = stream.generator("deformation")
        points = grid.points()
        for knots, amplitude in ((34.0, 2.0), (15.0, 0.7)):
            points += amplitude * smooth_field(generator, grid, knots, 3)
        self.points = points
        reach = np.array(pelvis.radii)
        # Far away nothing needs to know how far.
        box = self.box(pelvis.centre - reach, pelvis.centre + reach, _NEAR)
        local = self._gland_frame(points[(slice(None), *box)])
        self.gland, self.transition = np.full(grid.shape, _FAR), np.full(grid.shape, _FAR)
        self.gland[box] = Ellipsoid((0, 0, 0), pelvis.radii).distance(local)
        self.transition[box] = np.maximum(self._transition(local), self.gland[box] + 0.3)

    def texture(self, knots: float) -> Floats:
        """Random field (X, Y, Z) of the person that varies over ``knots`` mm: mean 0, standard deviation 1."""
        if knots not in self._textures:
            self._textures[knots] = smooth_field(self._stream.generator(f"texture {knots}"), self.grid, knots)[0]
        return self._textures[knots]

    def box(self, low: Floats, high: Floats, margin: float = 8.0) -> Box:
        """Voxels that may lie between two corners of the person's frame; ``margin`` mm covers the deformation."""
        parts = []
        for axis in range(3):
            start = self.grid.axis(axis)[0]
            first = np.floor((low[axis] - margin - start) / self.grid.spacing[axis])
            last = np.ceil((high[axis] + margin - start) / self.grid.spacing[axis]) + 1
            size = self.grid.shape[axis]
            parts.append(slice(int(np.clip(first, 0, size)), int(np.clip(last, 0, size))))
        return parts[0], parts[1], parts[2]

    def distance(self, shapes: tuple[Shape, ...], blend: float = 0.0, wider: float = 0.0) -> tuple[Floats, Box]:
        """Signed mm to the union of ``shapes`` in a box that holds it and ``wider`` mm around it, and the box."""
        corners = [shape.bounds() for shape in shapes]
        low, high = np.min([low for low, _ in corners], axis=0), np.max([high for _, high in corners], axis=0)
        box = self.box(low - wider, high + wider)
        points = self.points[(slice(None), *box)]
        distance = shapes[0].distance(points)
        for shape in shapes[1:]:
            distance = smooth_union(distance, shape.distance(points), blend)
        return distance, box

    def from_gland(self, offset: tuple[float, float, float]) -> tuple[float, float, float]:
        """The point ``offset`` (in half axes of the gland) from the gland's centre."""
        return _triple(np.add(self.pelvis.centre, np.multiply(offset, self.pelvis.radii)))

    def _gland_frame(self, points: Floats) -> Floats:
        """Points relative to the gland, with apex, groove and flat back straightened to an ellipsoid."""
        pelvis = self.pelvis
        local: Floats = points - np.reshape(pelvis.centre, (3, 1, 1, 1))
        below = np.clip(-local[2] / pelvis.radii[2], 0, 1.2)
        local[0] /= 1 - pelvis.apex * below**1.5
        back = 1 / (1 + np.exp(np.clip(local[1] / 3.0, -30, 30)))
        local[1] -= pelvis.groove * back * np.exp(-((local[0] / 9.0) ** 2))
        local[1] /= 1 - 0.6 * pelvis.apex * below**1.5
        return local

    def _transition(self, local: Floats) -> Floats:
        pelvis = self.pelvis
        # Its front is the front of the gland: the peripheral zone lies behind and beside it.
        forward = 1.03 * pelvis.radii[1] - pelvis.transition[1]
        lobe = Ellipsoid((0, forward, 0.12 * pelvis.radii[2]), pelvis.transition).distance(local)
        tube = Capsule((0, 1, -1.3 * pelvis.radii[2]), (0, forward, 0), 4.2, 5.0).distance(local)
        return smooth_union(lobe, tube, 5.0)


def _triple(values: Floats) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)
