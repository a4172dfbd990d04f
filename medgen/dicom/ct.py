"""A synthetic CT as a CT series (PS3.3, A.3): one file for each slice of the source, where that slice lies."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.dicom.elements import RESEARCH, Made, Owner, add_side, new_uid, numbers, references, stamp
from medgen.dicom.folders import new_folder, save
from medgen.dicom.placing import on_slices, require_one_channel
from medgen.dicom.source import SourceSeries
from medgen.errors import InputError
from medgen.volume.image import Volume
from medgen.volume.slices import silenced

if TYPE_CHECKING:
    from pydicom import Dataset

INTERCEPT = -1024
"""HU of the stored number 0."""
AIR = -1000.0
"""HU of what lies beyond the result."""
_FEW, _LARGEST = 32, 255
"""A label map has no more different values, and none above."""


def write_ct_series(
    volume: Volume,
    source: SourceSeries,
    folder: str | Path,
    *,
    owner: Owner | None = None,
    made: Made | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write a synthetic CT as a new series of the study that its source belongs to.

    Position, orientation and spacing of every slice are those of the source. The stored numbers are HU + 1024, with
    slope 1 and intercept -1024. Series description, image comments and the contributing equipment say that it is
    computed and not for clinical use.

    Args:
        volume: (1, X, Y, Z) in HU, on the grid of the source or where it lies.
        source: the series that it was made from.
        folder: is made, with ``CT_0001.dcm`` and so on from the lowest slice along the normal.
        owner: whose study; by default the source's.
        made: by what.
        overwrite: replace a folder that holds such a series and nothing else.

    Returns:
        What was decided on the way, for the user.

    Raises:
        InputError: the volume lies elsewhere, is a label map, or a value is no number or beyond what 16 bits hold.
        UsageError: the folder is not empty, and may not be replaced.
        StorageError: the disk is full or the folder cannot be written.
    """
    owner, made = owner or Owner(), made or Made()
    require_one_channel(volume)
    _refuse_labels(volume)
    values, exact = on_slices(volume, source.stack, fill=AIR, nearest=False)
    stored = _stored(values, volume.source)
    now, series = datetime.datetime.now(), new_uid()
    with new_folder(folder, source.stack.path, overwrite=overwrite) as empty, silenced():
        for number, pixels in enumerate(stored):
            header = _slice(source, number, owner, made, now)
            header.SeriesInstanceUID, header.InstanceNumber = series, number + 1
            _add_pixels(header, pixels, signed=bool(stored.min() < 0))
            save(header, empty / f"CT_{number + 1:04d}.dcm")
    notes: tuple[str, ...] = ()
    if not exact:
        notes += ("the result lies on another grid, and was interpolated at the voxels of the source",)
    return (*notes, *source.notes)


def _refuse_labels(volume: Volume) -> None:
    """Refuse what is no CT, since a CT has air: a few whole numbers, and none below 0."""
    values = np.unique(volume.data)
    if len(values) <= _FEW and values[0] >= 0 and values[-1] <= _LARGEST and (values % 1 == 0).all():
        listed = ", ".join(f"{value:g}" for value in values[:6])
        raise InputError(
            f"the volume has the values {listed}{' and so on' if len(values) > 6 else ''} alone, like a label map, and "
            "no HU of air",
            where=volume.source or None,
            fix="write it with --as labels --classes NAMES; or give a CT in HU",
        )


def _stored(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Whole numbers, HU + 1024."""
    if not np.isfinite(values).all():
        raise InputError("the CT has voxels that are no numbers", where=where, fix="predict it again")
    stored: NDArray[np.int64] = np.rint(values).astype(np.int64) - INTERCEPT
    low, high = (-(2**15), 2**15 - 1) if stored.min() < 0 else (0, 2**16 - 1)
    if stored.min() < low or stored.max() > high:
        raise InputError(
            f"values from {values.min():.0f} to {values.max():.0f} are no HU of a CT",
            where=where,
            fix="give a CT in HU",
        )
    return stored


def _slice(source: SourceSeries, number: int, owner: Owner, made: Made, now: datetime.datetime) -> Dataset:
    """All of one slice but its pixels and its place in the series."""
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    each, header = source.slices[number], Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, new_uid()
    owner.fill(header, source)
    stamp(header, source, made, now)
    header.Modality, header.SeriesNumber = "CT", made.series_number(source)
    header.SeriesDescription = made.series_description("Synthetic CT")
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    header.DerivationDescription = f"synthetic CT in HU, computed by {made.model} of medgen; {RESEARCH}"
    header.ImageComments = RESEARCH
    if found := references(source, number, owner):
        header.SourceImageSequence = found
    header.AcquisitionNumber = header.KVP = None
    header.BurnedInAnnotation, header.LossyImageCompression = "NO", "01" if source.lossy else "00"
    header.ImagePositionPatient = numbers(each.position)
    header.ImageOrientationPatient = numbers(each.orientation)
    header.PixelSpacing = numbers([each.spacing[1], each.spacing[0]])
    header.SliceThickness, *_ = numbers([source.thickness])
    header.PatientPosition = header.get("PatientPosition") or ""
    add_side(header, source)
    return header


def _add_pixels(header: Dataset, pixels: NDArray[np.int64], *, signed: bool) -> None:
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, int(signed)
    header.RescaleIntercept, header.RescaleSlope = numbers([INTERCEPT, 1])
    header.RescaleType = "HU"
    header.WindowCenter, header.WindowWidth = numbers([40, 400])
    header.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()
