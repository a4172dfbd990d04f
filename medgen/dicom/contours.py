"""Classes of a label map as contours on the slices of their source: one RT structure set (PS3.3, A.19)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.dicom.elements import RESEARCH, Made, Owner, item, new_uid, stamp
from medgen.dicom.folders import new_folder, save
from medgen.dicom.outlines import outlines
from medgen.dicom.placing import labels_on_slices
from medgen.dicom.source import SourceSeries
from medgen.volume.image import Volume
from medgen.volume.slices import Slice, silenced

if TYPE_CHECKING:
    from pydicom import Dataset

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Of a study as a thing of its own; retired, and what readers of structure sets expect."""
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
"""Red, green and blue that colour-blind people can tell apart (Okabe and Ito 2008)."""


def write_contours(
    volume: Volume,
    source: SourceSeries,
    folder: str | Path,
    *,
    classes: Sequence[str],
    owner: Owner | None = None,
    made: Made | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write the outlines of each class of a label map as an RT structure set in the study of its source.

    An outline holds the centres of the voxels of its class on one slice, and of no others. What lies in a hole is cut
    out by a slit of no width. Between slices there is nothing: a structure set has no thickness of its own.

    Args:
        volume: (1, X, Y, Z), whole numbers: 0 background, 1 the first class.
        source: the series that it was made from.
        folder: is made, with ``RTSTRUCT_0001.dcm``.
        classes: their names.
        owner: whose study; by default the source's.
        made: by what.
        overwrite: replace a folder that holds such an object and nothing else.

    Returns:
        What was decided on the way, for the user.

    Raises:
        InputError: the volume lies elsewhere, or is no label map.
        UsageError: the labels name more classes than there are, or the folder is not empty, and may not be replaced.
        StorageError: the disk is full or the folder cannot be written.
    """
    owner, made = owner or Owner(), made or Made()
    names, values, notes = labels_on_slices(volume, source, classes)
    with silenced(), new_folder(folder, source.stack.path, overwrite=overwrite) as empty:
        header = _structure_set(source, owner, made, names)
        header.ROIContourSequence = [
            item(
                ReferencedROINumber=number,
                ROIDisplayColor=list(_COLOURS[(number - 1) % len(_COLOURS)]),
                ContourSequence=list(_contours(values == number, source, owner)),
            )
            for number in range(1, len(names) + 1)
        ]
        for each in header.ROIContourSequence:
            if not each.ContourSequence:
                del each.ContourSequence
        save(header, empty / "RTSTRUCT_0001.dcm", implicit=True)
    return notes


def _structure_set(source: SourceSeries, owner: Owner, made: Made, names: Sequence[str]) -> Dataset:
    """All but the contours."""
    from pydicom import Dataset
    from pydicom.uid import RTStructureSetStorage

    header, now = Dataset(), datetime.datetime.now()
    header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID = RTStructureSetStorage, new_uid(), new_uid()
    owner.fill(header, source)
    stamp(header, source, made, now)
    header.Modality, header.InstanceNumber, header.OperatorsName = "RTSTRUCT", 1, ""
    header.SeriesNumber = made.series_number(source) + (0 if made.number else 150)
    header.SeriesDescription = made.series_description("Contours")
    header.StructureSetLabel, header.StructureSetDescription = "RESEARCH", RESEARCH
    header.StructureSetDate, header.StructureSetTime = header.ContentDate, header.ContentTime
    header.ApprovalStatus = "UNAPPROVED"
    images = [_image(source, number, owner) for number in range(len(source.slices))]
    series = item(SeriesInstanceUID=owner.uid(source.first.SeriesInstanceUID), ContourImageSequence=images)
    study = item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=header.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    header.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=header.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    numbered = list(enumerate(names, start=1))
    header.StructureSetROISequence = [
        item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=header.FrameOfReferenceUID,
            ROIName=name,
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for number, name in numbered
    ]
    header.RTROIObservationsSequence = [
        item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")
        for number, _ in numbered
    ]
    return header


def _contours(masks: NDArray[np.bool_], source: SourceSeries, owner: Owner) -> Iterator[Dataset]:
    """Of one class on all slices (slices, rows, columns)."""
    for number, mask in enumerate(masks):
        for polygon in outlines(mask) if mask.any() else ():
            yield item(
                ContourImageSequence=[_image(source, number, owner)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(polygon),
                ContourData=_placed(polygon, source.slices[number]),
            )


def _placed(polygon: NDArray[np.float64], each: Slice) -> list[str]:
    """LPS+ mm of the points of a slice, to 1e-4 mm."""
    across, down = (np.array(each.orientation[part]) for part in (slice(0, 3), slice(3, 6)))
    rows, columns = polygon.T[:, :, None]
    places = np.array(each.position) + columns * each.spacing[0] * across + rows * each.spacing[1] * down
    return [f"{value:.4f}" for value in (np.round(places, 4) + 0.0).ravel()]  # + 0.0: no minus zero


def _image(source: SourceSeries, number: int, owner: Owner) -> Dataset:
    """The slice that a contour lies on."""
    each = source.slices[number]
    header = source.headers[each.path]
    values: dict[str, Any] = {
        "ReferencedSOPClassUID": header.SOPClassUID,
        "ReferencedSOPInstanceUID": owner.uid(header.SOPInstanceUID),
    }
    return item(**values, **({"ReferencedFrameNumber": each.frame + 1} if each.frames > 1 else {}))
