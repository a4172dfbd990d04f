#!/usr/bin/env bash
# safetensors 0.8.0, numpy interface: an array in Fortran order is written in the order of its memory and read in C order.
# Every array that nibabel reads from a NIfTI file is in Fortran order, so a volume that is saved by
# safetensors.numpy.save_file comes back with the same shape, type, mean and histogram, and its voxels in other places; no
# error and no warning. The torch interface of the same version refuses such a tensor.
#
# Seen with safetensors 0.8.0, numpy 2.4.6, nibabel 5.4.2: of a 16 x 12 x 10 volume 2 of 1920 voxels are where they were. With
# safetensors 0.7.0 all are. Known upstream (safetensors issue 825). Expected: the same array, or a refusal. Way out:
# np.ascontiguousarray before saving.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 nibabel==5.4.2
cat > "$folder/seen.py" <<'PYTHON'
import sys

import nibabel as nib
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

volume = np.arange(16 * 12 * 10, dtype=np.float32).reshape(16, 12, 10)
nib.save(nib.Nifti1Image(volume, np.eye(4)), "a.nii.gz")
image = np.asarray(nib.load("a.nii.gz").dataobj)
save_file({"image": image, "copy": np.ascontiguousarray(image)}, "a.safetensors")
back = load_file("a.safetensors")
kept = int((back["image"] == image).sum())
print("safetensors", safetensors.__version__, "nibabel", nib.__version__, "Fortran order:", image.flags.f_contiguous)
print("shape", back["image"].shape, "mean", back["image"].mean(), "of", image.mean())
print(f"voxels where they were: {kept} of {image.size}; of the contiguous copy {(back['copy'] == image).sum()}")
sys.exit(0 if kept < image.size / 10 and np.array_equal(back["copy"], image) else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
