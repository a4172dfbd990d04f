#!/usr/bin/env bash
# nibabel 5.4.2: a label map that was computed in floating point and is saved with the header of its integer label map is
# stretched over the whole range of the integer type, although its values are integers that fit. The file then has a slope
# of largest / 255, and the labels 0, 1, 2, 4 come back as 0, 1.0039, 1.9922, 4. Reading them as integers, which cuts off
# the decimals, turns every voxel of class 2 into class 1; SimpleITK 2.5.7 does so when asked for sitkUInt8.
#
# Seen with nibabel 5.4.2, numpy 2.4.6, SimpleITK 2.5.7: of 16 voxels of class 2 none is left with either reader. The same
# happens to a CT: HU that are integers come back with decimals. Expected: values that the type can hold are stored as
# they are. Way out: cast the array to integers before the image is made, not by the header.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6 SimpleITK==2.5.7
cat > "$folder/seen.py" <<'PYTHON'
import sys

import nibabel as nib
import numpy as np
import SimpleITK as sitk

labels = np.array([0, 1, 2, 4], np.uint8).repeat(16).reshape(4, 4, 4)
nib.save(nib.Nifti1Image(labels, np.eye(4)), "truth.nii.gz")
truth = nib.load("truth.nii.gz")
computed = truth.get_fdata()  # float64, the same values
nib.save(nib.Nifti1Image(computed, truth.affine, truth.header), "computed.nii.gz")

image = nib.load("computed.nii.gz")
values = image.get_fdata()
itk = sitk.GetArrayFromImage(sitk.ReadImage("computed.nii.gz", sitk.sitkUInt8))
print("nibabel", nib.__version__, "SimpleITK", sitk.__version__)
print("stored as", image.get_data_dtype(), "with slope", image.dataobj.slope)
print("values read:", np.unique(values))
print("as integers, nibabel:  ", dict(zip(*np.unique(values.astype(int), return_counts=True))))
print("as integers, SimpleITK:", dict(zip(*np.unique(itk, return_counts=True))))
lost = not (values.astype(int) == 2).any() and not (itk == 2).any()
sys.exit(0 if lost and image.get_data_dtype() == np.uint8 else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
