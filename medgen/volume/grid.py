# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""Voxel grids: where the voxels of a volume lie in the patient, and whether two volumes share them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, cast

import nibabel
import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError

Affine = NDArray[np.float64]

SAME_GRID = 0.1  # voxel; what rounding of headers between two tools can make, and no eye can see
STRAIGHT = 0.01  # voxel; largest corner displacement that re-orthonormalising may cause
_ROUNDING = 1e-6  # deviation of the direction cosines that float32 alone explains


class HasGrid(Protocol):
    """Anything that lies on a voxel grid: a :class:`Grid` or a volume."""

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    @property
    def affine(self) -> Affine: ...  # noqa: D102

    @property
    def spacing(self) -> tuple[float, float, float]: ...  # noqa: D102

    @property
    def has_world_position(self) -> bool: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid without its voxels.

    Args:
        shape: number of voxels along (X, Y, Z).
        affine: (4, 4), voxel index -> RAS+ millimetres.
        qform_code: NIfTI code of the qform as read.
        sform_code: NIfTI code of the sform as read; both codes 0 means: no world position.
        source: file name, for messages.
        notes: what reading had to decide.
    """

    shape: tuple[int, int, int]
    affine: Affine
    qform_code: int = 1
    sform_code: int = 1
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", frozen_affine(self.affine))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (X, Y, Z) in millimetres."""
        return spacing_of(self.affine)

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Where each voxel axis points, for example ``("R", "A", "S")``."""
        return axis_codes_of(self.affine)

    @property
    def has_world_position(self) -> bool:
        """Whether the file says where the grid lies in the patient."""
        return bool(self.qform_code or self.sform_code)


def frozen_affine(affine: NDArray[Any]) -> Affine:
    """A read-only float64 copy of a (4, 4) affine."""
    copy = np.array(affine, dtype=np.float64)
    if copy.shape != (4, 4):
        raise ValueError(f"an affine has shape (4, 4), not {copy.shape}")
    copy.flags.writeable = False
    return copy


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Voxel size in millimetres: the lengths of the affine's columns."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def axis_codes_of(affine: Affine) -> tuple[str, str, str]:
    """Where each voxel axis points (nearest of R, L, A, P, S, I)."""
    return cast("tuple[str, str, str]", tuple(nibabel.aff2axcodes(affine)))


def corners(shape: tuple[int, int, int], affine: Affine) -> NDArray[np.float64]:
    """The eight outer corners of a grid in RAS+ millimetres, shape (8, 3).

    Outer means half a voxel beyond the centres, so that a grid one voxel thick still shows its spacing.
    """
    index = np.array(list(product(*((-0.5, size - 0.5) for size in shape))))
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def corner_distance(a: HasGrid, b: HasGrid) -> float:
    """Largest distance in millimetres between corresponding corners of two grids of equal shape.

    Raises:
        InputError: the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError(
            f"the grids have {_size(a)} and {_size(b)} voxels",
            where=f"{_name(a)} and {_name(b)}",
            fix="resample one onto the grid of the other",
        )
    return float(np.linalg.norm(corners(a.shape, a.affine) - corners(b.shape, b.affine), axis=1).max())


def require_same_grid(a: HasGrid, b: HasGrid, *, tolerance: float = SAME_GRID) -> None:
    """Refuse two volumes that do not lie on one grid.

    Args:
        a: one volume or grid.
        b: the other.
        tolerance: largest corner distance allowed, in voxels (of the smallest spacing).

    Raises:
        InputError: shape or position differ, or one of the two has no world position.
    """
    for one in (a, b):
        if not one.has_world_position:
            raise InputError(
                "the file has no world position (sform and qform codes are 0), so it cannot be combined with another",
                where=f"{_name(one)}, to be used with {_name(b if one is a else a)}",
                fix="convert the image again from its DICOM series, which knows the position",
            )
    distance = corner_distance(a, b)
    smallest = min(*a.spacing, *b.spacing)
    if distance > tolerance * smallest:
        raise InputError(
            f"the grids lie {distance:.2f} mm apart ({distance / smallest:.2f} voxels, allowed {tolerance:g})",
            where=f"{_name(a)} and {_name(b)}",
            fix="register or resample one onto the grid of the other",
        )


def overlap(a: HasGrid, b: HasGrid) -> float:
    """Fraction of the field of view of ``a`` that lies inside ``b``, in [0, 1] (16 samples along each axis)."""
    axes = [(np.arange(16) + 0.5) / 16 * size - 0.5 for size in a.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    matrix = np.linalg.inv(b.affine) @ a.affine
    inside = index @ matrix[:3, :3].T + matrix[:3, 3]
    upper = np.array(b.shape) - 0.5
    return float(np.all((inside >= -0.5) & (inside <= upper), axis=1).mean())


def straighten(affine: Affine, shape: tuple[int, int, int]) -> tuple[Affine, float, float]:
    """The nearest affine without shear, with the same spacing and the same centre.

    Args:
        affine: (4, 4), voxel index -> RAS+ mm, not singular.
        shape: number of voxels.

    Returns:
        The straight affine; the largest angle by which two axes miss 90 degrees, in degrees; the largest
        displacement of a corner, in voxels of the smallest spacing. An affine whose cosines are off by no more
        than float32 rounding comes back unchanged.
    """
    spacing = np.array(spacing_of(affine))
    directions = affine[:3, :3] / spacing
    gram = directions.T @ directions
    cosine = float(np.abs(gram - np.eye(3)).max())
    left, _, right = np.linalg.svd(directions)
    straight = affine.copy()
    straight[:3, :3] = (left @ right) * spacing
    centre = (np.array(shape) - 1) / 2
    straight[:3, 3] = affine[:3, 3] + (affine[:3, :3] - straight[:3, :3]) @ centre
    moved = np.linalg.norm(corners(shape, affine) - corners(shape, straight), axis=1).max() / spacing.min()
    angle = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    return (affine if cosine <= _ROUNDING else straight), angle, float(moved)


def to_closest(affine: Affine, codes: tuple[str, ...]) -> NDArray[np.float64]:
    """Axis moves (nibabel orientation, shape (3, 2)) that bring a grid closest to the axis codes."""
    now = nibabel.orientations.io_orientation(affine)
    return cast(
        "NDArray[np.float64]",
        nibabel.orientations.ornt_transform(now, nibabel.orientations.axcodes2ornt(codes)),
    )


def ras_grid(grid: HasGrid) -> Grid:
    """The same grid with its axes permuted and flipped to the closest RAS+ order."""
    moves = to_closest(grid.affine, ("R", "A", "S"))
    shape = [0, 0, 0]
    for axis, (target, _) in enumerate(moves):
        shape[int(target)] = grid.shape[axis]
    affine = grid.affine @ nibabel.orientations.inv_ornt_aff(moves, grid.shape)
    code = int(grid.has_world_position)
    return Grid((shape[0], shape[1], shape[2]), affine, code, code, grid.source)


def _size(grid: HasGrid) -> str:
    return " x ".join(str(size) for size in grid.shape)


def _name(grid: HasGrid) -> str:
    return grid.source or "a volume in memory"
