"""Lays the organs of the pelvis down, front to back, as the signal that each scan gets from every voxel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medgen.phantom.prostate.anatomy import Box, Space
from medgen.phantom.prostate.lesions import Findings, Focus
from medgen.phantom.shapes import Capsule, Ellipsoid, coverage
from medgen.types import Floats

WHOLE: Box = (slice(None), slice(None), slice(None))


class Scene:
    """Values of every voxel while organs are laid down in order of priority.

    Each organ takes its coverage of what the earlier ones left, so the parts of a voxel sum to 1 at the end.

    Attributes:
        space: the person on a grid.
        images: what has been laid down, (M, X, Y, Z): one image per scan, or a map of one tissue.
        width: mm over which a surface is blurred: the size of the voxel.
    """

    def __init__(self, space: Space, values: Mapping[str, Floats]) -> None:
        self.space = space
        self.width = float(np.mean(space.grid.spacing[:2]))
        self._values = values
        self.images: Floats = np.zeros((len(values["fat"]), *space.grid.shape))
        self._free: Floats = np.ones(space.grid.shape)

    def lay(self, shares: Mapping[str, Floats | float], part: Floats, box: Box = WHOLE) -> None:
        """Give ``part`` of the free voxel in ``box`` to tissues by ``shares`` that sum to 1."""
        taken = self._free[box] * part
        for tissue, share in shares.items():
            amount = taken * share
            for image, value in zip(self.images, self._values[tissue], strict=True):
                if value:
                    image[box] += value * amount
        self._free[box] -= taken

    def cover(self, tissue: str, distance: Floats, box: Box = WHOLE) -> None:
        """Fill the inside of a surface with one tissue."""
        self.lay({tissue: 1.0}, coverage(distance, self.width), box)


def focus_part(space: Space, focus: Focus, width: float) -> tuple[Floats, Floats, Box]:
    """Coverage of one focus, its signed distance in mm, and the box that holds it."""
    distance, box = space.distance((focus.shape,))
    distance += focus.rough * space.texture(5.0)[box]
    limit = space.gland[box]
    if focus.zone == "peripheral":
        limit = np.maximum(limit, -space.transition[box])
    elif focus.zone == "transition":
        limit = space.transition[box]
    distance = np.maximum(distance, limit)
    return coverage(distance, width), distance, box


def paint(space: Space, findings: Findings, values: Mapping[str, Floats]) -> Floats:
    """Images (M, X, Y, Z) of one person.

    Args:
        space: the person on a grid.
        findings: what is in the gland.
        values: value of each tissue in each image, (M,).
    """
    scene = Scene(space, values)
    for focus in (*findings.tumours, *findings.inflammation):
        part, _, box = focus_part(space, focus, scene.width)
        scene.lay({focus.tissue: 1.0}, part * focus.share, box)
    _gland(scene, findings)
    _rectum(scene)
    _bladder(scene)
    _vesicles(scene)
    _muscles(scene)
    _bones(scene)
    _fat(scene)
    return scene.images


def _gland(scene: Scene, findings: Findings) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    reach = np.array(pelvis.radii) + 1.5
    box = space.box(np.subtract(pelvis.centre, reach), np.add(pelvis.centre, reach))
    points, gland, transition = space.points[(slice(None), *box)], space.gland[box], space.transition[box]
    inside = coverage(gland, scene.width)
    middle, neck, apex = space.from_gland((0, 0.05, 0)), space.from_gland((0, 0.3, 1)), space.from_gland((0, 0.1, -1.2))
    urethra = np.minimum(
        Capsule(middle, neck, 1.6, 1.8).distance(points), Capsule(apex, middle, 1.8, 2.4).distance(points)
    )
    scene.lay({"vessel": 0.45, "fibrous": 0.55}, inside * coverage(urethra, scene.width), box)
    for focus in findings.nodules:
        _nodule(scene, focus)
    front = Ellipsoid(space.from_gland((0, 1.0, 0.1)), _scaled(pelvis.radii, (0.55, 0.28, 0.85))).distance(points)
    scene.lay({"fibrous": 0.8, "stroma": 0.2}, inside * coverage(front, 2.0), box)
    centre = Ellipsoid(space.from_gland((0, -0.45, 0.75)), _scaled(pelvis.radii, (0.42, 0.3, 0.42))).distance(points)
    scene.lay({"stroma": 0.75, "septum": 0.25}, 0.8 * inside * coverage(centre, 3.0), box)
    fine, medium, slow = (space.texture(knots)[box] for knots in (2.2, 5.0, 14.0))
    shell = np.clip(1 - np.abs(transition) / 0.7, 0, 1)
    scene.lay({"fibrous": 1.0}, 0.6 * shell * inside, box)
    stroma = np.clip(0.68 + 0.14 * medium + 0.14 * fine + 0.08 * slow, 0.1, 1.0)
    scene.lay({"stroma": stroma, "glandular": 1 - stroma}, coverage(transition, scene.width), box)
    scene.lay({"fibrous": 1.0}, 0.65 * np.clip(1 - np.abs(gland) / 0.8, 0, 1), box)
    septum = np.clip(pelvis.patchy * (0.20 + 0.20 * fine + 0.12 * medium + 0.12 * slow), 0, 0.9)
    scene.lay({"septum": septum, "peripheral": 1 - septum}, inside, box)


def _nodule(scene: Scene, focus: Focus) -> None:
    part, distance, box = focus_part(scene.space, focus, scene.width)
    medium, fine = scene.space.texture(5.0)[box], scene.space.texture(2.2)[box]
    if focus.rim:
        core = coverage(distance + focus.rim, scene.width)
        scene.lay({"fibrous": 1.0}, 0.7 * (part - core), box)
        part = core
    share = np.clip(focus.share + 0.12 * (medium + fine), 0, 1)
    scene.lay({focus.tissue: share, "stroma": 1 - share}, part, box)


def _rectum(scene: Scene) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    back = pelvis.centre[1] - pelvis.radii[1] + 2.0
    low = (pelvis.centre[0] * 0.5, back - 8.0 - 6.0, -60.0)
    level = (pelvis.centre[0] * 0.5, back - pelvis.rectum, pelvis.centre[2])
    high = (pelvis.centre[0] * 0.5, back - pelvis.rectum - pelvis.tilt * 60, 60.0)
    parts = (Capsule(low, level, 8.0, pelvis.rectum), Capsule(level, high, pelvis.rectum, pelvis.rectum + 1))
    distance, box = space.distance(parts, 4.0)
    distance += 0.8 * space.texture(14.0)[box]
    lumen = distance + 2.6 + 0.8 * space.texture(5.0)[box]
    if pelvis.gas:
        # Gas rises to the front of a man who lies on his back, between stool below and above.
        level_of_gas = back - 2 * pelvis.rectum * pelvis.gas
        _, y, z = space.points[(slice(None), *box)]
        below, above = np.add(pelvis.pocket, pelvis.centre[2])
        ends = np.maximum(below - z, z - above) + 1.5 * space.texture(5.0)[box]
        scene.cover("gas", np.maximum(np.maximum(lumen, ends), level_of_gas - y), box)
    mixed = np.clip(0.5 + 0.3 * space.texture(5.0)[box], 0, 1)
    scene.lay({"stool": mixed, "wall": 1 - mixed}, coverage(lumen, scene.width), box)
    layers = np.clip(0.5 + distance / 3.0, 0, 1)
    scene.lay({"muscle": 0.7 * layers, "wall": 1 - 0.7 * layers}, coverage(distance, scene.width), box)


def _bladder(scene: Scene) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    wall = 3.5
    # It sits on the base and hangs over the front of the gland.
    x, y, z = space.from_gland((0, 1.0, 0.6))
    lumen, box = space.distance((Ellipsoid((x, y, z + pelvis.bladder[2]), pelvis.bladder),), wider=wall)
    scene.cover("urine", lumen, box)
    scene.lay({"muscle": 0.75, "wall": 0.25}, coverage(lumen - wall, scene.width), box)


def _vesicles(scene: Scene) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    start, bend, end = (
        space.from_gland(offset) for offset in ((0.12, -0.55, 0.95), (0.5, -0.75, 1.25), (1.0, -0.85, 1.45))
    )
    right = Capsule(start, bend, pelvis.vesicle * 0.6, pelvis.vesicle), Capsule(bend, end, pelvis.vesicle, 3)
    left = tuple(_mirrored(capsule, pelvis.centre[0]) for capsule in right)
    distance, box = space.distance((*right, *left))
    fluid = np.clip(0.6 + 0.6 * space.texture(2.2)[box], 0, 1)
    scene.lay({"vesicle": fluid, "wall": 1 - fluid}, coverage(distance, 1.0), box)


def _muscles(scene: Scene) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    x, y, z = space.points
    side = np.abs(x - 0.5 * pelvis.centre[0])
    strands = np.clip(0.06 + 0.10 * space.texture(5.0), 0, 0.5)
    # The sphincter below the apex.
    apex, floor = space.from_gland((0, 0.05, -0.9)), space.from_gland((0, 0.15, -2.5))
    sphincter, box = space.distance((Capsule(apex, floor, 7.5, 9.0),))
    scene.lay({"muscle": 0.6, "wall": 0.4}, coverage(sphincter, 2.0), box)
    # The levator ani: a sheet on either side of the gland; the two meet behind the rectum, closer in the lower slices.
    behind = pelvis.centre[1] - pelvis.radii[1] - 2 * pelvis.rectum - 5
    width = np.maximum(pelvis.radii[0] + pelvis.levator + 0.45 * np.clip(z - pelvis.centre[2], -40, 0), 12)
    length = pelvis.centre[1] - behind
    steep = np.sqrt((2 * side / width**2) ** 2 + 1 / length**2)
    sheet = ((side / width) ** 2 - (y - behind) / length) / steep
    sheet = np.maximum(
        np.abs(sheet + 1.5 * space.texture(14.0)) - 2.9 - 0.5 * space.texture(5.0),
        y - pelvis.centre[1] - 0.3 * pelvis.radii[1],
    )
    sheet = np.maximum(sheet, z - pelvis.centre[2] - 0.9 * pelvis.radii[2])
    scene.lay({"muscle": 1 - strands, "fat": strands}, coverage(sheet, scene.width))
    # The obturator internus: a thick plate on either side wall, farther out at the back.
    inner = pelvis.obturator - side + 0.006 * (y - 12) ** 2 + 0.15 * np.clip(z, 0, 30)
    plate = np.maximum(inner + 0.8 * space.texture(14.0), side - pelvis.obturator - 17)
    scene.lay({"muscle": 1 - strands, "fat": strands}, coverage(np.maximum(plate, -38 - y), scene.width))


def _bones(scene: Scene) -> None:
    space, pelvis = scene.space, scene.space.pelvis
    front = pelvis.centre[1] + pelvis.radii[1]
    arms = tuple(
        Capsule((side * 5.0, front + 19, -8.0), (side * 36.0, front + 10, -52.0), 9.0, 8.0) for side in (-1, 1)
    )
    bone, box = space.distance((*arms, Ellipsoid((0, front + 20, -12), (26, 9, 17))), 6.0)
    marrow = np.clip(0.85 + 0.12 * space.texture(5.0)[box], 0.3, 1)
    scene.lay({"marrow": marrow, "bone": 1 - marrow}, coverage(bone + 1.5, scene.width), box)
    scene.lay({"fibrous": 0.5, "bone": 0.5}, coverage(bone, scene.width), box)


def _fat(scene: Scene) -> None:
    """Everything else: fat with strands, and a net of veins in front of the gland and at its corners."""
    space, pelvis = scene.space, scene.space.pelvis
    fine, medium, slow = space.texture(2.2), space.texture(5.0), space.texture(14.0)
    near = np.exp(-((np.maximum(space.gland, 0) / 5.0) ** 2))
    ahead = np.clip((space.points[1] - pelvis.centre[1]) / 10, 0.3, 1.0)
    veins = np.clip(near * ahead * (0.35 + 0.6 * fine), 0, 0.9)
    # Septa are sheets: the places where a random field changes sign.
    septa = np.exp(-((medium / 0.10) ** 2)) + np.exp(-((slow / 0.035) ** 2))
    strands = np.clip(0.05 + 0.55 * near + 0.35 * septa + 0.10 * fine, 0, 0.85) * (1 - veins)
    scene.lay({"vessel": veins, "fibrous": strands, "fat": 1 - veins - strands}, np.ones(space.grid.shape))


def _scaled(radii: tuple[float, float, float], by: tuple[float, float, float]) -> tuple[float, float, float]:
    return radii[0] * by[0], radii[1] * by[1], radii[2] * by[2]


def _mirrored(capsule: Capsule, middle: float) -> Capsule:
    """The same on the other side of the plane x = ``middle``."""
    start, end = capsule.start, capsule.end
    return Capsule(
        (2 * middle - start[0], start[1], start[2]),
        (2 * middle - end[0], end[1], end[2]),
        capsule.radius,
        capsule.end_radius,
    )
