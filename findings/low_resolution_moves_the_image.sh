#!/usr/bin/env bash
# Two random transforms of MONAI resize with torch's interpolate(mode="nearest"), which takes voxel floor(i / zoom): the
# half voxel to the centre is missing, which "area" and "trilinear" have (https://github.com/pytorch/pytorch/issues/34808;
# torch has had "nearest-exact" since). RandSimulateLowResolution has downsample_mode="nearest" as its default and goes up
# again by "trilinear": the image, to which alone such a transform is applied, comes back moved against a label and against
# the target of a synthesis. RandZoomd with the modes that are usual for an image and its label, ["area", "nearest"], moves
# the label against the image.
#
# Seen with MONAI 1.6.1, torch 2.13.0: on average over 40 balls of 6 voxels radius in a cube of 32 voxels, the image of low
# resolution lies 0.6 voxels further along each axis, at most 0.86; with downsample_mode="area" 0.006. The label of RandZoomd
# from 0.7 to 1.3 lies 0.4 voxels further than the image; with "nearest-exact" it is 0.05. In space that is 0.7 to 1.0
# voxels, always towards the same corner, so a network learns it.
# Expected: neither moves. Way out: downsample_mode="area", and "nearest-exact" for labels.
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
import torch
from monai.transforms import RandSimulateLowResolutiond, RandZoomd

EDGE, RADIUS, PATCHES = 32, 6, 40
places = np.indices((EDGE, EDGE, EDGE))


def centroid(array):
    values = np.asarray(array)[0].astype(float)
    return (places * values).sum((1, 2, 3)) / values.sum()


def balls():
    """A ball beside the middle: smooth as an image, sharp as a label."""
    random = np.random.default_rng(0)
    for _ in range(PATCHES):
        away = ((places - random.uniform(13, 18, 3)[:, None, None, None]) ** 2).sum(0)[None]
        yield np.exp(-2 * away / RADIUS**2).astype(np.float32), (away < RADIUS**2).astype(np.float32)


def low_resolution(**arguments):
    transform, moved = RandSimulateLowResolutiond("image", prob=1.0, **arguments), []
    for seed, (smooth, _) in enumerate(balls()):
        transform.set_random_state(seed)
        moved.append(centroid(transform({"image": smooth})["image"]) - centroid(smooth))
    return np.array(moved)


def zoomed(label):
    transform, moved = RandZoomd(["image", "label"], prob=1.0, min_zoom=0.7, max_zoom=1.3, mode=["area", label]), []
    for seed, (_, sharp) in enumerate(balls()):
        transform.set_random_state(seed)
        found = transform({"image": sharp, "label": sharp})
        moved.append(centroid(found["label"]) - centroid(found["image"]))
    return np.array(moved)


print("monai", monai.__version__, "torch", torch.__version__)
means = []
for name, moved in (
    ("low resolution, by default: image after - before", low_resolution()),
    ("low resolution, downsample_mode='area'", low_resolution(downsample_mode="area")),
    ("RandZoomd, ['area', 'nearest']: label - image", zoomed("nearest")),
    ("RandZoomd, ['area', 'nearest-exact']", zoomed("nearest-exact")),
):
    means.append(moved.mean(0))
    print(f"{name}: mean {np.round(moved.mean(0), 3)}, largest {np.abs(moved).max():.2f} voxels")
low, area, nearest, exact = means
there = low.min() > 0.5 and np.abs(area).max() < 0.05 and nearest.min() > 0.35 and np.abs(exact).max() < 0.1
print("the behaviour is there" if there else "the behaviour is gone: nothing moves")
sys.exit(0 if there else 1)
PYTHON
cd "$folder"
venv/bin/python seen.py
