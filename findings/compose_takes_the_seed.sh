#!/usr/bin/env bash
# MONAI's Compose takes away the random state of the transforms that it is given. Its constructor calls set_random_state of its
# own with the global seed of monai.utils.set_determinism. The documentation says that this is done "if user called
# set_determinism()"; without, the seed is None, and every random transform in it that was seeded before is seeded anew from the
# operating system. Seed first and compose then, and two runs differ.
#
# Seen with MONAI 1.6.1: RandGaussianNoise with seed 0, called alone, gives the same noise twice; the same with seed 0 inside
# Compose([...]) gives other noise each time. Expected: without set_determinism, the state that was set stays.
# Way out: Compose([...]).set_random_state(seed) at the end, or seed the transforms after they are composed.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 torch==2.13.0 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import sys

import monai
import numpy as np
from monai.transforms import Compose, RandGaussianNoise


def noise(wrap):
    transform = RandGaussianNoise(prob=1.0)
    transform.set_random_state(seed=0)
    return float(np.asarray(wrap(transform)(np.zeros((1, 4), np.float32)))[0, 0])


alone = [noise(lambda transform: transform) for _ in range(2)]
composed = [noise(lambda transform: Compose([transform])) for _ in range(2)]
after = [noise(lambda transform: Compose([transform]).set_random_state(seed=0)) for _ in range(2)]
print("monai", monai.__version__)
print("seeded, alone:              ", alone)
print("seeded, then composed:      ", composed, "(expected: the same twice)")
print("seeded after it is composed:", after)
sys.exit(0 if alone[0] == alone[1] and composed[0] != composed[1] and after[0] == after[1] else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
