"""What segmentations and parametric maps share: highdicom, and the source images as it wants them.

highdicom copies patient and study from the images that it is given. It gets stand-ins, with the elements that
:mod:`medgen.dicom.elements` allows and the geometry, so that nothing else of the source can get into a result.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen import __version__
from medgen.dicom.elements import RESEARCH, Made, Owner, item, numbers, plain_text, stamp
from medgen.dicom.folders import MANUFACTURER
from medgen.dicom.source import SourceSeries
from medgen.errors import InputError, UsageError
from medgen.volume.slices import Slice

if TYPE_CHECKING:
    from types import ModuleType

    from pydicom import Dataset


def require_highdicom() -> ModuleType:
    """highdicom, or what to install.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import highdicom
    except ImportError:
        raise UsageError(
            "segmentations and parametric maps in DICOM need highdicom, which is not installed",
            fix="pip install 'medgen[dicom]' (Python 3.13 or older)",
        ) from None
    return highdicom


def stand_ins(source: SourceSeries, owner: Owner) -> list[Dataset]:
    """The images of the source, with nothing in them but whose and where they are, in the order of the slices.

    Of a file with several frames there is one.
    """
    if len(source.headers) > 1 and "Enhanced" in source.first.SOPClassUID.name:
        raise InputError(
            f"the series is {len(source.headers)} files of the Enhanced kind, into which no segmentation or map can be "
            "written",
            where=source.stack.path,
            fix="write the result as --as ct, or export the series as one file",
        )
    count = 1 if source.slices[0].frames > 1 else len(source.slices)
    return [_stand_in(source, number, owner) for number in range(count)]


def in_their_order(values: NDArray[Any], source: SourceSeries) -> NDArray[Any]:
    """Values by slice (slices, rows, columns) as highdicom wants them: of frames, in the order of the file."""
    if source.slices[0].frames == 1:
        return values
    return np.ascontiguousarray(values[np.argsort([each.frame for each in source.slices])])


def words(made: Made, source: SourceSeries, above: int) -> dict[str, Any]:
    """Arguments of highdicom's classes that say by what an object was made; ``above`` the number of a CT's series."""
    from pydicom.uid import ExplicitVRLittleEndian

    return {
        "series_number": made.series_number(source) + (0 if made.number else above),
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": plain_text(made.model),
        "software_versions": __version__,
        "device_serial_number": "none",
        "content_description": RESEARCH,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }


def finished(
    made_object: Dataset, source: SourceSeries, owner: Owner, made: Made, description: str, now: datetime.datetime
) -> Dataset:
    """The object with all that highdicom does not write of patient, device and purpose."""
    owner.fill(made_object, source)
    stamp(made_object, source, made, now)
    made_object.SeriesDescription = made.series_description(description)
    return made_object


def _stand_in(source: SourceSeries, number: int, owner: Owner) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    each, image = source.slices[number], Dataset()
    header = source.headers[each.path]
    owner.fill(image, source)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = header.SOPClassUID, owner.uid(header.SOPInstanceUID)
    image.SeriesInstanceUID = owner.uid(header.SeriesInstanceUID)
    image.Modality = header.get("Modality") or "OT"
    image.Columns, image.Rows = each.shape
    if each.frames == 1:
        image.update(_place(each))
        image.update(_measures(source, number))
        return image
    image.NumberOfFrames = each.frames
    orientation = item(ImageOrientationPatient=numbers(each.orientation))
    image.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[_measures(source, number)], PlaneOrientationSequence=[orientation])
    ]
    frames = sorted(source.slices, key=lambda one: one.frame)
    image.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=numbers(one.position))]) for one in frames
    ]
    return image


def _place(each: Slice) -> Dataset:
    return item(ImagePositionPatient=numbers(each.position), ImageOrientationPatient=numbers(each.orientation))


def _measures(source: SourceSeries, number: int) -> Dataset:
    columns, rows = source.slices[number].spacing
    return item(PixelSpacing=numbers([rows, columns]), SliceThickness=numbers([source.thickness])[0])
