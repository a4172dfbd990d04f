"""What all objects that medgen writes say of patient, study, device and purpose.

Elements are copied from the source series by name. Nothing else of it is taken over: what a result does not know of,
such as an echo time, would be wrong there.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medgen import __version__
from medgen.dicom.folders import MANUFACTURER
from medgen.dicom.source import SourceSeries
from medgen.volume.slices import damage, silenced

if TYPE_CHECKING:
    from pydicom import Dataset

RESEARCH = "NOT FOR CLINICAL USE"
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
_POSITIONS = ("HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL")
_PARTS = ("HEAD", "BRAIN", "NECK", "HEADNECK", "CHEST", "ABDOMEN", "PELVIS", "PROSTATE", "CSPINE", "TSPINE", "LSPINE")
_KEPT: Mapping[str, Sequence[str]] = {
    "PatientSex": ("M", "F", "O"),
    "PatientPosition": _POSITIONS,
    "BodyPartExamined": _PARTS,
}
"""What says nothing of who the patient is, by the words that it may have."""
_FORMS: Mapping[str, str] = {
    "DA": r"\d{8}",
    "TM": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "CS": r"[A-Z0-9 _]{1,16}",
    "AS": r"\d{3}[DWMY]",
    "SH": r"[^\\\x00-\x1f]{1,16}",
    "LO": r"[^\\\x00-\x1f]{1,64}",
    "PN": r"[^\\\x00-\x1f]{1,324}",
}
"""Which values an element may have, by the kind that pydicom knows it by (PS3.5, 6.2)."""
_UNICODE = "ISO_IR 192"


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
        header.SpecificCharacterSet = _UNICODE
        for keyword, needed in {**_PATIENT, **_STUDY, **_PLACE}.items():
            value = _sound(first, keyword)
            if self.anonymous and value not in _KEPT.get(keyword, ()):
                value = None
            if value is not None or needed:
                setattr(header, keyword, "" if value is None else value)
        if self.anonymous:
            header.PatientName = header.PatientID = _ANONYMOUS
            header.PatientIdentityRemoved = "YES"
            header.DeidentificationMethod = f"{MANUFACTURER}: no element but geometry and sex was copied"
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
        return 9000 + source.number if self.number is None else self.number

    def series_description(self, what: str) -> str:
        """What it is, and that it is research."""
        return f"{plain_text(self.description or what, 64 - len(RESEARCH) - 2)}, {RESEARCH}"


def stamp(header: Dataset, source: SourceSeries, made: Made, now: datetime.datetime) -> None:
    """Say by what, when and from what an object was made, and what it is not for."""
    header.Manufacturer = MANUFACTURER
    header.ManufacturerModelName = plain_text(made.model)
    header.SoftwareVersions = __version__
    header.InstanceCreationDate = header.ContentDate = header.SeriesDate = now.strftime("%Y%m%d")
    header.InstanceCreationTime = header.ContentTime = header.SeriesTime = now.strftime("%H%M%S.%f")
    header.ContributingEquipmentSequence = [
        item(
            Manufacturer=MANUFACTURER,
            ManufacturerModelName=plain_text(made.model),
            SoftwareVersions=__version__,
            ContributionDescription=f"computed by a network; {RESEARCH}",
            PurposeOfReferenceCodeSequence=[code("109102", "Processing Equipment")],
        )
    ]


def add_side(header: Dataset, source: SourceSeries) -> None:
    """Of which side of a paired part the images are; of a part that may be paired the element must be there."""
    side = _sound(source.first, "Laterality")
    if side or not header.get("BodyPartExamined"):
        header.Laterality = side or ""


def plain_text(text: str, length: int = 64) -> str:
    """Text as an element of one value can hold it: no backslash, which parts values, and nothing that is not printed.

    >>> plain_text(f"a{chr(92)}b{chr(27)}", 3)
    'a/b'
    """
    return "".join(letter for letter in text.replace("\\", "/") if letter.isprintable())[:length]


def _sound(header: Dataset, keyword: str) -> Any:
    """A value of the source that may be copied; None where there is none, or it is not what the standard allows."""
    try:
        with silenced():
            element = header.get_item(keyword) and header[keyword]
            if element is None or element.value is None or element.VM > 1:
                return None
            if element.VR in ("SQ", "UI"):
                return element.value
            if element.VR in ("DS", "IS"):
                return element.value if float(element.value) == float(element.value) else None
            text = str(element.value).strip()
            return text if re.fullmatch(_FORMS.get(element.VR, ".*"), text) else None
    except damage():
        return None


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
