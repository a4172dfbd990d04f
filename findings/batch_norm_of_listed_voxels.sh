#!/usr/bin/env bash
# torch 2.13.0 (CPU): batch normalisation of the voxels of a mask. Their features, a list of (voxels, channels), are shown
# to BatchNorm2d or BatchNorm3d as an image of one row, features.T[None, :, :, None(, None)], which is a view, and the
# result is made a list again. It is right; the gradient of the features is silently wrong. As a sequence (BatchNorm1d,
# features.T[None]) or with .contiguous() before the normalisation it is right.
#
# Seen with torch 2.13.0 (CPU wheel, Linux x86-64, one thread), 50 voxels, 4 channels, double precision: the gradient is
# off by 4.0 where its largest value is 2.67 (2D and 3D); 4e-16 for the sequence and for the copy. Expected: one
# gradient, whatever the strides.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cat > "$folder/gradient.py" <<'PYTHON'
import sys

import torch
from torch.nn.functional import batch_norm

torch.set_num_threads(1)
torch.manual_seed(0)
features, weights = torch.randn(2, 50, 4, dtype=torch.float64)
shapes = {
    "list of voxels, (50, 4)": (lambda voxels: voxels, lambda result: result),
    "sequence, (1, 4, 50)": (lambda voxels: voxels.T[None], lambda result: result[0].T),
    "image, (1, 4, 50, 1)": (lambda voxels: voxels.T[None, :, :, None], lambda result: result[0, :, :, 0].T),
    "volume, (1, 4, 50, 1, 1)": (
        lambda voxels: voxels.T[None, :, :, None, None],
        lambda result: result[0, :, :, 0, 0].T,
    ),
    "copy of the volume": (
        lambda voxels: voxels.T[None, :, :, None, None].contiguous(),
        lambda result: result[0, :, :, 0, 0].T,
    ),
}
print("torch", torch.__version__)
first = None
errors = {}
for name, (shown, listed) in shapes.items():
    given = features.clone().requires_grad_()
    result = listed(batch_norm(shown(given), None, None, training=True))
    (result * weights).sum().backward()
    first = first or (result.detach(), given.grad)
    output, errors[name] = (float((mine - its).abs().max()) for mine, its in zip((result.detach(), given.grad), first))
    print(f"{name}: output off by {output:.0e}, gradient by {errors[name]:.2g} of {float(first[1].abs().max()):.2f}")
wrong = [name for name, error in errors.items() if error > 0.1]
sys.exit(0 if wrong == ["image, (1, 4, 50, 1)", "volume, (1, 4, 50, 1, 1)"] else 1)
PYTHON
"$folder/venv/bin/python" "$folder/gradient.py" && echo "as described" || { echo "the behaviour has changed"; exit 1; }
