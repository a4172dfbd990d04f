"""Lesions of a virtual patient: where they are and what they are, in millimetres, before any voxel is filled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medgen.phantom.deformation import SubjectMap
from medgen.phantom.grid import field_of_view
from medgen.phantom.head.template import Template
from medgen.phantom.randomness import Stream
from medgen.phantom.shapes import Ellipsoid
from medgen.types import Floats

_LATTICE = 4.0  # mm; places are chosen on it at every spacing, then moved by up to half of it
_VEINS = 25


@dataclass(frozen=True)
class Lesion:
    """A patch of abnormal tissue.

    Attributes:
        shape: its outline in mm of the scanner's frame, before it is made irregular.
        rim: mm of the margin that holds no second tissue.
        amount: largest share that the second tissue (blood, or scar) takes of the core, 0 to 1.
    """

    shape: Ellipsoid
    rim: float
    amount: float


@dataclass(frozen=True, eq=False)
class Speck:
    """Something thinner than a voxel: points (N, 3) in mm that carry ``volume`` mm3 each."""

    points: Floats
    volume: float


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything abnormal in one head.

    Attributes:
        contusions: what is labelled: oedema with petechial blood.
        distractors: what looks the same without blood: white-matter hyperintensities and old infarcts.
        veins: thin tubes.
        bleeds: microbleeds.
    """

    contusions: tuple[Lesion, ...]
    distractors: tuple[Lesion, ...]
    veins: tuple[Speck, ...]
    bleeds: tuple[Speck, ...]


@dataclass(frozen=True)
class Disease:
    """What patients have.

    Attributes:
        distractors: least and greatest number, 0 to 20, of lesions that look like a contusion but for the blood.
        convex: share of the contusions, 0 to 1, that lie under the convexity, far from the air of the skull base; the
            others are mostly frontal and temporal. The same holds for the distractors near the surface: else the place
            alone would tell one from the other.
        blood: factor, 0 to 2, on the share of blood in a contusion, which is at most all of its core, and on that of
            scar in a distractor: else a spin echo, which sees both alike, would tell them by how much there is.
        shallow: share of the distractors, 0 to 1, near the surface, where contusions lie; the others are in deep white
            matter, where their place alone tells what they are.
    """

    distractors: tuple[int, int] = (6, 10)
    convex: float = 0.0
    blood: float = 1.0
    shallow: float = 0.5


USUAL = Disease()


def draw_findings(template: Template, mapping: SubjectMap, stream: Stream, disease: Disease = USUAL) -> Findings:
    """Draw the lesions of one subject.

    Args:
        template: at any spacing; only what does not depend on it is used.
        mapping: the subject's.
        stream: the subject's; it alone decides, so the lesions stand at the same millimetres at any spacing.
        disease: how many, where, and how much blood.

    Returns:
        3 to 5 contusions of 5 to 11 mm (radius) near the surface; distractors of 4 to 10 mm, in deep white matter or
        where contusions lie; 25 veins; 3 to 8 microbleeds.
    """
    places = _Places(template, mapping)
    generator, where = stream.generator("contusions"), stream.generator("convexity")
    taken: list[tuple[Floats, float]] = []

    def surface() -> Floats:
        return places.convex if where.random() < disease.convex else places.superficial

    def filled(lesion: Lesion) -> Lesion:
        return replace(lesion, amount=min(1.0, disease.blood * lesion.amount))

    contusions = [_lesion(generator, places, surface(), (5.0, 11.0), taken) for _ in range(generator.integers(3, 6))]
    generator = stream.generator("distractors")
    distractors = []
    for _ in range(generator.integers(disease.distractors[0], disease.distractors[1] + 1)):
        weights = surface() if generator.random() < disease.shallow else places.white
        distractors.append(_lesion(generator, places, weights, (4.0, 10.0), taken))
    veins = _veins(stream.generator("veins"), places, distractors)
    generator = stream.generator("microbleeds")
    bleeds = [_bleed(generator, places.draw(generator, places.brain)) for _ in range(generator.integers(3, 9))]
    return Findings(tuple(map(filled, contusions)), tuple(map(filled, distractors)), veins, tuple(bleeds))


