"""A person planted in every place of a file that can hold one, and a search for traces in whatever was written."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel
from pydicom.dataset import Dataset

PERSON = "LOVELACE^ADA"
FOLDER = "Byron Ada 1815"
DICOM = {
    "PatientName": PERSON,
    "PatientID": "PID-18151210",
    "PatientBirthDate": "18151210",
    "PatientAddress": "12 St James Square",
    "PatientTelephoneNumbers": "0201815",
    "PatientMotherBirthName": "MILBANKE",
    "OtherPatientNames": "KING^AUGUSTA",
    "AccessionNumber": "ACC-1843-7",
    "StudyID": "STUDY-BERNOULLI",
    "StudyDescription": "of Countess Lovelace",
    "SeriesDescription": "head of Augusta King",
    "InstitutionName": "Ockham Park Hospital",
    "ReferringPhysicianName": "LOCOCK^CHARLES",
    "OperatorsName": "BABBAGE^CHARLES",
    "StationName": "ENGINE-NO-2",
    "RequestedProcedureDescription": "for William King",
}
"""By DICOM keyword; the standard keeps all of them in the header of an image."""
PRIVATE = "PRIVATE-NOTE-G"
NIFTI_FIELDS = ("descrip", "aux_file", "db_name", "intent_name")
HEADERS = (*DICOM.values(), PRIVATE, "LOVELACE", "MILBANKE", "BABBAGE")
"""What no output may hold; a folder's name may stand in the messages to the user who typed it, and nowhere else."""


def plant_in_nifti(path: Path) -> None:
    """Write the name into every text of a NIfTI header, and into an extension."""
    image = nibabel.load(path)
    header = image.header.copy()
    for field in NIFTI_FIELDS:
        header[field] = PERSON
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PERSON.encode()))
    nibabel.save(nibabel.Nifti1Image(image.dataobj[...], None, header), path)


def plant_in_dicom(header: Dataset) -> None:
    """Write the person into a DICOM header, with a private group."""
    for keyword, value in DICOM.items():
        setattr(header, keyword, value)
    header.private_block(0x0011, "MEDGEN TEST", create=True).add_new(0x01, "LO", PRIVATE)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name; of a packed one what is in it."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found |= _unpacked(str(path.relative_to(folder)), path.read_bytes())
    return found


def _unpacked(name: str, data: bytes) -> dict[str, bytes]:
    if data.startswith(b"\x1f\x8b"):
        return {name: gzip.decompress(data)}
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return {name: data, **{f"{name}/{member}": packed.read(member) for member in packed.namelist()}}
    return {name: data}


def traces(written: Mapping[str, bytes | str], secrets: Iterable[str] = HEADERS) -> list[tuple[str, str]]:
    """Where which secret stands, in UTF-8, UTF-16 or the name of a file; upper and lower case are the same."""
    found = []
    for secret in secrets:
        forms = {secret.lower().encode(form) for form in ("utf-8", "utf-16-le", "utf-16-be")}
        for name, data in written.items():
            text = (data.encode() if isinstance(data, str) else data).lower()
            if secret.lower() in name.lower() or any(form in text for form in forms):
                found.append((name, secret))
    return found
