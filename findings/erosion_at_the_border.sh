#!/usr/bin/env bash
# What lies outside the image is background to scipy.ndimage.binary_erosion, and foreground to scikit-image, SimpleITK and
# scipy's own grey_erosion. An organ that the field of view cuts therefore loses a layer at the cut in one of them, and its
# surface (mask without its erosion, the usual way to a surface distance) has a lid there that the others do not have.
#
# Seen with scipy 1.17.1, scikit-image 0.26.0, SimpleITK 2.5.7, for a slab that fills 3 of 5 slices of a 5 x 5 x 5 image and a
# 6-neighbour element: 9 voxels are left by binary_erosion and 50 by each of the others; the surface has 66 and 25 voxels.
# For a prediction that is one slice longer the mean distance to the true surface is 0.30 and 1.00. Expected: one
# convention. Way out: binary_erosion(..., border_value=1), or padding.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 scikit-image==0.26.0 SimpleITK==2.5.7 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import sys

import numpy as np
import scipy
import SimpleITK as sitk
import skimage
from scipy import ndimage

cross = ndimage.generate_binary_structure(3, 1)


def itk(mask):
    eroded = sitk.BinaryErode(sitk.GetImageFromArray(mask.astype(np.uint8)), [1, 1, 1], sitk.sitkCross)
    return sitk.GetArrayFromImage(eroded) > 0


erosions = {
    "scipy binary_erosion": lambda mask: ndimage.binary_erosion(mask, cross),
    "scipy grey_erosion": lambda mask: ndimage.grey_erosion(mask.astype(np.uint8), footprint=cross) > 0,
    "scikit-image erosion": lambda mask: skimage.morphology.erosion(mask, cross),
    "SimpleITK BinaryErode": itk,
}
truth, prediction = np.zeros((2, 5, 5, 5), bool)
truth[:3], prediction[:4] = True, True
print("scipy", scipy.__version__, "scikit-image", skimage.__version__, "SimpleITK", sitk.__version__)
left = {}
for name, erode in erosions.items():
    true, predicted = (mask & ~erode(mask) for mask in (truth, prediction))
    distance = ndimage.distance_transform_edt(~true)[predicted].mean()
    left[name] = int(erode(truth).sum())
    print(f"{name}: {left[name]} voxels left, {true.sum()} on the surface, mean distance to it {distance:.2f}")
sys.exit(0 if list(left.values()) == [9, 50, 50, 50] else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
