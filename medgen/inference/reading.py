"""A patient's images: how they are read, and how much memory they need by their headers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medgen.errors import InputError
from medgen.inference.channels import is_constant
from medgen.inference.limits import NO_LIMITS, Limits
from medgen.inference.memory import expected_need, free_bytes
from medgen.inference.options import ReadOptions
from medgen.inference.sources import Image
from medgen.preparation import Preparation, Prepared
from medgen.volume import Grid, Volume, ras_grid, read_header, read_volume

_THICK = 1.5  # times the second longest edge of a voxel: below, no direction is that of the slices
_PLANES = {0: ("X (left to right)", "sagittal"), 1: ("Y (back to front)", "coronal")}
MISSING = "no image, the channel is 0 throughout"
"""Note on a missing channel."""

log = logging.getLogger(__name__)


def read_image(image: Image, options: ReadOptions) -> Volume:
    """A file as a volume; a volume as it is."""
    return image if isinstance(image, Volume) else read_volume(image, geometry=options.geometry, frame=options.frame)


def prepare_patient(
    images: Mapping[str, Image],
    options: ReadOptions,
    preparation: Preparation,
    dropped: Mapping[str, float] | None = None,
    *,
    keep_first: bool = False,
) -> tuple[Prepared, tuple[str, ...]]:
    """Read and prepare one patient.

    Args:
        images: by role, those that the model reads.
        options: how they are read.
        preparation: of the model.
        dropped: by role, inputs that the model was trained to do without, and in which share of the patches.
        keep_first: keep the first input as it was read, too.

    Returns:
        The patient, and notes on decisions.
    """
    if options.nan is not None:
        preparation = replace(preparation, config=preparation.config.model_copy(update={"nan": options.nan}))
    may_lack = (dropped or {}) if options.allow_missing_channel else {}
    volumes = {role: read_image(image, options) for role, image in images.items()}
    volumes = {role: each for role, each in volumes.items() if role not in may_lack or not is_constant(each)}
    prepared = preparation.prepare(volumes, may_lack=may_lack)
    if keep_first:
        prepared = replace(prepared, first=volumes.get(preparation.roles.inputs[0]))
    absent = [role for role in may_lack if role not in volumes]
    missing = (f"{role}: {MISSING}, as in {may_lack[role]:.0%} of the training patches" for role in absent)
    notes = (note for volume in volumes.values() for note in volume.notes)
    return prepared, (*notes, *prepared.notes, *missing)


def memory_need(
    images: Iterable[Image],
    options: ReadOptions,
    *,
    spacing: Sequence[float] | None,
    outputs: int = 1,
    limits: Limits = NO_LIMITS,
) -> str:
    """A sentence on the memory that the largest image will need, from the headers alone; a warning where it is short.

    Args:
        images: of one patient, the reference first.
        options: how they are read.
        spacing: voxel size in mm of the grid they are prepared on; None: their own.
        outputs: channels that the network makes.
        limits: what it may need.

    Raises:
        InputError: an image is a single slice.
        MemoryExhausted: more is needed than the limit, or than the machine has.
    """
    grids = [_grid(image, options) for image in images]
    for grid in grids:
        if min(grid.shape) < 2:
            raise InputError(
                f"the image has {size_text(grid.shape)} voxels: a single slice; prediction needs a volume",
                where=grid.source or None,
                fix="give all slices of the series",
            )
    finer = max(1.0, math.prod(grids[0].spacing) / math.prod(spacing)) if spacing else 1.0
    voxels = max(math.prod(grid.shape) for grid in grids) * finer
    need, free = expected_need(voxels, len(grids), outputs), free_bytes()
    text = f"a volume of {size_text(grids[0].shape)} voxels needs about {need / 1e9:.1f} GB of memory"
    if free is not None:
        text += f", {free / 1e9:.1f} GB were free"
        if need > free:
            log.warning(text)
    limits.require_memory(need, text, grids[0].source or None)
    return text


def require_axial(image: Image, options: ReadOptions) -> None:
    """Refuse an image whose slices are not stacked along Z, from its header alone.

    Args:
        image: the first input of a model that reads slices.
        options: how it is read.

    Raises:
        InputError: its voxels are clearly longest along another axis, the nearest one of the patient's.
    """
    grid = _grid(image, options)
    spacing = ras_grid(grid).spacing
    axis = spacing.index(max(spacing))
    if axis not in _PLANES or spacing[axis] <= _THICK * sorted(spacing)[1]:
        return
    along, plane = _PLANES[axis]
    raise InputError(
        f"the image is {plane}: its slices are {spacing[axis]:.2g} mm thick along {along}, and the model reads axial "
        "slices, stacked along Z",
        where=grid.source or None,
        fix=f"give the axial series of the patient; this model cannot read a {plane} one",
    )


def size_text(shape: Sequence[int]) -> str:
    """The shape in words.

    >>> size_text((19, 23, 17))
    '19 x 23 x 17'
    """
    return " x ".join(map(str, shape))


def _grid(image: Image, options: ReadOptions) -> Grid:
    if isinstance(image, Volume):
        return image.grid
    return read_header(image, geometry=options.geometry, frame=options.frame)
