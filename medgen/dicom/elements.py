"""What all objects that medgen writes say of patient, study, device and purpose.

Elements are copied from the source series by name. Nothing else of it is taken over: what a result does not know of,
such as an echo time, would be wrong there.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medgen import __version__
from medgen.dicom.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

RESEARCH = "NOT FOR CLINICAL USE"
MANUFACTURER = "medgen"
ROOT = "2.25."
"""UIDs made from random numbers, which need no registration (PS3.5, B.2)."""
_ANONYMOUS = "ANONYMOUS"
_PATIENT = {
    "PatientName": True, "PatientID": True, "IssuerOfPatientID": False, "PatientBirthDate": True, "PatientSex": True,
    "OtherPatientIDsSequence": False, "PatientAge": False, "PatientSize": False, "PatientWeight": False,
    "PatientIdentityRemoved": False, "DeidentificationMethod": False, "DeidentificationMethodCodeSequence": False,
}  # fmt: skip
"""Elements of the patient, and whether one without a value must be there (type 2)."""
_STUDY = {
    "StudyDate": True, "StudyTime": True, "StudyID": True, "AccessionNumber": True, "ReferringPhysicianName": True,
    "StudyDescription": False,
}  # fmt: skip
_PLACE = {"PositionReferenceIndicator": True, "PatientPosition": False, "BodyPartExamined": False}
_KEPT = {"PatientSex", "BodyPartExamined", "PatientPosition"}
"""What says nothing of who the patient is."""


def new_uid() -> str:
    """A UID that nobody else has."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=ROOT))


@dataclass(frozen=True)
class Owner:
    """Whose study a result goes into: the source's own, or one that says nothing of the patient.

    All results of one patient share one of these, so that they lie in one study.

    Args:
        anonymous: put nothing that names the patient, the day or the study into an object.

    Attributes:
        uids: what stands for a UID of the source in an anonymous study.
    """

    anonymous: bool = False
    uids: dict[str, str] = field(default_factory=dict)

    def uid(self, of: object) -> str:
        """A UID of the source as it stands in the results; none there: a new one, the same for all of them."""
        known = str(of or "")
        if known and not self.anonymous:
            return known
        return self.uids.setdefault(known, new_uid())

    def fill(self, header: Dataset, source: SourceSeries) -> None:
        """Add patient, study and frame of reference to an object."""
        first = source.first
        if charset := first.get("SpecificCharacterSet"):
            header.SpecificCharacterSet = charset
        for keyword, needed in {**_PATIENT, **_STUDY, **_PLACE}.items():
            hidden = self.anonymous and keyword not in _KEPT
            value = None if hidden else first.get(keyword)
            if value is not None or needed:
                setattr(header, keyword, "" if value is None else value)
        if self.anonymous:
            header.PatientName = header.PatientID = _ANONYMOUS
            header.PatientIdentityRemoved = "YES"
            header.DeidentificationMethod = f"{MANUFACTURER} {__version__}: no element but geometry and sex was copied"
        header.StudyInstanceUID = self.uid(first.StudyInstanceUID)
        header.FrameOfReferenceUID = self.uid(first.get("FrameOfReferenceUID"))


@dataclass(frozen=True)
class Made:
    """By what a result was made.

    Args:
        model: name of the method.
        description: of the series, at most 64 characters with the words of :data:`RESEARCH`.
        number: of the series; None: 9000 above the source's.
    """

    model: str = "medgen"
    description: str = ""
    number: int | None = None

    def series_number(self, source: SourceSeries) -> int:
        """Above those that a scanner gives."""
        return 9000 + int(source.first.get("SeriesNumber") or 0) if self.number is None else self.number

    def series_description(self, what: str) -> str:
        """What it is, and that it is research."""
        room = 64 - len(RESEARCH) - 2
        return f"{(self.description or what)[:room]}, {RESEARCH}"


def stamp(header: Dataset, source: SourceSeries, made: Made, now: datetime.datetime) -> None:
    """Say by what, when and from what an object was made, and what it is not for."""
    header.Manufacturer = MANUFACTURER
    header.ManufacturerModelName = made.model[:64]
    header.SoftwareVersions = __version__
    header.InstanceCreationDate = header.ContentDate = header.SeriesDate = now.strftime("%Y%m%d")
    header.InstanceCreationTime = header.ContentTime = header.SeriesTime = now.strftime("%H%M%S.%f")
    header.ContributingEquipmentSequence = [
        item(
            Manufacturer=MANUFACTURER,
            ManufacturerModelName=made.model[:64],
            SoftwareVersions=__version__,
            ContributionDescription=f"computed by a network; {RESEARCH}",
            PurposeOfReferenceCodeSequence=[code("109103", "Modifying Equipment")],
        )
    ]


def add_side(header: Dataset, source: SourceSeries) -> None:
    """Of which side of a paired part the images are; of a part that may be paired the element must be there."""
    side = source.first.get("Laterality")
    if side or not header.get("BodyPartExamined"):
        header.Laterality = side or ""


def item(**values: Any) -> Dataset:
    """An item of a sequence."""
    from pydicom import Dataset

    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """A coded word."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def numbers(values: Sequence[float]) -> list[Any]:
    """Decimal strings of at most 16 characters, as exact as those can be."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def references(source: SourceSeries, number: int, owner: Owner) -> list[Dataset]:
    """The slice that a slice was made from; nothing of an anonymous one."""
    if owner.anonymous:
        return []
    each = source.slices[number]
    header = source.headers[each.path]
    values: Mapping[str, Any] = {
        "ReferencedSOPClassUID": header.SOPClassUID,
        "ReferencedSOPInstanceUID": header.SOPInstanceUID,
        **({"ReferencedFrameNumber": each.frame + 1} if each.frames > 1 else {}),
        "PurposeOfReferenceCodeSequence": [code("121322", "Source image for image processing operation")],
    }
    return [item(**values)]
