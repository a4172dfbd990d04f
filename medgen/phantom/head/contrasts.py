"""Scans of any contrast, for a network that must find tissues in whatever sequence it is given.

The idea is that of SynthSeg (Billot et al., Medical Image Analysis 86:102789, 2023). Four of five scans obey physics
(:mod:`medgen.phantom.head.randomised` draws the settings of the sequence); in the others every tissue has a brightness
of its own, drawn at random.

====================  ===============================================================================
what                  range
====================  ===============================================================================
physical contrast     t1 and t2 in three of ten scans each, flair in a quarter, seldom pd or a gradient echo without its
                      signal loss; with drawn settings
free contrast         each tissue 0.05 to 1 of the brightest; bone and teeth below 0.15 in three of four scans; the
                      fluid within 0.05 of air in one of four; grey and white matter differ by 0.06 at least
voxel                 edge 0.8 to 2 mm, in one of two one axis up to 5 times as thick, 5 mm at most
noise                 0.5 to 8 % of white matter
non-uniformity        5 to 60 %
skull                 in half of the scans stripped, with an edge 4 mm inside to 3 mm outside the brain's
====================  ===============================================================================
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medgen.cases import SOURCE
from medgen.phantom.head.acquisition import Scanner, make_scanner
from medgen.phantom.head.anatomy import Anatomy, tissue_fraction
from medgen.phantom.head.pathology import brain_mask
from medgen.phantom.head.randomised import random_scanner
from medgen.phantom.head.sequences import PROTOCOLS, DrawnContrast, Protocol
from medgen.phantom.head.tissues import NAMES
from medgen.phantom.head.varied import BIAS, NOISE, draw_log_uniform, draw_voxel
from medgen.phantom.randomness import Stream

IMAGE = "image"
"""Name of the only sequence, and role of the image."""
CLASSES: dict[str, tuple[str, ...]] = {
    "grey": ("grey",),
    "white": ("white",),
    "csf": ("csf",),
    "bone": ("cortical", "marrow", "tooth"),
    "soft": ("fat", "muscle", "skin", "mucosa"),
    "air": ("air",),
}
"""Tissues of each class, whose number in the label map is its place, from 1. Air is that within the head."""
_PHYSICAL = 0.8
"""Chance of a contrast that obeys physics."""
_SHARES, _OTHER = {"t1": 0.3, "t2": 0.3, "flair": 0.25, "pd": 0.08}, 0.07
"""How often each physical contrast is drawn; the gradient echo, magnitude or not, has the rest."""
_LEAST = 0.06
"""Difference of grey and white matter relative to the brightest tissue, below which nothing could tell them apart."""
_COARSEST, _THICKEST = 2.0, 5.0
"""Edges of a voxel in mm within a slice and across."""
_STRIPPED_MM = (-4.0, 3.0)


def any_scanner(stream: Stream) -> Scanner:
    """A scanner with the one sequence :data:`IMAGE`, of a contrast drawn at random; the table above has the ranges.

    Args:
        stream: of this scan; the same stream gives the same scanner.
    """
    generator = stream.generator("any contrast")
    noise, bias = (draw_log_uniform(generator, *limits) for limits in (NOISE, BIAS))
    voxel = draw_voxel(generator, thickest=_THICKEST)
    x, y, z = (min(each, _COARSEST) if each == min(voxel) else each for each in voxel)
    protocol = _physical(generator, stream) if generator.random() < _PHYSICAL else _free(generator)
    return replace(
        make_scanner(SOURCE, stream),
        noise=noise,
        bias=bias,
        gains={IMAGE: 1.0},
        protocols={IMAGE: replace(protocol, voxel=(x, y, z), susceptible="")},
    )


def _physical(generator: np.random.Generator, stream: Stream) -> Protocol:
    protocols = random_scanner(stream).protocols
    weights = [_SHARES.get(name, _OTHER) for name in protocols]
    return protocols[list(protocols)[int(generator.choice(len(weights), p=np.divide(weights, sum(weights))))]]


def _free(generator: np.random.Generator) -> Protocol:
    values = dict(zip(NAMES, generator.uniform(0.05, 1.0, len(NAMES)), strict=True))
    while abs(values["grey"] - values["white"]) < _LEAST:
        values["grey"] = generator.uniform(0.05, 1.0)
    if generator.random() < 0.75:
        values |= {name: generator.uniform(0.0, 0.15) for name in ("cortical", "tooth")}
    if generator.random() < 0.25:
        values["csf"] = generator.uniform(0.0, 0.05)
    values["air"] = 0.0
    drawn = tuple(float(values[name]) for name in NAMES)
    # The stored image is scaled by white matter, which may be dark here: at 0.05 the brightest is 20 times brighter.
    return replace(PROTOCOLS["t1"], sequence=DrawnContrast(drawn), white=300.0 * values["white"])


def tissue_labels(anatomy: Anatomy) -> NDArray[np.uint8]:
    """The class that takes most of each voxel of the head, (X, Y, Z), see :data:`CLASSES`; 0 around the head."""
    shares = np.stack([tissue_fraction(anatomy, *names) for names in CLASSES.values()])
    labels: NDArray[np.uint8] = (1 + shares.argmax(axis=0)).astype(np.uint8)
    labels[~anatomy.head] = 0
    return labels


def stripped_mask(anatomy: Anatomy, generator: np.random.Generator) -> NDArray[np.bool_]:
    """What is left of a head whose skull was taken away by hand or by a program, (X, Y, Z)."""
    from scipy import ndimage

    edge, spacing = float(generator.uniform(*_STRIPPED_MM)), anatomy.grid.spacing
    brain = brain_mask(anatomy)
    away = ndimage.distance_transform_edt(~brain if edge > 0 else brain, sampling=spacing)
    return np.asarray(away <= edge if edge > 0 else away > -edge)
