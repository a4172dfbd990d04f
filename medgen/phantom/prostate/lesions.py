"""Benign nodules, inflammation and tumours of one person: what there is and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.phantom.grid import SliceGrid
from medgen.phantom.prostate.anatomy import EXTENT, Pelvis, Space
from medgen.phantom.randomness import Stream
from medgen.phantom.shapes import Ellipsoid
from medgen.types import Floats

# How much of the place solid cancer takes on average, by ISUP grade group 1 to 5, and its spread between lesions.
# Growth between healthy glands lowers the contrast; the overlap of the grades with each other and with the distractors
# makes detection hard. `contrast` of make_prostate_phantom multiplies the means: lower is harder.
TUMOUR_SHARE = (0.38, 0.56, 0.68, 0.80, 0.90)
TUMOUR_SPREAD = 0.11
# Mean number of round distractors in the peripheral zone that look like a weak tumour in all three images.
FOCAL_DISTRACTORS = 0.5

_GRADES = (0.42, 0.27, 0.16, 0.15)  # of aggressive tumours: ISUP 2 to 5


@dataclass(frozen=True)
class Focus:
    """One place that differs from its surroundings.

    Attributes:
        shape: outline in mm of the person's frame.
        tissue: what takes its place.
        share: part of the place that it takes, 0 to 1.
        rough: amplitude in mm of irregularities of the surface.
        rim: thickness in mm of a fibrous capsule (nodules).
        grade: ISUP grade group of a tumour, 0 for everything benign.
        zone: "peripheral", "transition" or "" (both): what it may not leave.
    """

    shape: Ellipsoid
    tissue: str
    share: float
    rough: float = 0.5
    rim: float = 0.0
    grade: int = 0
    zone: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything focal in one gland; tumours come first where things overlap."""

    tumours: tuple[Focus, ...]
    inflammation: tuple[Focus, ...]
    nodules: tuple[Focus, ...]


def draw_findings(pelvis: Pelvis, stream: Stream, *, positive: bool, contrast: float = 1.0) -> Findings:
    """Findings of one person.

    Benign findings do not depend on whether there is a tumour, so that nothing but the tumour tells.

    Args:
        pelvis: the person.
        stream: the person's stream.
        positive: has 1 to 3 tumours, at least one of them aggressive (ISUP 2 or more); otherwise none or, in a third
            of the people, one of ISUP 1.
        contrast: factor on :data:`TUMOUR_SHARE`.
    """
    plan = Space(SliceGrid(EXTENT, (2.0, 2.0, 2.0)), pelvis, stream)
    return Findings(
        _tumours(plan, stream.generator("tumours"), positive, contrast),
        _inflammation(plan, stream.generator("inflammation")),
        _nodules(plan, stream.generator("nodules")),
    )


def _tumours(plan: Space, generator: np.random.Generator, positive: bool, contrast: float) -> tuple[Focus, ...]:
    if positive:
        grades = [2 + int(generator.choice(4, p=_GRADES))]
        for _ in range(int(generator.choice(3, p=(0.7, 0.22, 0.08)))):
            grades.append(1 + int(generator.choice(5, p=(0.5, 0.25, 0.12, 0.07, 0.06))))
    else:
        grades = [1] if generator.random() < 1 / 3 else []
    found: list[Focus] = []
    for grade in grades:
        peripheral = generator.random() < 0.75
        diameter = float(np.clip((6.3 + 1.2 * grade) * np.exp(generator.normal(0, 0.25)), 4, 15))
        share = TUMOUR_SHARE[grade - 1] * contrast + TUMOUR_SPREAD * np.clip(generator.standard_normal(), -2, 2)
        zone = "peripheral" if peripheral else "transition"
        place = _place(plan, generator, zone, 0.3 * diameter, found, diameter / 2)
        radii = diameter / 2 * np.exp(generator.normal(0, 0.12, 3)) * ((1.1, 0.9, 1.0) if peripheral else (1, 1, 1))
        shape = _ellipsoid(place, radii, generator)
        found.append(Focus(shape, "tumour", float(np.clip(share, 0.12, 0.96)), 0.08 * diameter, grade=grade))
    return tuple(found)


def _inflammation(plan: Space, generator: np.random.Generator) -> tuple[Focus, ...]:
    """Wedges, diffuse patches and round spots in the peripheral zone: dark in T2, the ADC less than in cancer."""
    found = []
    for _ in range(generator.poisson(1.6)):
        place = _place(plan, generator, "peripheral", 0.5, [], 0)
        radii = np.exp(generator.normal(0, 0.3, 3)) * (4.5, 8.0, 6.0)
        shape = _ellipsoid(place, radii, generator)
        found.append(Focus(shape, "inflamed", float(generator.uniform(0.35, 0.95)), 1.4, zone="peripheral"))
    for _ in range(generator.poisson(FOCAL_DISTRACTORS)):
        place = _place(plan, generator, "peripheral", 1.5, [], 0)
        radii = np.exp(generator.normal(0, 0.15, 3)) * generator.uniform(2.5, 5.0)
        shape = _ellipsoid(place, radii, generator)
        found.append(Focus(shape, "focal", float(generator.uniform(0.3, 0.75)), 0.6, zone="peripheral"))
    return tuple(found)


def _nodules(plan: Space, generator: np.random.Generator) -> tuple[Focus, ...]:
    """Benign nodules of the transition zone: more and larger ones in an enlarged gland."""
    found: list[Focus] = []
    enlargement = plan.pelvis.enlargement
    for _ in range(2 + generator.poisson(2 + 9 * enlargement)):
        radius = float(np.clip(generator.lognormal(np.log(3.2 + 2.5 * enlargement), 0.35), 2.0, 10.0))
        place = _place(plan, generator, "transition", 0.5 * radius, found, 0.8 * radius)
        shape = _ellipsoid(place, radius * np.exp(generator.normal(0, 0.12, 3)), generator)
        stromal = generator.random() < 0.4
        tissue, share = (
            ("compact", generator.uniform(0.25, 0.9)) if stromal else ("glandular", generator.uniform(0.3, 1))
        )
        rim = float(generator.uniform(0.5, 1.0)) if generator.random() < 0.75 else 0.0
        found.append(Focus(shape, tissue, float(share), 0.5, rim, zone="transition"))
    return tuple(found)


def _place(
    plan: Space, generator: np.random.Generator, zone: str, depth: float, others: list[Focus], apart: float
) -> tuple[float, float, float]:
    """A random point of a zone, at least ``depth`` mm under its surface where it is that thick, apart from others."""
    surface = np.maximum(plan.gland, -plan.transition) if zone == "peripheral" else plan.transition
    allowed = surface <= max(-depth, float(np.quantile(surface[surface < 0], 0.3)))
    points = plan.points[:, allowed]
    free = np.ones(points.shape[1], bool)
    for other in others:
        free &= other.shape.distance(points) > apart
    index = np.flatnonzero(free) if free.any() else np.arange(len(free))
    x, y, z = points[:, index[generator.integers(len(index))]]
    return float(x), float(y), float(z)


def _ellipsoid(place: tuple[float, float, float], radii: Floats, generator: np.random.Generator) -> Ellipsoid:
    tilt, roll = generator.uniform(-40, 40, 2)
    x, y, z = radii
    return Ellipsoid(place, (float(x), float(y), float(z)), float(tilt), float(roll))
