#!/usr/bin/env bash
# One valid NIfTI file whose lengths are in micrometres or metres (xyzt_units, sform and qform agree): SimpleITK converts
# them to millimetres, nibabel and nilearn give the numbers of the header and call them millimetres. The same voxel lies
# a thousand times as far from the origin with one of them, and a lesion is 10^9 times as large.
#
# Seen with nibabel 5.4.2, nilearn 0.14.1, SimpleITK 2.5.7: a grid of 500 in micrometres has a spacing of 0.5 in
# SimpleITK, and 500 in nibabel and after nilearn.image.resample_img; in metres 0.5 becomes 500 and stays 0.5. What
# SimpleITK writes is in millimetres, so passing the file through it changes its affine. Expected: one physical size.
# Way out: look at header.get_xyzt_units() before the affine is used.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 nilearn==0.14.1 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 SimpleITK==2.5.7
cat > "$folder/seen.py" <<'PYTHON'
import sys

import nibabel as nib
import nilearn
import numpy as np
import SimpleITK as sitk
from nilearn.image import resample_img

print("nibabel", nib.__version__, "nilearn", nilearn.__version__, "SimpleITK", sitk.__version__)
seen = []
for unit, spacing, factor in (("micron", 500.0, 1e-3), ("meter", 0.5, 1e3), ("mm", 0.5, 1.0)):
    image = nib.Nifti1Image(np.ones((8, 8, 8), np.float32), np.diag([spacing] * 3 + [1.0]))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    image.header.set_xyzt_units(unit)
    nib.save(image, "a.nii")
    ours = float(nib.load("a.nii").affine[0, 0])
    resampled = resample_img(nib.load("a.nii"), target_affine=np.diag([2 * spacing] * 3), interpolation="nearest")
    itk = sitk.ReadImage("a.nii")
    sitk.WriteImage(itk, "b.nii")
    again = nib.load("b.nii")
    print(
        f"{unit}: nibabel {ours:g}, nilearn at half the resolution {resampled.affine[0, 0]:g}, SimpleITK "
        f"{itk.GetSpacing()[0]:g}, nibabel after SimpleITK {abs(again.affine[0, 0]):g} {again.header.get_xyzt_units()[0]}"
    )
    seen.append(ours == spacing and np.isclose(itk.GetSpacing()[0], spacing * factor))
    seen.append(np.isclose(resampled.affine[0, 0], 2 * spacing))
sys.exit(0 if all(seen) else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
