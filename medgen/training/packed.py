"""Weights of models that travel: eight bits for each number of a kernel, and half precision for the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medgen.errors import ModelError

_SCALE = "#scale"
"""Ends the name of the factors by which the tensor without this ending, in whole numbers, is multiplied."""
_LEAST = 1000
"""Numbers of a tensor below which eight bits spare nothing."""


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a trained network in a quarter of their bytes.

    Kernels become whole numbers from -127 to 127 with a factor for each output channel, so that none is further from
    what it was than 1/254 of the largest of its channel. All else that is no whole number is rounded to half precision.

    Args:
        weights: by name, finite.

    Raises:
        ModelError: a number is beyond half precision.
    """
    found = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            found[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < _LEAST:
            found[name] = _half(name, tensor)
        else:
            scale = tensor.abs().amax(dim=tuple(range(1, tensor.ndim)), keepdim=True).clamp(min=1e-12) / 127
            found[name], found[f"{name}{_SCALE}"] = (tensor / scale).round().to(torch.int8), scale.float()
    return found


def unpacked(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of :func:`packed` as numbers again; of other weights nothing is changed."""
    scales = {name.removesuffix(_SCALE): scale for name, scale in weights.items() if name.endswith(_SCALE)}
    return {
        name: tensor.float() * scales[name] if name in scales else tensor
        for name, tensor in weights.items()
        if not name.endswith(_SCALE)
    }


def _half(name: str, tensor: Tensor) -> Tensor:
    rounded = tensor.half()
    if not torch.isfinite(rounded).all():
        raise ModelError(f"{name} has values beyond half precision")
    return rounded
