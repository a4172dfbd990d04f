"""One subject's head as tissue fractions: who is in the voxel, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgen.phantom.deformation import SubjectMap
from medgen.phantom.grid import Grid
from medgen.phantom.head import skull, soft
from medgen.phantom.head.atrophy import Atrophy
from medgen.phantom.head.painting import Canvas, Carver, Textures
from medgen.phantom.head.template import CANAL, CORD, Template
from medgen.phantom.head.tissues import INDEX
from medgen.phantom.randomness import Stream, smooth_field
from medgen.phantom.shapes import coverage, smooth_union
from medgen.types import Floats


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head on a grid.

    Attributes:
        grid: voxels.
        fractions: (K, X, Y, Z) in [0, 1], the first K of :data:`~medgen.phantom.head.tissues.NAMES`; they sum to 1.
            Without lesions K counts the healthy tissues.
        head: (X, Y, Z) bool, everything inside the skin, with the air in it.
        brain_distance: (X, Y, Z) mm to the inside of the skull, negative inside.
        mapping: the scanner's millimetres to those of the template.
    """

    grid: Grid
    fractions: Floats
    head: NDArray[np.bool_]
    brain_distance: Floats
    mapping: SubjectMap


def build_head(template: Template, stream: Stream, grid: Grid, atrophy: Atrophy | None = None) -> Anatomy:
    """Draw one subject.

    Args:
        template: from :func:`medgen.phantom.head.template.load_template` for the spacing of ``grid``.
        stream: the subject's random stream; it alone decides the anatomy, at any spacing.
        grid: where the fractions are wanted.
        atrophy: of the brain, beyond that by which ordinary subjects differ.
    """
    mapping = SubjectMap(stream)
    points = mapping(grid)
    carver = Carver(stream, mapping, grid, points, Textures.draw(stream, grid))
    # Some brains fill the skull, others have shrunk away from it.
    hull = template.hull.sample(points) - stream.generator("fluid").uniform(-0.3, 1.3) - (atrophy.gap if atrophy else 0)
    inner, diploe, outer, scalp = _thickness(stream, grid, points)
    surface = _surface(carver, hull - (inner + diploe + outer + scalp))
    carver.hull, carver.skin = hull, surface

    canvas = Canvas(grid)
    _inside_skull(canvas, carver, template, stream, atrophy)
    for structure in soft.PASSAGES:
        carver.paint(canvas, structure)
    canvas.cover("air", 1 - coverage(surface, grid.spacing))
    thickness = 1.7 + 0.3 * carver.textures.slow
    canvas.cover("skin", 1 - coverage(surface + thickness, grid.spacing))
    for group in (skull.SINUSES, soft.ORBITS, skull.BONES):
        for structure in group:
            carver.paint(canvas, structure)
    _calvaria(canvas, carver, inner, diploe, outer)
    for structure in soft.MUSCLES:
        carver.paint(canvas, structure)
    _soft_tissue(canvas, carver, stream)
    return Anatomy(grid, canvas.fractions, (surface < 0) | (hull < 0), hull, mapping)


