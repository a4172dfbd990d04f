#!/usr/bin/env bash
# Integer images keep their type in many filters, and libraries disagree on what becomes of the decimals. On an int16 CT,
# SimpleITK's Resample cuts them off towards 0, scipy.ndimage.shift rounds, and scipy.ndimage.gaussian_filter cuts them off
# once for each axis. Cutting off is no noise: positive HU get smaller and negative ones larger.
#
# Seen with SimpleITK 2.5.7 and scipy 1.17.1 on random int16 values, as mean difference to the same filter in float64, for
# results above and below 0: Resample by half a voxel (linear) -0.44 and +0.43, ndimage.shift by half a voxel +0.06 and
# -0.06, gaussian_filter with sigma 1 -0.77 and +0.78. Expected: rounding to the nearest, as by shift. Way out: convert to
# floating point first and round at the end.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import sys

import numpy as np
import scipy
import SimpleITK as sitk
from scipy import ndimage

ct = np.random.default_rng(0).integers(-1000, 1000, (40, 40, 40)).astype(np.int16)
move = sitk.TranslationTransform(3, (0.5, 0.5, 0.5))


def resample(image):
    return sitk.GetArrayFromImage(sitk.Resample(sitk.GetImageFromArray(image), move))


filters = {
    "SimpleITK Resample": resample,
    "scipy shift": lambda image: ndimage.shift(image, 0.5, order=1),
    "scipy gaussian_filter": lambda image: ndimage.gaussian_filter(image, 1.0),
}
print("SimpleITK", sitk.__version__, "scipy", scipy.__version__)
bias = {}
for name, apply in filters.items():
    whole, exact = (apply(ct.astype(kind))[2:-2, 2:-2, 2:-2].astype(float) for kind in (np.int16, np.float64))
    off = whole - exact
    bias[name] = off[exact > 0].mean(), off[exact < 0].mean()
    print(f"{name}: {bias[name][0]:+.2f} above 0, {bias[name][1]:+.2f} below 0, largest {abs(off).max():.2f}")
cut = all(bias[name][0] < -0.3 and bias[name][1] > 0.3 for name in ("SimpleITK Resample", "scipy gaussian_filter"))
sys.exit(0 if cut and max(map(abs, bias["scipy shift"])) < 0.15 else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
