#!/usr/bin/env bash
# A mask becomes contours in DICOM (RT structure set) with rt-utils. PixelSpacing is (between rows, between columns), and
# rt-utils takes them the other way round: where a pixel is no square, the structure lies elsewhere in the patient. And its
# contours run through the centres of the outermost voxels, not round them: whoever fills them by the usual rule (a voxel
# belongs to a structure if its centre lies inside) loses a shell of half a voxel or more, and single voxels altogether.
# rt-utils reads its own files back without a difference, because it makes both steps backwards, so a round trip shows nothing.
#
# Seen with rt-utils 1.2.7 (the newest on PyPI, January 2023), pydicom 3.0.2: of a ball of 2018 voxels the contours hold 745
# and 873 others with pixels of 0.75 x 0.5 mm, and 1666 with 1 x 1 mm. The first is open since 2023 as
# https://github.com/qurit/rt-utils/issues/92, the second has an option (pull request 141) that is not released.
# Expected: the voxels whose centres lie in the contours are those of the mask.
# Way out: take positions from PixelSpacing[1] along a row and PixelSpacing[0] along a column, and draw between voxels.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 matplotlib==3.11.2 opencv-python-headless==5.0.0.93
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps rt-utils==1.2.7
cat > "$folder/seen.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom
from matplotlib.path import Path as Curve
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

print("rt-utils", version("rt-utils"), "pydicom", pydicom.__version__)
SIDE, SLICES = 32, 10
rows, columns, levels = np.indices((SIDE, SIDE, SLICES))
ball = (rows - 15) ** 2 + (columns - 15) ** 2 + (2 * (levels - 5)) ** 2 < 100
ball[2, 2, 5] = True


def write_series(folder, between_rows, between_columns):
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for level in range(SLICES):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.PatientName = header.PatientID = header.StudyID = "x"
        header.StudyDate = header.StudyTime = ""
        header.Modality, header.InstanceNumber = "CT", level + 1
        header.ImagePositionPatient, header.ImageOrientationPatient = [10, 20, 3 * level], [1, 0, 0, 0, 1, 0]
        header.PixelSpacing, header.SliceThickness = [between_rows, between_columns], 3
        header.Rows = header.Columns = SIDE
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 0
        header.PixelData = np.zeros((SIDE, SIDE), "<u2").tobytes()
        header.save_as(folder / f"{level}.dcm", enforce_file_format=True)


def filled(path, between_rows, between_columns):
    """The voxels whose centres lie in the contours, by their place in mm."""
    found = np.zeros(ball.shape, bool)
    centres = np.stack([10 + np.arange(SIDE * SIDE) % SIDE * between_columns, 20 + np.arange(SIDE * SIDE) // SIDE * between_rows], 1)
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        if len(points) > 2:
            closed = Curve(np.vstack([points[:, :2], points[:1, :2]]))
            found[:, :, round(points[0, 2] / 3)] ^= closed.contains_points(centres).reshape(SIDE, SIDE)
    return found


shares = []
for between_rows, between_columns in ((1.0, 1.0), (0.75, 0.5)):
    name = f"{between_rows}x{between_columns}"
    write_series(Path(name), between_rows, between_columns)
    structures = RTStructBuilder.create_new(dicom_series_path=name)
    structures.add_roi(mask=ball, name="ball")
    structures.save(f"{name}.dcm")
    found = filled(f"{name}.dcm", between_rows, between_columns)
    own = RTStructBuilder.create_from(name, f"{name}.dcm").get_roi_mask_by_name("ball")
    shares.append((ball & found).sum() / ball.sum())
    print(
        f"pixels {between_rows} x {between_columns} mm: {ball.sum()} voxels in the mask, {(ball & found).sum()} of them in the "
        f"contours, {(found & ~ball).sum()} others; read back by rt-utils {(own != ball).sum()} differ; "
        f"the single voxel is {'there' if found[2, 2, 5] else 'lost'}"
    )
square, oblong = shares
there = square < 0.95 and oblong < 0.5
print("the behaviour is there" if there else "the behaviour is gone: the contours hold the mask")
sys.exit(0 if there else 1)
PYTHON
cd "$folder"
venv/bin/python seen.py
