"""Mirror images of training patches, which a generator has seen as well where its recipe flips."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, combinations

import numpy as np

from medgen.inference.opened import Opened
from medgen.sampling.augmentation import AXES
from medgen.sampling.patches import PatchConfig
from medgen.types import Array


def flips_of(model: Opened) -> tuple[str, ...]:
    """Names of the axes that the recipe of a model flips."""
    saved = ((model.content.get("recipe") or {}).get("patches") or {}).get("augmentation") or {}
    return tuple(name for name in AXES if name in (saved.get("flip") or ()))


def flip_axes(names: Iterable[str], patches: PatchConfig) -> dict[str, int]:
    """By name the spatial axes of a patch among those; a slice has two of three."""
    across = patches.across if len(patches.size) == 2 else None
    left = [axis for axis in range(3) if axis != across]
    return {name: left.index(AXES[name]) for name in names if AXES[name] in left}


def mirrorings(axes: Iterable[int]) -> list[tuple[int, ...]]:
    """All sets of axes, beginning with none."""
    there = tuple(axes)
    return list(chain.from_iterable(combinations(there, count) for count in range(len(there) + 1)))


def mirrored(images: Array, axes: tuple[int, ...]) -> Array:
    """Images ``(N, C, *size)`` mirrored along spatial axes."""
    return np.ascontiguousarray(np.flip(images, tuple(2 + axis for axis in axes))) if axes else images
