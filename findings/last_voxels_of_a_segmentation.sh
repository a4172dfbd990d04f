#!/usr/bin/env bash
# SimpleITK 2.5.7 and DICOM segmentations: the voxels of a BINARY segmentation are bits, packed over all frames without a
# gap (DICOM PS3.5, 8.1.1). Where their number is no multiple of 8, SimpleITK does not unpack the last byte: the last
# voxels of the last frame are whatever was in memory, without an error or a warning, also grey levels between 0 and 255.
# Written by highdicom 0.28.2, read back by pydicom 3.0.2 the object is right.
#
# Seen with SimpleITK 2.5.7, highdicom 0.28.2, pydicom 3.0.2 (Linux x86-64), all voxels set: of 7 frames of 5 x 6 voxels
# (210 bits) the last 2 are not 255, all others are; of 7 frames of 8 x 8 all are.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy
cat > "$folder/frames.py" <<'PYTHON'
import sys
import tempfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def slices(rows, columns, count=7):
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(count):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        for empty in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                      "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"):
            setattr(one, empty, "")
        one.Modality, one.Rows, one.Columns = "MR", rows, columns
        one.PixelSpacing, one.SliceThickness = [1, 1], 2
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * number]
        yield one


def differing(rows, columns):
    """Flat indices of the voxels that SimpleITK has otherwise than pydicom, of an object in which all are set."""
    images = list(slices(rows, columns))
    mask = np.ones((len(images), rows, columns), np.uint8)
    tissue = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    segment = highdicom.seg.SegmentDescription(1, "tissue", tissue, tissue, "MANUAL")
    made = highdicom.seg.Segmentation(
        images, mask, "BINARY", [segment], generate_uid(), 1, generate_uid(), 1, "maker", "model", "1", "1",
        omit_empty_frames=False,
    )
    path = Path(tempfile.mkdtemp()) / "seg.dcm"
    made.save_as(path)
    assert pydicom.dcmread(path).pixel_array.all()
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).flatten()
    return np.flatnonzero(theirs != 255).tolist(), theirs[-4:].tolist()


print("SimpleITK", sitk.Version_VersionString(), "highdicom", highdicom.__version__, "pydicom", pydicom.__version__)
odd, even = differing(5, 6), differing(8, 8)
print("7 frames of 5 x 6: voxels that are not 255", odd[0], "last values", odd[1])
print("7 frames of 8 x 8: voxels that are not 255", even[0], "last values", even[1])
sys.exit(0 if odd[0] and set(odd[0]) <= {208, 209} and not even[0] else 1)
PYTHON
"$folder/venv/bin/python" "$folder/frames.py" && echo "as described" || { echo "the behaviour has changed"; exit 1; }
