#!/usr/bin/env bash
# MONAI's calibration_binning, and so its CalibrationErrorMetric, counts voxels in float32: a bin stops at 2^24 =
# 16,777,216 voxels, since 2^24 + 1 is 2^24 there. The background of one CT of 512 x 512 x 100 has more. No error and no
# warning; the sums of probabilities are rounded likewise, so mean, share and calibration error of the bin are wrong.
#
# Seen with MONAI 1.6.1 and torch 2.13.0, 40,000,000 voxels of which 39,999,000 are background with probability 0.05 and
# 1,000 have the class with probability 0.95: the bin of the background has 16,777,216 voxels. Expected: 39,999,000.
# Way out: numpy.bincount, which sums in float64.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 monai==1.6.1 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import sys

import monai
import numpy as np
import torch
from monai.metrics import calibration_binning

print("monai", monai.__version__, "torch", torch.__version__)
probability = torch.full((1, 1, 40_000_000), 0.05)
probability[..., -1000:] = 0.95
truth = (probability > 0.5).float()
counts = calibration_binning(probability, truth, num_bins=2)[2][0, 0].long().tolist()
expected = np.bincount((probability[0, 0].numpy() * 2).astype(int), minlength=2).tolist()
print("voxels in the two bins: seen", counts, "expected", expected)
sys.exit(0 if counts == [2**24, 1000] and expected == [39_999_000, 1000] else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
