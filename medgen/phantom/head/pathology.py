"""Lesions into voxels: the share that each abnormal tissue takes, the label, and the mask of the brain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.phantom.grid import Grid
from medgen.phantom.head.anatomy import Anatomy, tissue_fraction
from medgen.phantom.head.lesions import Findings, Lesion, Speck
from medgen.phantom.head.painting import Box
from medgen.phantom.head.tissues import INDEX, LESION_TISSUES, NAMES
from medgen.phantom.randomness import Stream, smooth_field
from medgen.phantom.shapes import coverage
from medgen.types import Floats

_MARGIN = 4.0  # mm around the outline that its irregularity may reach
_LOWEST = -58.0  # mm of the template: below, the brain mask ends and the spinal cord begins


def add_lesions(anatomy: Anatomy, findings: Findings, stream: Stream) -> tuple[Anatomy, NDArray[np.bool_]]:
    """Put lesions into a head.

    Args:
        anatomy: a healthy head.
        findings: from :func:`medgen.phantom.head.lesions.draw_findings`.
        stream: the subject's; it decides how irregular a lesion is and where in it the blood lies.

    Returns:
        The head with maps of all :data:`~medgen.phantom.head.tissues.NAMES`, and the label (X, Y, Z): true where
        contusion takes more than half of the voxel.
    """
    grid = anatomy.grid
    fractions = np.concatenate([anatomy.fractions, np.zeros((len(LESION_TISSUES), *grid.shape))])
    rough = smooth_field(stream.generator("lesion outline"), grid, 7.0)[0]
    patches = smooth_field(stream.generator("petechiae"), grid, 3.5)[0]
    inside = tissue_fraction(anatomy, "grey", "white")
    outline, core = _solids(findings.contusions, grid, rough)
    # A swollen gyrus closes its sulci, but does not fill a ventricle.
    taken = _take(fractions, outline * np.minimum(1.6 * inside, 1.0))
    spots = core * _patchy(patches)
    _give(fractions, "blood", taken * spots)
    _give(fractions, "oedema", taken * (1 - spots))
    other, other_core = _solids(findings.distractors, grid, rough)
    old = _take(fractions, other * (1 - outline) * inside)
    spots = other_core * _patchy(patches)
    _give(fractions, "scar", old * spots)
    _give(fractions, "gliosis", old * (1 - spots))
    intracranial = _intracranial(fractions)
    veins = _specks(findings.veins, grid) * intracranial * (1 - outline)
    bleeds = _specks(findings.bleeds, grid) * intracranial
    for name, share in (("vein", veins), ("haemosiderin", bleeds)):
        fractions *= 1 - share
        _give(fractions, name, share)
        taken *= 1 - share
    return replace(anatomy, fractions=fractions), taken > 0.5


def brain_mask(anatomy: Anatomy) -> NDArray[np.bool_]:
    """The brain with its fluid, (X, Y, Z), as skull stripping leaves it: one piece without holes."""
    inside = (_intracranial(anatomy.fractions) > 0.5) & (anatomy.brain_distance < 0)
    inside &= anatomy.mapping(anatomy.grid)[2] > _LOWEST
    labels, count = ndimage.label(inside)
    if count > 1:
        inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(inside)
    return filled


def fluid_share(anatomy: Anatomy) -> float:
    """Fluid as a share of the brain with its fluid: more of it is atrophy."""
    brain = brain_mask(anatomy)
    fluid = tissue_fraction(anatomy, "csf")[brain].sum()
    return float(fluid / _intracranial(anatomy.fractions)[brain].sum())


def _intracranial(fractions: Floats) -> Floats:
    known = NAMES[: len(fractions)]
    share: Floats = fractions[[INDEX[name] for name in known if name in ("grey", "white", "csf", *LESION_TISSUES)]].sum(
        axis=0
    )
    return share


def _patchy(field: Floats) -> Floats:
    """Salt and pepper between 0 and 1 from a random field of standard deviation 1."""
    share: Floats = 1 / (1 + np.exp(-5 * (field - 0.15)))
    return share


def _solids(lesions: Iterable[Lesion], grid: Grid, rough: Floats) -> tuple[Floats, Floats]:
    """Coverage of the voxels by the union of lesions, and of their cores times the core's amount."""
    outline, core = np.zeros(grid.shape), np.zeros(grid.shape)
    # Oedema has no sharp edge.
    width = float(np.hypot(grid.spacing, 1.5))
    for lesion in lesions:
        box = _box(lesion, grid)
        axes = [grid.axis(axis)[part] for axis, part in enumerate(box)]
        distance = lesion.shape.distance(np.stack(np.meshgrid(*axes, indexing="ij"))) + 1.3 * rough[box]
        outline[box] = np.maximum(outline[box], coverage(distance, width))
        core[box] = np.maximum(core[box], lesion.amount * coverage(distance + lesion.rim, width))
    return outline, core


def _box(lesion: Lesion, grid: Grid) -> Box:
    low, high = lesion.shape.bounds()
    parts = []
    for axis in range(3):
        first = int(np.floor((low[axis] - _MARGIN - grid.origin[axis]) / grid.spacing))
        last = int(np.ceil((high[axis] + _MARGIN - grid.origin[axis]) / grid.spacing))
        parts.append(slice(max(0, first), max(0, min(grid.shape[axis], last + 1))))
    return parts[0], parts[1], parts[2]


def _take(fractions: Floats, wanted: Floats) -> Floats:
    """Remove up to ``wanted`` of each voxel from brain tissue, then from fluid; gives what was removed."""
    removed = np.zeros_like(wanted)
    grey, white, fluid = (fractions[INDEX[name]] for name in ("grey", "white", "csf"))
    tissue = grey + white
    share = np.divide(np.minimum(wanted, tissue), tissue, out=np.zeros_like(wanted), where=tissue > 1e-9)
    for part, ratio in ((grey, share), (white, share)):
        removed += part * ratio
        part *= 1 - ratio
    rest = np.minimum(wanted - removed, fluid).clip(0)
    fluid -= rest
    total: Floats = removed + rest
    return total


def _give(fractions: Floats, name: str, share: Floats) -> None:
    fractions[INDEX[name]] += share


def _specks(specks: Iterable[Speck], grid: Grid) -> Floats:
    """Share of each voxel that thin things take: each point's volume is spread over the eight nearest voxels."""
    share = np.zeros(grid.shape)
    upper = np.array(grid.shape) - 2
    for speck in specks:
        position = (speck.points - np.array(grid.origin)) / grid.spacing
        low = np.floor(position).astype(int)
        kept = ((low >= 0) & (low <= upper)).all(axis=1)
        low, part = low[kept], (position - low)[kept]
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=1) * (speck.volume / grid.spacing**3)
            np.add.at(share, tuple((low + corner).T), weight)
    return np.minimum(share, 1.0)
