#!/usr/bin/env bash
# torch 2.13.0 (CPU): a convolution kernel of one input channel fits both memory formats, and the two ways to ask for
# "channels last" disagree. tensor.contiguous(memory_format=torch.channels_last_3d) leaves its strides as they are,
# tensor.to(memory_format=torch.channels_last_3d) and Module.to(memory_format=...) change them. Both results answer
# is_contiguous(memory_format=torch.channels_last_3d) with True, yet the strides decide which convolution runs.
#
# Seen with torch 2.13.0 (CPU wheel, Linux x86-64, one thread): strides (125, 125, 25, 5, 1) and (125, 1, 25, 5, 1);
# forward and backward, with a gradient of the image, of Conv3d(1, 8, 5) on a contiguous image of 2 x 1 x 32^3 took 1.7
# times as long with the first. Expected: one answer, or one speed. The script checks the strides and prints the ratio.
#
# Exit 0: the behaviour is there. Exit 1: it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cat > "$folder/strides.py" <<'PYTHON'
import sys
import time

import torch

torch.set_num_threads(1)
last = torch.channels_last_3d
kernel = torch.randn(8, 1, 5, 5, 5)
kept, changed = kernel.contiguous(memory_format=last), kernel.to(memory_format=last)
print("torch", torch.__version__)
print("contiguous()", kept.stride(), kept.is_contiguous(memory_format=last))
print("to()        ", changed.stride(), changed.is_contiguous(memory_format=last))
image = torch.randn(2, 1, 32, 32, 32).requires_grad_()


def seconds(weight):
    weight = weight.detach().requires_grad_()
    began = time.perf_counter()
    torch.nn.functional.conv3d(image, weight, padding=2).square().sum().backward()
    return time.perf_counter() - began


pairs = [(seconds(kept), seconds(changed)) for _ in range(40)][5:]  # interleaved
slow, fast = (sorted(each)[len(each) // 2] for each in zip(*pairs))
print(f"median of 35: {1e3 * slow:.2f} ms and {1e3 * fast:.2f} ms, ratio {slow / fast:.2f}")
differ = kept.stride() != changed.stride() and kept.is_contiguous(memory_format=last)
sys.exit(0 if differ else 1)
PYTHON
"$folder/venv/bin/python" "$folder/strides.py" && echo "as described" || { echo "the behaviour has changed"; exit 1; }
