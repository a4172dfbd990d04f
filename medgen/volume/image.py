# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""The frozen :class:`Volume`, and how one is read from NIfTI, MetaImage or a DICOM series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import DTypeLike, NDArray

from medgen.errors import InputError
from medgen.volume.damage import explained
from medgen.volume.dicom import is_dicom, read_dicom, read_dicom_grid
from medgen.volume.grid import Affine, Grid, axis_codes_of, corner_distance, frozen_affine, spacing_of, to_closest
from medgen.volume.metaimage import is_metaimage, read_metaimage, read_metaimage_grid
from medgen.volume.nifti import Geometry, open_image, read_grid, read_voxels
from medgen.volume.notebook import table, three_planes

_SAME = 1e-3  # voxel; rounding of flipping an affine there and back is far below, any real difference above


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels and where they lie.

    Args:
        data: (C, X, Y, Z), in the memory order of the file it was read from.
        affine: (4, 4), voxel index -> RAS+ millimetres.
        qform_code: NIfTI code of the qform as read.
        sform_code: NIfTI code of the sform as read; both codes 0 means: no world position.
        source: file name, for messages.
        notes: what reading had to decide, for example ``"last axis of 1 dropped"``.
    """

    data: NDArray[Any]
    affine: Affine
    qform_code: int = 1
    sform_code: int = 1
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 4:
            raise ValueError(f"the data of a volume have shape (C, X, Y, Z), not {self.data.shape}")
        object.__setattr__(self, "affine", frozen_affine(self.affine))

    def __repr__(self) -> str:
        return f"Volume({', '.join(text for _, text in self._facts())})"

    def _repr_html_(self) -> str:
        """For a notebook: facts, and three slices of the first channel."""
        turned = to_ras(self)
        return table(self._facts()) + three_planes(turned.data[0], turned.spacing)

    def view(self, *overlays: Volume, opacity: float = 0.5) -> Any:
        """For a notebook: a NiiVue viewer of this volume, with others over it; needs ipyniivue.

        Args:
            *overlays: of integers (label maps, drawn in colours) or of real numbers (heat maps), on any grid.
            opacity: of the overlays, 0 to 1.

        Returns:
            The widget, ``ipyniivue.NiiVue``.

        Raises:
            UsageError: ipyniivue is not installed.
        """
        from medgen.volume.viewing import view

        return view([(each.data[0], each.affine) for each in (self, *overlays)], opacity)

    def _facts(self) -> list[tuple[str, str]]:
        channels, *sides = self.data.shape
        facts = [
            ("voxels", " x ".join(map(str, sides)) + (f", {channels} channels" if channels != 1 else "")),
            ("spacing", " x ".join(f"{step:.4g}" for step in self.spacing) + " mm"),
            ("axes", "".join(self.axis_codes)),
            ("type", str(self.data.dtype)),
        ]
        named = [("source", Path(self.source).name)] if self.source else []
        return facts + named + [("note", note) for note in self.notes]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (X, Y, Z)."""
        _, x, y, z = self.data.shape
        return x, y, z

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

    @property
    def grid(self) -> Grid:
        """Where the voxels lie, without them."""
        return Grid(self.shape, self.affine, self.qform_code, self.sform_code, self.source, self.notes)

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Other voxels on the same grid.

        Args:
            data: (C, X, Y, Z) or (X, Y, Z), of this volume's spatial shape.

        Raises:
            ValueError: the spatial shape differs.
        """
        data = data[None] if data.ndim == 3 else data
        if data.shape[1:] != self.shape:
            raise ValueError(f"data of shape {data.shape} do not lie on a grid of {self.shape}")
        return replace(self, data=data)


def read_volume(
    path: str | Path,
    *,
    geometry: Geometry | None = None,
    frame: int | None = None,
    dtype: DTypeLike | None = np.float32,
) -> Volume:
    """Read one 3D volume from NIfTI (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``), MetaImage or a DICOM series.

    Slope and intercept of the header are applied. NaN and infinity come through as they are. The data keep the
    memory order of the file, so reading costs one array of the size of the result and, where the file stores
    another type, the stored numbers besides.

    Args:
        path: the file; of a DICOM series the folder, or the file with all its frames.
        geometry: which one to believe where sform and qform are both coded and disagree by more than 0.1 voxel.
        frame: which frame of a 4D image, counted from 0.
        dtype: type of the data; None keeps the stored type where there is no slope, and float64 elsewhere.

    Returns:
        A volume with one channel. Its affine holds exactly what a NIfTI-1 header can hold (float32).

    Raises:
        InputError: the file is missing, incomplete, damaged (checksum), of another format, 4D without a choice of
            frame, in colour, sheared, or its sform and qform disagree; or the slices of a series do not make one
            whole, even and straight volume.
        StorageError: the file may not be read.
    """
    path = Path(path)
    with explained(path):
        series = read_dicom(path, frame, dtype) if is_dicom(path) else None
    if series is not None:
        return on_grid(*series)
    return read_file(path, geometry, frame, dtype)


def read_file(
    path: Path, geometry: Geometry | None, frame: int | None, dtype: DTypeLike | None, *, keep_shear: bool = False
) -> Volume:
    """Read a NIfTI or MetaImage file, as :func:`read_volume` does.

    Args:
        path: the file.
        geometry: as for :func:`read_volume`.
        frame: likewise.
        dtype: likewise.
        keep_shear: give a volume on a sheared grid as it is, where it would be refused.

    Raises:
        InputError: as for :func:`read_volume`.
    """
    slope, intercept = 1.0, 0.0
    notes: tuple[str, ...] = ()
    with explained(path):
        if is_metaimage(path):
            raw, grid = read_metaimage(path, frame, keep_shear=keep_shear)
        else:
            image = open_image(path)
            raw, notes = read_voxels(image, path, frame)
            grid = read_grid(image, path, geometry, frame, keep_shear=keep_shear)
            slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    merged = tuple(dict.fromkeys(notes + grid.notes))
    return on_grid(_scaled(raw, slope, intercept, dtype), replace(grid, notes=merged))


def on_grid(data: NDArray[Any], grid: Grid) -> Volume:
    """The volume of one channel that has the voxels ``data`` (X, Y, Z) on ``grid``."""
    return Volume(data[None], grid.affine, grid.qform_code, grid.sform_code, grid.source, grid.notes)


def read_header(path: str | Path, *, geometry: Geometry | None = None, frame: int | None = None) -> Grid:
    """Read where the voxels of a file lie, without reading them.

    A packed file's checksum is not looked at (unless the header makes no sense), so a damaged one can pass.

    Args:
        path: the file.
        geometry: as for :func:`read_volume`.
        frame: as for :func:`read_volume`.

    Raises:
        InputError: as for :func:`read_volume`, as far as the header tells.
        StorageError: the file may not be read.
    """
    path = Path(path)
    with explained(path):
        if is_dicom(path):
            return read_dicom_grid(path, frame)
        if is_metaimage(path):
            return read_metaimage_grid(path, frame)
        return read_grid(open_image(path), path, geometry, frame)


def to_ras(volume: Volume) -> Volume:
    """The same voxels with axes permuted and flipped to the order closest to RAS+; nothing is resampled.

    The data of the result are contiguous; a volume that is in RAS+ order already is returned as it is.
    """
    return _reoriented(volume, ("R", "A", "S"))


def reorient_like(volume: Volume, reference: Volume | Grid) -> Volume:
    """The same voxels in the axis order of ``reference``; the exact inverse of :func:`to_ras`.

    Where the result lies on the grid of ``reference`` it takes over that affine and its codes bit for bit.

    Raises:
        InputError: the volume does not cover the grid of ``reference``.
    """
    turned = _reoriented(volume, reference.axis_codes)
    if corner_distance(turned, reference) > _SAME * min(reference.spacing):
        raise InputError(
            "the volume does not lie on the grid whose axis order it should take",
            where=f"{volume.source or 'a volume in memory'} and {reference.source or 'a volume in memory'}",
            fix="resample it onto that grid first",
        )
    return replace(turned, affine=reference.affine, qform_code=reference.qform_code, sform_code=reference.sform_code)


def _reoriented(volume: Volume, codes: tuple[str, str, str]) -> Volume:
    if volume.axis_codes == codes:
        return volume
    moves = to_closest(volume.affine, codes)
    data = np.stack([nibabel.apply_orientation(channel, moves) for channel in volume.data])
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(moves, volume.shape)
    return replace(volume, data=data, affine=affine)


def _scaled(raw: NDArray[Any], slope: float, intercept: float, dtype: DTypeLike | None) -> NDArray[Any]:
    """Stored numbers times slope plus intercept, in one array of ``dtype``."""
    identity = slope == 1.0 and intercept == 0.0
    wanted = np.dtype(dtype) if dtype is not None else (raw.dtype.newbyteorder("=") if identity else np.dtype(float))
    mapped = isinstance(raw, np.memmap)  # a view of the file would change, or vanish, with the file
    data: NDArray[Any] = np.asarray(raw).astype(wanted, order="K", copy=mapped)
    if identity:
        return data
    if wanted.kind != "f":
        raise ValueError(f"slope {slope:g} and intercept {intercept:g} need a floating type, not {wanted}")
    data *= np.array(slope, wanted)
    data += np.array(intercept, wanted)
    return data
