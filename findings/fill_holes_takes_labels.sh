#!/usr/bin/env bash
# MONAI's FillHoles replaces not only background. Its documentation calls a hole "a background pixel/voxel which is only
# enclosed by a single class"; in the code everything that a class encloses becomes that class, other classes too. In a label
# map of a glioma, where oedema surrounds the enhancing tumour, as in BraTS, the enhancing tumour is gone afterwards.
#
# Seen with MONAI 1.6.1: of a cube of 5^3 voxels of label 2 around a core of 3^3 of label 4 with one voxel of background in
# its middle, nothing but label 2 is left: 26 voxels of label 4 before, 0 after. So with every label (the default), with
# [2], and with [4, 2]. One-hot, the core keeps its own channel and is in that of label 2 as well, so argmax takes label 2.
# Expected: the one voxel of background becomes label 4 (or 2), and the core stays. Way out: fill where the map was 0 alone.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import sys

import monai
import numpy as np
from monai.transforms import FillHoles

OEDEMA, ENHANCING = 2, 4
label = np.zeros((1, 9, 9, 9), np.uint8)
label[0, 2:7, 2:7, 2:7] = OEDEMA
label[0, 3:6, 3:6, 3:6] = ENHANCING
label[0, 4, 4, 4] = 0


def voxels(values):
    return {name: int((values == value).sum()) for name, value in (("oedema", OEDEMA), ("enhancing", ENHANCING))}


print("monai", monai.__version__, "before:", voxels(label))
seen = []
for chosen in (None, [OEDEMA], [ENHANCING, OEDEMA], [ENHANCING]):
    after = voxels(np.asarray(FillHoles(applied_labels=chosen)(label.copy())))
    seen.append(after["enhancing"])
    print(f"applied_labels={chosen}: {after}")

one_hot = np.stack([label[0] == value for value in range(5)]).astype(np.uint8)
filled = np.asarray(FillHoles(applied_labels=[OEDEMA])(one_hot.copy()))
print("one-hot, [2]: voxels in both channels:", int((filled[OEDEMA] & filled[ENHANCING]).sum()))
taken = np.argmax(filled, 0)
print("one-hot, argmax:", voxels(taken))
sys.exit(0 if seen == [0, 0, 0, 27] and not (taken == ENHANCING).any() else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
