"""What a volume, a DICOM series or everything in a folder looks like: no table and no recipe is needed.

Nothing that names a patient is read out: of a DICOM header the modality alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgen.checks.hounsfield import looks_like_hounsfield, require_hounsfield, sampled
from medgen.checks.images import size_faults
from medgen.errors import InputError, MedgenError, StorageError
from medgen.types import Array, Progress
from medgen.volume import Volume, is_dicom, list_series, read_volume, repair_volume

_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".mha", ".mhd")
_MOST_LABELS = 64  # a label map has fewer values than this, and an image more
_UNITS = {"CT": "HU", "PT": "SUV or counts", "NM": "counts"}
_NAMES = {"MR": "MR", "PT": "PET", "NM": "scintigraphy", "US": "ultrasound"}


@dataclass(frozen=True)
class Described:
    """One volume as it is.

    Attributes:
        name: path relative to what was asked for; of one series among several the first of its files.
        format: ``NIfTI``, ``MetaImage``, or ``DICOM`` with the modality and the number of files.
        shape: voxels along (X, Y, Z); None where it cannot be read.
        spacing: mm.
        orientation: where the voxel axes point, e.g. ``RAS``.
        low: smallest finite value.
        high: largest finite value.
        unit: of the values, as far as they tell: ``HU``, ``class``, or ``arbitrary``.
        looks: in words, what it seems to be.
        faults: why it cannot be used as it is.
        notes: what reading had to decide.
    """

    name: str
    format: str
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    orientation: str = ""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    looks: str = ""
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def describe(path: str | Path, *, progress: Progress | None = None) -> tuple[Described, ...]:
    """Describe a volume, or each volume and DICOM series in a folder and the folders in it.

    One volume is in memory at a time.

    Args:
        path: a NIfTI or MetaImage file, a DICOM file, or a folder.
        progress: called with the number of volumes done, their total and the name of the next.

    Raises:
        InputError: nothing is there, or nothing that is a volume.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such file or folder", where=path, fix="check the path")
    found = list(_places(path)) if path.is_dir() else [path]
    if not found:
        fix = "name a folder with NIfTI, MetaImage or DICOM files"
        raise InputError("there is no volume in this folder", where=path, fix=fix)
    described: list[Described] = []
    for done, place in enumerate(found):
        name = place.name if place == path else place.relative_to(path).as_posix()
        if progress:
            progress(done, len(found), name)
        described += _described(place, name)
    if progress:
        progress(len(found), len(found), "")
    return tuple(described)


def _places(folder: Path) -> Iterator[Path]:
    """Files of volumes, and folders that hold DICOM files; a link to a folder is not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = [Path(root, name) for name in sorted(files) if not name.startswith(".")]
        volumes = [file for file in inside if file.name.lower().endswith(_SUFFIXES)]
        if any(_is_dicom(file) for file in inside if file not in set(volumes)):
            yield Path(root)
        yield from volumes


def _is_dicom(file: Path) -> bool:
    try:
        return file.is_file() and is_dicom(file)
    except OSError:  # may not be read
        return False


def _described(place: Path, name: str) -> Iterator[Described]:
    if not is_dicom(place):
        kind = "MetaImage" if place.suffix.lower() in (".mha", ".mhd") else "NIfTI"
        yield _one(place, name, kind)
        return
    try:
        series = list_series(place)
    except (MedgenError, OSError) as error:
        yield Described(name, "DICOM", faults=(_text(error),))
        return
    for each in series:
        files = f"{each.files} file{'s' * (each.files != 1)}"
        one = None if len(series) == 1 else each.name
        label = name if one is None else f"{name}/{one}"
        yield _one(place, label, f"DICOM {each.modality or '?'}, {files}", one, each.modality)
    if not series:
        yield Described(name, "DICOM", faults=("the files hold no image",))


def _one(place: Path, name: str, kind: str, series: str | None = None, modality: str = "") -> Described:
    try:
        volume = read_volume(place) if series is None else repair_volume(place, series=series).volume
    except (MedgenError, OSError) as error:
        return Described(name, kind, faults=(_text(error),))
    values = sampled(volume.data)
    low, high = _range(volume)
    unit, looks, fault = _look(volume, values, modality)
    faults = [*(what for what, *_ in size_faults(volume)), *_value_faults(volume), *([fault] if fault else [])]
    return Described(
        name,
        kind,
        volume.shape,
        volume.spacing,
        "".join(volume.axis_codes),
        low,
        high,
        unit,
        looks,
        tuple(faults),
        volume.notes,
    )


def _range(volume: Volume) -> tuple[float, float] | tuple[None, None]:
    """The smallest and the largest of the finite values."""
    finite = np.isfinite(volume.data)
    if not finite.any():
        return None, None
    data = volume.data.astype(float, copy=False)
    return float(np.min(data, where=finite, initial=np.inf)), float(np.max(data, where=finite, initial=-np.inf))


def _value_faults(volume: Volume) -> Iterator[str]:
    finite = np.isfinite(volume.data)
    if bad := int(finite.size - finite.sum()):
        yield f"{bad} voxels ({bad / finite.size:.2%}) are NaN or infinite"
    elif volume.data.min() == volume.data.max():
        yield f"one value throughout ({float(volume.data.flat[0]):g})"


def _look(volume: Volume, values: Array, modality: str) -> tuple[str, str, str]:
    """Unit, words and, where the values are not those of the modality, a fault."""
    if modality == "CT":
        try:
            require_hounsfield(volume)
        except InputError as error:
            return "not HU", "CT whose values are not HU", error.what
        return "HU", "CT in Hounsfield units", ""
    if modality:
        return _UNITS.get(modality, "arbitrary"), _NAMES.get(modality, modality), ""
    if not values.size:
        return "", "nothing", ""
    if looks_like_hounsfield(volume.data):
        return "HU", "CT in Hounsfield units", ""
    different = np.unique(values)
    if different.size <= _MOST_LABELS and different[0] >= 0 and np.array_equal(different, np.rint(different)):
        if different.size <= 2:
            return "class", "mask, or label map of one class", ""
        return "class", f"label map of {different.size - 1} classes, values up to {different[-1]:g}", ""
    if different[0] >= 0 and different[-1] <= 1:
        return "0 to 1", "probability map, or an image scaled to 0 to 1", ""
    if different[0] < -500:
        return "perhaps HU", "CT without air, or padding below an MR", ""
    return "arbitrary", "MR, or another image without a unit", ""


def _text(error: Exception) -> str:
    """What is wrong, without the folders in which the file lies."""
    if isinstance(error, MedgenError):
        inside = error.where
        named = f" ({Path(inside).name})" if inside and not isinstance(error, StorageError) else ""
        return f"{error.what}{named}"
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else type(error).__name__
