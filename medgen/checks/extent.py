"""Whether a grid has the size of a patient."""

from __future__ import annotations

from medgen.errors import InputError
from medgen.volume import HasGrid

_EXTENT = (5.0, 5000.0)  # mm; no image of a patient is smaller or larger than this along its longest axis


def require_plausible_extent(grid: HasGrid) -> None:
    """Refuse a grid whose voxel size cannot be in millimetres.

    Args:
        grid: of an image.

    Raises:
        InputError: along its longest axis it has less than 5 mm or more than 5 m.
    """
    longest = max(size * step for size, step in zip(grid.shape, grid.spacing, strict=True))
    if not _EXTENT[0] <= longest <= _EXTENT[1]:
        raise InputError(
            f"the image is {longest:.4g} mm long: the unit of its voxel size cannot be the millimetre",
            where=grid.source or "a volume in memory",
            fix="write the header again in mm",
        )
