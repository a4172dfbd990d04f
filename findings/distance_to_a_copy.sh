#!/usr/bin/env bash
# torch.cdist of more than 25 rows takes Euclidean distances from scalar products, in the precision of the input. Of
# images that are far from 0, such as CT patches in HU, the large products cancel: an image is not at distance 0 from its
# copy, and a search for copied training images by a small distance finds rounding errors.
#
# Seen with torch 2.13.0, CPU, 64 patches of 16 x 16 x 16 voxels around -900 HU (sd 20 HU), float32: distances of patches
# to themselves of up to 45 (0.7 HU a voxel), where copies with noise of 0.1 HU are at 6.6 at most; with 25 rows, and with
# compute_mode="donot_use_mm_for_euclid_dist", exactly 0 as in scipy. Expected: 0. Way out: that mode, or float64 and the
# mean subtracted first.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import sys

import numpy as np
import scipy
import torch
from scipy.spatial.distance import cdist

generator = np.random.default_rng(0)
patches = torch.tensor(generator.normal(-900, 20, (64, 16**3)), dtype=torch.float32)
noisy = patches + 0.1 * torch.tensor(generator.normal(size=patches.shape), dtype=torch.float32)


def largest_to_itself(rows, **options):
    return torch.cdist(rows, rows, **options).diagonal().max().item()


print("torch", torch.__version__, "scipy", scipy.__version__)
by_products = largest_to_itself(patches)
print(f"cdist of 64 patches, largest distance of one to itself: {by_products:.2f}, expected 0")
print(f"exact distances to copies with noise of 0.1 HU: {np.diag(cdist(patches, noisy)).max():.2f} at most")
few = largest_to_itself(patches[:25])
without = largest_to_itself(patches, compute_mode="donot_use_mm_for_euclid_dist")
exact = np.diag(cdist(patches, patches)).max()
print(f"25 patches: {few:.2f}; without products: {without:.2f}; scipy: {exact:.2f}")
sys.exit(0 if by_products > 6.5 and few == without == exact == 0 else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
