#!/usr/bin/env bash
# The kernel (inception) distance of torchmetrics is a mean and a standard deviation over random subsets, and is written
# as mean +- sd. The sd is that of drawing subsets out of the same images, not the uncertainty of the distance. Few
# images need a subset size of at most their number; with exactly their number every subset is the whole set in another
# order, and the sd is 0. torch-fidelity 0.4.0 computes the same.
#
# Seen with torchmetrics 1.9.0 and torch 2.13.0, 50 real and 50 generated images of 16 Gaussian features: 0.258 +- 0.000
# with subsets of 50, while the distance of 50 new images each varies by 0.14 (sd of 40 repetitions); with subsets of 10
# +- 0.40. Expected: an sd that tells how far the distance can be off. Way out: the jackknife, or a bootstrap, over images.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import sys
import warnings

import torch
import torchmetrics
from torchmetrics.image.kid import KernelInceptionDistance

warnings.simplefilter("ignore")


class Given(torch.nn.Module):
    """Features that are there already."""

    def forward(self, features):
        return features


def distance(size, seed):
    generator = torch.Generator().manual_seed(seed)
    metric = KernelInceptionDistance(feature=Given(), subset_size=size, subsets=50)
    metric.update(torch.randn(50, 16, generator=generator), real=True)
    metric.update(0.3 + 1.2 * torch.randn(50, 16, generator=generator), real=False)
    mean, sd = metric.compute()
    return mean.item(), sd.item()


print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
torch.manual_seed(0)
for size in (50, 25, 10):
    print("subsets of {}: {:.3f} +- {:.6f}".format(size, *distance(size, seed=0)))
repeated = torch.tensor([distance(50, seed)[0] for seed in range(40)]).std().item()
print(f"the same with 50 new images each, 40 times: sd {repeated:.3f}")
sys.exit(0 if distance(50, seed=0)[1] < 1e-4 < 0.05 < repeated and distance(10, seed=0)[1] > 1.5 * repeated else 1)
PYTHON
cd "$folder" && venv/bin/python seen.py && echo "as described" || { echo "the behaviour has changed"; exit 1; }