class _Places:
    """Where lesions may lie: weights (N,) of points on a lattice in the scanner's millimetres."""

    def __init__(self, template: Template, mapping: SubjectMap) -> None:
        grid = field_of_view(_LATTICE)
        points, there = grid.points().reshape(3, -1), mapping(grid).reshape(3, -1)
        depth = -template.hull.sample(there)
        inside = np.flatnonzero((depth > 2) & (there[2] > -50))
        self.points, there, depth = points[:, inside], there[:, inside], depth[inside]
        brain, white = template.brain.sample(there), template.deep.sample(there)
        lateral, behind, height = np.abs(there[0]), there[1], there[2]
        above = (height > -15) | (behind > -20)  # neither cerebellum nor brain stem
        self.brain: Floats = (brain > 0.7).astype(np.float64) * np.where(above, 1.0, 0.3)
        self.white: Floats = ((white > 0.6) & above & (height > -8)).astype(np.float64)
        poles = _bump((lateral - 22, behind - 45, height + 8), (22, 18, 18))
        temporal = _bump((lateral - 48, behind - 2, height + 28), (14, 22, 16))
        near = np.exp(-0.5 * ((depth - 9) / 4.5) ** 2)
        self.superficial: Floats = near * np.where(above, 0.12 + poles + temporal, 0.04)
        self.convex: Floats = near * (height > 15)
        for weights in (self.superficial, self.convex):
            weights[brain <= 0.6] = 0

    def draw(self, generator: np.random.Generator, weights: Floats) -> Floats:
        """A point (3,) in mm, drawn by ``weights``."""
        total = np.cumsum(weights)
        index = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
        place: Floats = self.points[:, index] + generator.uniform(-0.5, 0.5, 3) * _LATTICE
        return place


def _bump(offset: tuple[Floats, Floats, Floats], reach: tuple[float, float, float]) -> Floats:
    squared = sum((part / extent) ** 2 for part, extent in zip(offset, reach, strict=True))
    bump: Floats = np.exp(-0.5 * np.asarray(squared))
    return bump


def _lesion(
    generator: np.random.Generator,
    places: _Places,
    weights: Floats,
    radii: tuple[float, float],
    taken: list[tuple[Floats, float]],
) -> Lesion:
    """One lesion, clear of those in ``taken`` if twenty tries suffice; it is appended there."""
    radius = float(generator.uniform(*radii))
    for _ in range(20):
        center = places.draw(generator, weights)
        if all(np.linalg.norm(center - other) > 1.1 * (radius + reach) for other, reach in taken):
            break
    taken.append((center, radius))
    ratio = generator.uniform(0.75, 1.35, 3)
    ratio /= ratio.prod() ** (1 / 3)
    tilt, roll = generator.uniform(-60, 60, 2)
    x, y, z = center
    first, second, third = radius * ratio
    shape = Ellipsoid((x, y, z), (first, second, third), float(tilt), float(roll))
    return Lesion(shape, float(generator.uniform(0.8, 2.2)), float(generator.uniform(0.5, 0.85)))


def _veins(generator: np.random.Generator, places: _Places, distractors: list[Lesion]) -> tuple[Speck, ...]:
    """Random walks; most white-matter lesions have one through their middle (the central vein sign)."""
    starts = [np.array(lesion.shape.center) for lesion in distractors if generator.random() < 0.7]
    starts += [places.draw(generator, places.brain) for _ in range(_VEINS - len(starts))]
    return tuple(_vein(generator, start) for start in starts)


def _vein(generator: np.random.Generator, start: Floats) -> Speck:
    """A tube of 25 to 60 mm through ``start`` that bends at random."""
    radius, length = generator.uniform(0.45, 0.9), generator.uniform(25, 60)
    step = 0.5
    count = int(length / step / 2)
    direction = _unit(generator.standard_normal(3))
    halves = []
    for sense in (1.0, -1.0):
        heading, turns = sense * direction, generator.standard_normal((count, 3))
        walk = np.empty((count, 3))
        for index, turn in enumerate(turns):
            heading = _unit(heading + 0.12 * turn)
            walk[index] = heading
        halves.append(start + step * np.cumsum(walk, axis=0))
    axis = np.concatenate(halves)
    copies = 6  # points spread over the cross-section
    points = np.repeat(axis, copies, axis=0) + _ball(generator, len(axis) * copies, radius)
    return Speck(points, float(np.pi * radius**2 * step / copies))


def _bleed(generator: np.random.Generator, center: Floats) -> Speck:
    radius = generator.uniform(0.6, 1.5)
    count = 120
    return Speck(center + _ball(generator, count, radius), float(4 / 3 * np.pi * radius**3 / count))


def _ball(generator: np.random.Generator, count: int, radius: float) -> Floats:
    """Points (count, 3), uniform in a ball around 0."""
    directions = generator.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points: Floats = directions * radius * generator.random((count, 1)) ** (1 / 3)
    return points


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.linalg.norm(vector)
    return unit
