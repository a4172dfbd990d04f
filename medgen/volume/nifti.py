# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""NIfTI headers and raw voxels, read with nibabel alone; damage is named, never filled in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from isal import igzip
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.damage import (
    BLOCK,
    first_line,
    promised_bytes,
    require_complete,
    require_plausible_start,
    require_unpacked_size,
    too_long,
)
from medgen.volume.grid import SAME_GRID, STRAIGHT, Affine, Grid, corner_distance, spacing_of, straighten
from medgen.volume.nifti_header import (
    fault_of_qform,
    fault_of_size,
    require_known_codes,
    require_small_extension,
    size_notes,
    stored_header,
    unit_notes,
)

Geometry = Literal["sform", "qform"]

RESAMPLE = "medgen fix FILE -o VOLUME.nii.gz --resample brings it onto a straight grid"


def open_image(path: Path) -> Any:
    """The nibabel image of a NIfTI-1 or NIfTI-2 file or pair, voxels not read yet.

    Raises:
        InputError: there is no such file, it is another format, or its image half is missing or too short.
    """
    if path.is_dir():
        raise InputError("a folder was given in place of a volume", where=path, fix="name the .nii or .nii.gz file")
    if not path.exists():
        raise InputError("there is no such file", where=path, fix="check the name and the folder")
    require_plausible_start(path)
    stored = stored_header(path)
    if stored is not None:
        require_small_extension(stored, path)
    try:
        image: Any = nibabel.load(path)
    except FileNotFoundError as error:
        missing = Path(error.filename or "").name
        raise InputError(
            f"the header has no image beside it ({missing or 'the .img file'} is missing)",
            where=path,
            fix="copy the .hdr and the .img file together",
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):  # also the base of Nifti1Image, Nifti2Pair and Nifti2Image
        raise InputError(
            f"the file is {type(image).__name__.removesuffix('Image')}, not NIfTI: its orientation is not defined",
            where=path,
            fix="convert the original to .nii.gz, for example with dcm2niix",
        )
    if stored is None:
        raise InputError(
            "the header is damaged: sizeof_hdr is neither 348 nor 540", where=path, fix="copy or convert it again"
        )
    _require_voxels_behind_header(image, path)
    require_complete(image, path)
    return image


def _require_voxels_behind_header(image: Any, path: Path) -> None:
    """Refuse a single file whose voxels would begin inside its header; readers disagree where they then are."""
    begin, header = int(image.dataobj.offset), int(image.header["sizeof_hdr"])
    if isinstance(image, nibabel.Nifti1Image) and begin < header:
        raise InputError(
            f"the voxels begin at byte {begin} (vox_offset), inside the header of {header} bytes",
            where=path,
            fix=f"write the file again; if its voxels follow the header, set vox_offset to {header + 4}",
        )


