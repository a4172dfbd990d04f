"""The brain that all subjects are made from: the MNI152 tissue maps that nilearn ships."""

from __future__ import annotations

from dataclasses import dataclass
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
        return ndimage.map_coordinates(self.data, index, np.float64, order=1, mode=mode, cval=value)


@dataclass(frozen=True, eq=False)
class Template:
    """What is fixed for all subjects, in template mm (the MNI152 frame, RAS+).

    Attributes:
        grey: fraction of grey matter, 1 mm, averaged over the voxels to come.
        white: fraction of white matter, likewise.
        hull: signed distance in mm to the inner surface of the skull and the spinal canal, negative inside.
    """

    grey: Map
    white: Map
    hull: Map


@lru_cache(maxsize=2)
def load_template(spacing: float) -> Template:
    """Read the maps and prepare them for voxels of ``spacing`` mm; about a second, once per process and spacing.

    Raises:
        InputError: nilearn, or one of its maps, is missing.
    """
    (grey, origin), (white, _), (t1, _) = (_read(name) for name in ("gm", "wm", "t1"))
    brain = ndimage.binary_fill_holes(t1 > 0)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - 4), part.stop + 4) for part in box)
    corner = tuple(start + part.start for start, part in zip(origin, box, strict=True))
    grey, white, brain = grey[box] / 255.0, white[box] / 255.0, brain[box]
    fluid = np.clip(1 - grey - white, 0, 1)
    # The maps are the mean of 152 people; squaring the odds gives back some of one person's sharpness.
    total = grey**2 + white**2 + fluid**2
    # A voxel is the mean over a box; a Gaussian of the same variance is symmetric for even and odd sizes.
    sigma = spacing / np.sqrt(12)

    def fraction(values: NDArray[np.float64]) -> Map:
        averaged = ndimage.gaussian_filter(values, sigma, output=np.float32, truncate=3, mode="constant")
        return Map(averaged, corner, 1.0, 0.0)

    return Template(fraction(grey**2 / total * brain), fraction(white**2 / total * brain), _hull(brain, corner))


def _hull(brain: NDArray[np.bool_], corner: tuple[float, ...]) -> Map:
    """Distance to a smooth surface around the brain, on a wider 2 mm lattice."""
    low, spacing = (-120.0, -160.0, -134.0), 2.0
    counts = (121, 151, 135)
    mask = np.zeros(counts, bool)
    inside = np.argwhere(brain) + np.array(corner)
    index = np.rint((inside - np.array(low)) / spacing).astype(int)
    mask[tuple(index.T)] = True
    # Closing by 5 mm bridges the sulci but keeps the fossae of the skull base; then 2.5 mm of fluid and dura.
    closed = ndimage.distance_transform_edt(~mask, sampling=spacing) < 5.0
    distance = _signed(closed, spacing) + 5.0 - 2.5
    axes = [start + spacing * np.arange(count) for start, count in zip(low, counts, strict=True)]
    canal = CANAL.distance(np.stack(np.meshgrid(*axes, indexing="ij")))
    distance = np.minimum(ndimage.gaussian_filter(distance, 1.2), canal)
    return Map(ndimage.gaussian_filter(distance, 0.8, output=np.float32), low, spacing, None)


def _signed(mask: NDArray[np.bool_], spacing: float) -> NDArray[np.float64]:
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    difference: NDArray[np.float64] = outside - inside
    return difference


def _read(name: str) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    """One map as it lies on disk and the mm of its first voxel; nilearn itself is not imported (seconds)."""
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise InputError("the phantom needs the MNI152 maps of nilearn, which is not installed", fix="pip install nilearn")
    path = Path(package.origin).parent / "datasets" / "data" / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise InputError("nilearn does not contain this MNI152 map", where=path, fix="pip install 'nilearn>=0.12'")
    image = nib.load(path)
    x, y, z = image.affine[:3, 3]
    return np.asarray(image.dataobj), (float(x), float(y), float(z))