def _thickness(stream: Stream, grid: Grid, points: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Inner table, diploe, outer table and scalp in mm, (X, Y, Z) each."""
    generator = stream.generator("thickness")
    tables, middle, soft = smooth_field(generator, grid, 28.0, 3)
    middle = middle + 0.7 * smooth_field(generator, grid, 13.0)[0]
    size = np.exp(generator.normal(0, (0.10, 0.18, 0.15)))
    lateral, behind, height = points

    def bump(x: float, y: float, z: float, reach: float) -> Floats:
        squared = (np.abs(lateral) - x) ** 2 + (behind - y) ** 2 + (height - z) ** 2
        value: Floats = np.exp(-0.5 * squared / reach**2)
        return value

    thin = bump(68, 2, -8, 24)  # the temporal squama has next to no diploe
    thick = bump(0, -112, -14, 16) + 0.5 * bump(0, 76, 10, 22)  # occipital protuberance, frontal midline
    inner = np.clip(1.5 * size[0] * (1 + 0.18 * tables), 0.7, None)
    outer = np.clip(1.8 * size[0] * (1 - 0.15 * tables + 0.4 * thick), 0.8, None)
    diploe = np.clip(size[1] * (3.0 + 1.2 * middle + 2.5 * thick) * (1 - 0.9 * thin), 0.0, None)
    scalp = np.clip(size[2] * (6.0 + 0.9 * soft + 2.0 * thin), 3.5, None)
    return inner, diploe, outer, scalp


def _surface(carver: Carver, cranium: Floats) -> Floats:
    """Signed distance in mm to the skin: cranium, face and neck, the hollows of the eyes, the ears."""
    surface = cranium
    for structure in soft.FACE:
        for box, distance in carver.distances(structure, margin=18.0):
            blend = 14.0 if structure.name in ("face", "neck") else 9.0
            surface[box] = smooth_union(surface[box], distance, blend)
    for structure in soft.HOLLOWS:
        for box, distance in carver.distances(structure, margin=12.0):
            surface[box] = -smooth_union(-surface[box], distance, 8.0)
    for structure in soft.EARS:
        for box, distance in carver.distances(structure, margin=6.0):
            surface[box] = smooth_union(surface[box], distance, 3.0)
    return surface


def _inside_skull(canvas: Canvas, carver: Carver, template: Template, stream: Stream, atrophy: Atrophy | None) -> None:
    """Brain, fluid and cord, and the bone that reaches between the lobes."""
    hull, points, spacing = carver.hull, carver.points, canvas.grid.spacing
    near = hull < spacing
    brain = np.zeros((2, *hull.shape))
    brain[:, near], folding = _brain(template, stream, canvas.grid, points, near)
    if atrophy:
        brain[:, near] = atrophy.shrink(brain[:, near], points[:, near], hull[near], folding)
    filled = brain.sum(axis=0)
    for structure in skull.WITHIN_SKULL:
        # Bone stands where the template has no brain; the pineal gland is inside it.
        free = np.ones_like(hull) if structure.amount < 1 else np.clip(1 - 3 * filled, 0, 1)
        carver.paint(canvas, structure, free)
    space = coverage(hull, spacing)
    box = carver.box(CORD.bounds(), 6.0)
    if box is not None:
        cord = coverage(CORD.distance(points[(slice(None), *box)]), spacing)
        rest = cord * np.clip(1 - brain[(slice(None), *box)].sum(axis=0), 0, 1)
        brain[(0, *box)] += 0.4 * rest
        brain[(1, *box)] += 0.6 * rest
    fluid = np.clip(1 - brain.sum(axis=0), 0, 1)
    canvas.mix({"grey": brain[0], "white": brain[1], "csf": fluid}, space)


def _brain(
    template: Template, stream: Stream, grid: Grid, points: Floats, near: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Grey and white fractions (2, N) at the voxels ``near`` the brain; and this subject's own folding (N)."""
    generator = stream.generator("folding")
    folding = smooth_field(generator, grid, 8.0, 2)[:, near]
    atrophy = float(np.clip(generator.normal(0.0, 0.35), -0.7, 0.8))
    inside = points[:, near]
    grey, white = template.grey.sample(inside), template.white.sample(inside)
    fluid = np.clip(1 - grey - white, 0, 1)
    # Odds are multiplied, so pure tissue stays pure and only boundaries move.
    grey *= np.exp(0.55 * folding[0])
    white *= np.exp(0.55 * folding[1])
    fluid *= np.exp(atrophy)
    total = np.maximum(grey + white + fluid, 1e-9)
    return np.stack([grey / total, white / total]), folding[0]


def _calvaria(canvas: Canvas, carver: Carver, inner: Floats, diploe: Floats, outer: Floats) -> None:
    """Skull around the brain: two tables and the diploe, open at the foramen magnum."""
    hull, spacing, textures = carver.hull, canvas.grid.spacing, carver.textures
    shell = coverage(hull - (inner + diploe + outer), spacing)
    box = carver.box(CANAL.bounds(), 20.0)
    if box is not None:
        points = carver.points[(slice(None), *box)]
        opening = np.maximum(CANAL.distance(points) - 13.0, points[2] + 60.0)
        shell[box] *= 1 - coverage(opening, spacing)
    spongy = coverage(hull - (inner + diploe), spacing) - coverage(hull - inner, spacing)
    share = np.divide(spongy, shell, out=np.zeros_like(shell), where=shell > 1e-6).clip(0, 1)
    share *= 1 - np.clip(0.12 + 0.14 * textures.fine, 0, 0.6)
    canvas.mix({"marrow": share, "cortical": 1 - share}, shell)


def _soft_tissue(canvas: Canvas, carver: Carver, stream: Stream) -> None:
    """What is left of the head: fat below the skin, then muscle with fat between its bundles."""
    spacing, textures = canvas.grid.spacing, carver.textures
    layer = float(np.exp(stream.generator("fat").normal(0, 0.3)))
    low = carver.points[2] < -40
    depth = 1.7 + layer * np.where(low, 4.5, 2.8) * np.clip(1 + 0.3 * textures.slow, 0.4, None)
    deep = coverage(carver.skin + depth, spacing)
    # Muscles are bundles in thin sheets of fat (where a random field changes sign), with a larger pad here and there.
    sheets = np.clip(1.1 - np.abs(textures.medium) / 0.3, 0, 1)
    pads = np.clip(1.6 * (textures.slow - 0.55) + 0.5 * textures.medium, 0, 1)
    fat = 1 - deep * (1 - np.maximum(np.maximum(0.75 * sheets, pads), 0.05))
    canvas.mix({"fat": fat, "muscle": 1 - fat}, np.ones_like(fat))


def tissue_fraction(anatomy: Anatomy, *names: str) -> Floats:
    """Summed fraction of the named tissues, (X, Y, Z) in [0, 1]."""
    known = [INDEX[name] for name in names if INDEX[name] < len(anatomy.fractions)]
    total: Floats = anatomy.fractions[known].sum(axis=0)
    return total