def read_voxels(image: Any, path: Path, frame: int | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The stored numbers of one 3D frame, without slope and intercept, (X, Y, Z) in the file's memory order.

    The whole stream of a packed file is read even where one frame is wanted: its checksum stands at the end, and
    nothing may follow the voxels.
    """
    proxy = image.dataobj
    shape, notes, frame = _spatial_shape(tuple(proxy.shape), path, frame)
    if proxy.dtype.kind not in "iufb":
        kind = "colour (RGB)" if proxy.dtype.names else f"{proxy.dtype}"
        raise InputError(
            f"the voxels are {kind}, expected one real number each",
            where=path,
            fix="export the scanner's own values in place of a rendered or complex image",
        )
    file = Path(image.file_map["image"].filename)
    layout = (proxy.shape, proxy.dtype, proxy.offset, 1.0, 0.0)
    if file.suffix.lower() == ".gz":
        promised = promised_bytes(image)
        require_unpacked_size(file, promised)
        with _PackedFile(file, "rb") as stream:
            raw = _pick(ArrayProxy(stream, layout), frame)
            while stream.tell() <= promised and stream.read(BLOCK):
                pass
            if stream.tell() > promised:
                raise too_long(file, promised)
    else:
        raw = _pick(ArrayProxy(str(file), layout), frame)
    return raw.reshape(shape, order="F"), notes


def read_grid(
    image: Any, path: Path, geometry: Geometry | None, frame: int | None, *, keep_shear: bool = False
) -> Grid:
    """The grid that the header describes, in millimetres, free of shear unless it is to be kept.

    Raises:
        InputError: sform and qform disagree and nothing was chosen, the grid is sheared or degenerate, a code is
            unknown, the unit is not the millimetre, or the grid is made of a voxel size that is not above 0.
    """
    header, stored = image.header, stored_header(path)
    shape, notes, _ = _spatial_shape(tuple(image.shape), path, frame)
    notes += unit_notes(stored, path)
    require_known_codes(stored, path)
    affine, source, chosen = _chosen_affine(header, stored, shape, path, geometry)
    require_regular(affine, path)
    straight, angle, moved = straighten(affine, shape)
    if moved > STRAIGHT and not keep_shear:
        other = "qform" if source == "sform" and int(header["qform_code"]) > 0 else ""
        raise InputError(
            f"the {source} is sheared: two axes are {angle:.2f} degrees off the right angle",
            where=path,
            fix=RESAMPLE + (f", or, if its {other} is right: {_choose('geometry', other)}" if other else ""),
        )
    # What a NIfTI-1 header can hold is what is kept, so that writing the grid again changes no bit of it.
    held = np.asarray(affine if moved > STRAIGHT else straight, np.float32).astype(np.float64)
    return Grid(shape, held, int(header["qform_code"]), int(header["sform_code"]), str(path), notes + chosen)


class _PackedFile(igzip.IGzipFile):
    """A gzip file that is unpacked straight into the array, where the base class first makes a copy of it all."""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            part = self.read(min(BLOCK, len(view) - done))
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
        return done


def base_affine(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> Affine:
    """The affine that a reader makes up for a header without world position (centred, left-handed as ANALYZE)."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_zooms(spacing)
    return np.asarray(header.get_base_affine(), np.float32).astype(np.float64)


def _chosen_affine(
    header: Any, stored: Any, shape: tuple[int, int, int], path: Path, geometry: Geometry | None
) -> tuple[Affine, str, tuple[str, ...]]:
    """The affine to use, what it is called, and what had to be decided."""
    sform = np.asarray(header.get_sform(), np.float64) if int(header["sform_code"]) > 0 else None
    qform = _qform(header, stored, path, needed=geometry != "sform" or sform is None)
    if sform is None and qform is not None:
        return qform, "qform", ()
    if sform is not None and qform is None:
        return sform, "sform", size_notes(stored, sform, shape)
    if sform is None or qform is None:
        if fault := fault_of_size(stored):
            raise InputError(fault, where=path, fix="convert it again from the original, which knows the voxel size")
        note = "no world position: sform and qform codes are 0"
        return np.asarray(header.get_base_affine(), np.float64), "voxel size", (note,)
    for affine in (sform, qform):
        require_regular(affine, path)
    distance = min(corner_distance(Grid(shape, sform), Grid(shape, each)) for each in (qform, _unrounded_qform(header)))
    smallest = min(*spacing_of(sform), *spacing_of(qform))
    agree = distance <= SAME_GRID * smallest
    if geometry is None and not agree:
        raise InputError(
            f"sform and qform disagree by {distance:.2f} mm (spacing {_mm(sform)} and {_mm(qform)} mm)",
            where=path,
            fix=f"look which one is right; for example {_choose('geometry', 'sform')}",
        )
    name = geometry or "sform"
    notes = () if agree else (f"{name} chosen; the other lies {distance:.2f} mm away",)
    return (sform if name == "sform" else qform), name, notes


def _qform(header: Any, stored: Any, path: Path, *, needed: bool) -> Affine | None:
    if int(header["qform_code"]) <= 0:
        return None
    fault = fault_of_qform(stored)
    if not fault:
        try:
            return np.asarray(header.get_qform(), np.float64)
        except (ValueError, HeaderDataError) as error:
            fault = f"the qform is no rotation: {first_line(error)}"
    if not needed:
        return None
    raise InputError(
        fault,
        where=path,
        fix=f"convert it again or, if the file has an sform too: {_choose('geometry', 'sform')}",
    )


def _unrounded_qform(header: Any) -> Affine:
    """The qform without nibabel's habit of reading a rotation within 0.07 degrees of half a turn as half a turn.

    That habit moves the corner of a large volume by a third of a voxel, so it must not count as disagreement.
    """
    rest = np.array([header["quatern_b"], header["quatern_c"], header["quatern_d"]], np.float64)
    rotation = nibabel.quaternions.quat2mat([np.sqrt(max(1.0 - float(rest @ rest), 0.0)), *rest])
    affine = np.eye(4)
    affine[:3, :3] = rotation * header["pixdim"][1:4] * [1.0, 1.0, header["pixdim"][0]]
    affine[:3, 3] = header["qoffset_x"], header["qoffset_y"], header["qoffset_z"]
    return affine


def require_regular(affine: Affine, path: Path) -> None:
    """Refuse an affine with an axis of no length or two axes that are one.

    Raises:
        InputError: it is such a one, or not finite.
    """
    spacing = np.array(spacing_of(affine))
    if np.all(np.isfinite(affine)) and np.all(spacing > 0):
        volume = abs(np.linalg.det(affine[:3, :3] / spacing))
        if volume > 1e-3:
            return
    raise InputError(
        f"the voxel grid is degenerate: spacing {_mm(affine)} mm", where=path, fix="convert the image again"
    )


def _spatial_shape(
    shape: tuple[int, ...], path: Path, frame: int | None
) -> tuple[tuple[int, int, int], tuple[str, ...], int | None]:
    """The (X, Y, Z) part of a stored shape, what was dropped, and which frame to take."""
    if len(shape) < 2 or min(shape) < 1:
        raise InputError(f"the image has shape {shape}, expected three axes", where=path, fix="convert it again")
    if len(shape) == 2:
        return (shape[0], shape[1], 1), ("one slice: third axis of 1 added",), None
    spatial = (shape[0], shape[1], shape[2])
    frames = math.prod(shape[3:])
    if frames > 1 and frames != shape[3]:
        raise InputError(
            f"the image has shape {shape}: several values a voxel", where=path, fix="split it into 3D volumes"
        )
    if frame is not None and not 0 <= frame < frames:
        raise InputError(
            f"there is no frame {frame}: the image has {frames}", where=path, fix=f"choose from 0 to {frames - 1}"
        )
    if frames == 1:
        return spatial, (f"last axis of 1 dropped (shape {shape})",) if len(shape) > 3 else (), None
    if frame is None:
        raise InputError(
            f"the image is 4D with {frames} frames, expected 3D",
            where=path,
            fix=f"split it into 3D volumes (medgen fix and predict: --frame 0 to {frames - 1} chooses one)",
        )
    return spatial, (f"frame {frame} of {frames} taken",), frame


def _choose(setting: str, value: str) -> str:
    """How to choose, where a recipe is at work and where none is."""
    return f"set preparation.{setting} to {value} in the recipe (medgen fix and predict: --{setting} {value})"


def _pick(proxy: ArrayProxy, frame: int | None) -> NDArray[Any]:
    return np.asanyarray(proxy.get_unscaled() if frame is None else proxy[..., frame])


def _mm(affine: Affine) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing_of(affine))
