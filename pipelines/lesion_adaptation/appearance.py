"""Copies of a glioma patient whose tumour looks different: more to learn from where there are three patients.

Three patients do not tell how a tumour can look: how bright each of its parts is in FLAIR and after contrast agent,
and whether a cavity that is as dark as fluid lies inside, as in many glioblastomas. In each copy the parts have another
contrast to the brain, and most have a cavity of their own, often with an enhancing wall. The rest of the head and the
labels stay. Only training patients are copied; values are in robust standard deviations of the brain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.cases import Case
from medgen.volume import read_volume, write_volume

Array = NDArray[Any]
ENHANCING, FLUID = "t1c", "flair"
"""The role in which a cavity's wall is bright, and the one in which its fluid may be anything but bright."""


def copies_of(case: Case, count: int, out: Path, seed: int) -> list[Case]:
    """Training cases with the head and labels of ``case`` and other tumours.

    Args:
        case: with ``flair``, ``t1c``, ``label`` (values 0 to 4) and ``mask``.
        count: how many.
        out: folder of the new images.
        seed: of the patient's copies, another one for each patient.

    Raises:
        SystemExit: there is no tumour.
    """
    volumes = {role: read_volume(path) for role, path in case.images.items()}
    arrays = {role: volume.data[0].astype(np.float32) for role, volume in volumes.items()}
    if count and not arrays["label"].any():
        raise SystemExit(f"{case.images['label']}: there is no tumour; take the patient out, or use --copies 0")
    spacing = volumes["label"].spacing
    found = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        images = dict(case.images)
        for role, image in another_look(arrays, spacing, generator).items():
            images[role] = out / f"{case.name}_{number}_{role}.nii.gz"
            write_volume(volumes[role].with_data(image[None]), images[role], kind="scalar", overwrite=True)
        found.append(replace(case, name=f"{case.name}_{number}", images=images))
    return found


def another_look(
    arrays: Mapping[str, Array], spacing: tuple[float, float, float], generator: np.random.Generator
) -> dict[str, Array]:
    """FLAIR and T1c, (X, Y, Z) float32, with another contrast of each part of the tumour and perhaps a cavity."""
    brain, box = arrays["mask"] > 0, _around(arrays["label"] > 0, spacing)
    labels = arrays["label"][box]
    parts = [_soft(labels == value, spacing) for value in (1, 2, 3, 4)]
    inside = _cavity(labels > 0, spacing, generator) if generator.random() < 0.7 else None
    result = {}
    for role in (FLUID, ENHANCING):
        image = arrays[role]
        middle = float(np.median(image[brain]))
        scale = 1.4826 * float(np.median(np.abs(image[brain] - middle)))
        values = (image[box] - middle) / scale
        contrast = generator.uniform(0.8, 1.2)
        changed = values.copy()
        for part in parts:
            changed += part * ((contrast * generator.uniform(0.9, 1.1) - 1) * values + generator.normal(0, 0.2))
        if inside is not None:
            changed = _hollowed(changed, *inside, role, generator)
        result[role] = image.astype(np.float32)
        result[role][box] = np.where(brain[box], changed * scale + middle, image[box])
    return result


def _around(tumour: Array, spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """The box of the tumour and 10 mm around it; nothing beyond is changed."""
    (found,) = ndimage.find_objects(tumour.astype(np.uint8))
    far = [int(np.ceil(10 / step)) for step in spacing]
    return tuple(slice(max(0, side.start - more), side.stop + more) for side, more in zip(found, far, strict=True))


def _cavity(tumour: Array, spacing: tuple[float, float, float], generator: np.random.Generator) -> tuple[Array, Array]:
    """A cavity in the tumour, which may be open at its surface, and its wall; both (X, Y, Z) in [0, 1]."""
    depth = ndimage.distance_transform_edt(tumour, spacing)
    shell = generator.choice([0.0, 3.0, 6.0])  # mm of the tumour that stay around it
    deep = np.argwhere(depth >= min(6.0, float(depth.max())))
    centre = deep[generator.integers(len(deep))]
    axes = np.ogrid[tuple(slice(side) for side in tumour.shape)]
    stretched = generator.uniform(0.7, 1.4, 3)
    squares = ((axis - at) * step * by for axis, at, step, by in zip(axes, centre, spacing, stretched, strict=True))
    distance = np.sqrt(sum(each.astype(np.float32) ** 2 for each in squares))
    hollow = (distance < generator.uniform(6.0, 30.0)) & (depth > shell)
    outside = ndimage.distance_transform_edt(~hollow, spacing) if hollow.any() else np.full(tumour.shape, np.inf)
    wall = ~hollow & tumour & (outside <= generator.uniform(2.0, 5.0))
    return _soft(hollow, spacing), _soft(wall, spacing)


def _hollowed(values: Array, hollow: Array, wall: Array, role: str, generator: np.random.Generator) -> Array:
    """Fluid in the cavity: dark after contrast agent, dark to bright in FLAIR; the wall may enhance."""
    low, high = (-3.0, -1.0) if role == ENHANCING else (-3.0, 1.5)
    fluid = generator.uniform(low, high) + 0.2 * generator.standard_normal(values.shape, dtype=np.float32)
    values = values + hollow * (fluid - values)
    if role == ENHANCING and generator.random() < 0.7:
        values = values + wall * generator.uniform(1.0, 4.0)
    return values


def _soft(mask: Array, spacing: tuple[float, float, float]) -> Array:
    """A mask with an edge of about 1 mm."""
    result: Array = ndimage.gaussian_filter(mask.astype(np.float32), [0.7 / step for step in spacing])
    return result
