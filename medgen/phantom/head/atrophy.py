"""Brains that have shrunk: wide ventricles, open furrows, fluid below the skull.

The MNI152 maps are the mean of 152 people, whose furrows lie in different places, so grey matter fills them. Here the
cortex is a ribbon of a drawn thickness on the white matter, and what lies farther away is fluid; but deep nuclei and
the cerebellum keep their grey matter. Ventricles grow into what surrounds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage, special

from medgen.phantom.head.template import Map, load_maps
from medgen.phantom.randomness import Stream
from medgen.types import Floats

_DEEP_MM = 32.0
"""Depth below the inside of the skull from which grey matter is taken for a nucleus."""
_CEREBELLUM = (-38.0, -14.0)
"""Template mm: behind the first (y) and below the second (z) lies the cerebellum."""
_EDGE_MM = 0.6
"""Over which the ribbon ends."""
_THINNEST, _THICKEST = 1.8, 7.0
_WIDEST_MM, _GAP_MM = 5.0, 3.0


@dataclass(frozen=True)
class Atrophy:
    """How far a brain has shrunk; as it stands, not at all.

    Attributes:
        widening: mm by which the ventricles grow on every side.
        cortex: thickness in mm of the ribbon of grey matter.
        gap: mm of fluid added between brain and skull.
    """

    widening: float = 0.0
    cortex: float = float("inf")
    gap: float = 0.0

    @classmethod
    def draw(cls, stream: Stream) -> Atrophy:
        """None in two of five subjects; else up to 5 mm of ventricle, 1.8 mm of cortex and 3 mm of gap."""
        generator = stream.generator("atrophy")
        if generator.random() < 0.4:
            return cls()
        widening, gap = generator.uniform(0, (_WIDEST_MM, _GAP_MM))
        return cls(float(widening), float(np.exp(generator.uniform(np.log(_THINNEST), np.log(_THICKEST)))), float(gap))

    def shrink(self, brain: Floats, points: Floats, hull: Floats, folding: Floats) -> Floats:
        """Fractions of grey and white matter in the shrunken brain, (2, N).

        Args:
            brain: those of the whole one, (2, N).
            points: template mm, (3, N).
            hull: mm to the inside of the skull, negative inside, (N).
            folding: random field of variance 1, which makes the ribbon here thicker, there thinner, (N).
        """
        white, ventricle = _distances()
        beyond = _share(white.sample(points) - self.cortex * np.exp(0.12 * folding))
        nucleus = np.clip((-hull - _DEEP_MM) / 4.0, 0, 1)
        behind, below = (
            np.clip((edge - points[axis]) / 6.0, 0, 1) for axis, edge in zip((1, 2), _CEREBELLUM, strict=True)
        )
        left: Floats = brain * (1 - _share(self.widening - ventricle.sample(points)) * (self.widening > 0))
        left[0] *= 1 - beyond * (1 - np.maximum(nucleus, behind * below))
        return left


def _share(distance: Floats) -> Floats:
    """From 0 to 1 where ``distance`` in mm passes zero."""
    return np.asarray(special.expit(distance / (_EDGE_MM / 2)))


@lru_cache(maxsize=1)
def _distances() -> tuple[Map, Map]:
    """Distance in mm from white matter, and from the fluid deep in the brain; 0 within."""
    grey, white, corner, hull = load_maps()
    axes = [start + np.arange(count) for start, count in zip(corner, grey.shape, strict=True)]
    depth = -hull.sample(np.stack(np.meshgrid(*axes, indexing="ij")))
    within = (white >= 0.5, (grey + white < 0.5) & (depth > _DEEP_MM))
    away = (ndimage.distance_transform_edt(~each).astype(np.float32) for each in within)
    first, second = (Map(np.maximum(each - 0.5, 0), corner, 1.0, None) for each in away)
    return first, second
