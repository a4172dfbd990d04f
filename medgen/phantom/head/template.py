"""The brain that all subjects are made from: the MNI152 tissue maps that nilearn ships."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.errors import InputError
from medgen.phantom.shapes import Capsule

# The spinal canal, continued below the end of the maps (template mm).
CANAL = Capsule((0.0, -45.0, -60.0), (0.0, -49.0, -125.0), 10.0, 9.0)
CORD = Capsule((0.0, -45.0, -62.0), (0.0, -49.0, -125.0), 6.0, 5.0)


@dataclass(frozen=True, eq=False)
class Map:
    """A volume (X, Y, Z) that can be read at any point.

    Attributes:
        data: values at the voxels.
        origin: mm of voxel (0, 0, 0), RAS+.
        spacing: mm.
        outside: value beyond the edge; None repeats the edge.
    """

    data: NDArray[np.float32]
    origin: tuple[float, float, float]
    spacing: float
    outside: float | None

    def sample(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Trilinear values at ``points`` (3, ...) in mm, shape (...)."""
        index = (points - np.reshape(self.origin, (3,) + (1,) * (points.ndim - 1))) / self.spacing
        mode, value = ("nearest", 0.0) if self.outside is None else ("constant", self.outside)
        values: NDArray[np.float64] = ndimage.map_coordinates(
            self.data, index, np.float64, order=1, mode=mode, cval=value
        )
        return values


@dataclass(frozen=True, eq=False)
class Template:
    """What is fixed for all subjects, in template mm (the MNI152 frame, RAS+).

    Attributes:
        grey: fraction of grey matter, 1 mm, averaged over the voxels to come.
        white: fraction of white matter, likewise.
        hull: signed distance in mm to the inner surface of the skull and the spinal canal, negative inside.
        brain: fraction of grey and white matter within about 3 mm, the same at any spacing.
        deep: fraction of white matter, likewise.
    """

    grey: Map
    white: Map
    hull: Map
    brain: Map
    deep: Map


@lru_cache(maxsize=2)
def load_template(spacing: float) -> Template:
    """Read the maps and prepare them for voxels of ``spacing`` mm; about a second, once per process.

    Raises:
        InputError: nilearn, or one of its maps, is missing.
    """
    grey, white, corner, hull = load_maps()
    around = [
        Map(ndimage.gaussian_filter(part, 3.0, truncate=2)[::3, ::3, ::3], corner, 3.0, 0.0) for part in (grey, white)
    ]
    # A voxel is the mean over a box; a Gaussian of the same variance is symmetric for even and odd sizes.
    sigma = spacing / np.sqrt(12)

    def averaged(values: NDArray[np.float32]) -> Map:
        filtered = ndimage.gaussian_filter(values, sigma, output=np.float32, truncate=3, mode="constant")
        return Map(filtered, corner, 1.0, 0.0)

    brain, deep = replace(around[0], data=around[0].data + around[1].data), around[1]
    return Template(averaged(grey), averaged(white), hull, brain, deep)


@lru_cache(maxsize=1)
def load_maps() -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float, float], Map]:
    """Grey and white fractions at 1 mm, mm of their first voxel, and the hull."""
    (grey, origin), (white, _), (t1, _) = (read_map(name) for name in ("gm", "wm", "t1"))
    brain = ndimage.binary_fill_holes(t1 > 0)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - 4), part.stop + 4) for part in box)
    x, y, z = (start + part.start for start, part in zip(origin, box, strict=True))
    brain, first, second = brain[box], grey[box] / 255.0, white[box] / 255.0
    fluid = np.clip(1 - first - second, 0, 1)
    # The maps are the mean of 152 people; squaring the odds gives back some of one person's sharpness. The mean fills
    # narrow sulci with grey matter, as no two are in one place: fluid gets more weight to open them again.
    scale = brain / (first**2 + second**2 + 2.5 * fluid**2)
    sharp = [(part**2 * scale).astype(np.float32) for part in (first, second)]
    return sharp[0], sharp[1], (x, y, z), _hull(brain, (x, y, z))


def _hull(brain: NDArray[np.bool_], corner: tuple[float, ...]) -> Map:
    """Distance to a smooth surface around the brain, on a wider and coarser lattice."""
    low, spacing, counts = (-105.0, -145.0, -130.0), 2.5, (85, 107, 98)
    inside = np.argwhere(brain) + np.array(corner)
    mask = np.zeros(counts, bool)
    mask[tuple(np.rint((inside - np.array(low)) / spacing).astype(int).T)] = True
    axes = [start + spacing * np.arange(count) for start, count in zip(low, counts, strict=True)]
    # Closing by 5 mm bridges the sulci but keeps the fossae of the skull base; the vault has no notches, so it is
    # closed by 24 mm. Then a little fluid and dura.
    away = ndimage.distance_transform_edt(~mask, sampling=spacing)
    base, vault = (_closed(away, radius, spacing) for radius in (5.0, 24.0))
    height, behind = axes[2][None, None, :], axes[1][None, :, None]
    above = np.maximum(np.clip((height + 16) / 16, 0, 1), np.clip((-72 - behind) / 16, 0, 1))
    distance = ndimage.gaussian_filter(base + above * (np.minimum(base, vault) - base), 1.0) - 1.2
    canal = CANAL.distance(np.stack(np.meshgrid(*axes, indexing="ij")))
    joined = ndimage.gaussian_filter(np.minimum(distance, canal), 0.6, output=np.float32)
    return Map(joined, low, spacing, None)


def _closed(away: NDArray[np.float64], radius: float, spacing: float) -> NDArray[np.float64]:
    """Signed distance to the closing by ``radius`` of a set, from the distance ``away`` to the set."""
    within = ndimage.distance_transform_edt(away < radius, sampling=spacing)
    # Half a voxel: the transform measures to the centre of the first voxel on the other side.
    return np.where(away < radius, radius + spacing / 2 - within, away)


def read_map(name: str) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """One map as it lies on disk and the mm of its first voxel; nilearn itself is not imported (seconds)."""
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise InputError(
            "the phantom needs the MNI152 maps of nilearn, which is not installed", fix="pip install nilearn"
        )
    path = Path(package.origin).parent / "datasets" / "data" / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise InputError("nilearn does not contain this MNI152 map", where=path, fix="pip install 'nilearn>=0.12'")
    image = nib.nifti1.Nifti1Image.from_filename(path)
    x, y, z = image.affine[:3, 3]
    return np.asarray(image.dataobj), (float(x), float(y), float(z))
