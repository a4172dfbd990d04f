"""Spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957) that survives averaged weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

_FIRST = 15
"""Power iterations at the start, as in torch."""


class _Spectral(nn.Module):
    """Divides a weight by its largest singular value: in training by one power iteration, in evaluation exactly.

    ``torch.nn.utils.parametrizations.spectral_norm`` evaluates with the vectors of the last training step. A moving
    average of the weights averages them too; they lose their length, and logits of a discriminator become hundreds of
    times too large.
    """

    vector: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("vector", normalize(torch.randn(len(weight)), dim=0))
        for _ in range(_FIRST):
            self._largest(weight.detach().flatten(1))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, whose largest singular value is then 1."""
        matrix = weight.flatten(1)
        return weight / (self._largest(matrix) if self.training else torch.linalg.matrix_norm(matrix, 2))

    def _largest(self, matrix: Tensor) -> Tensor:
        """One power iteration; sums in place of products of matrices, which autocast would take to half precision."""
        with torch.no_grad():
            right = normalize((matrix * self.vector[:, None]).sum(0), dim=0)
            self.vector.copy_(normalize((matrix * right).sum(1), dim=0))
            right = normalize((matrix * self.vector[:, None]).sum(0), dim=0)
        left = self.vector.clone()  # the next forward pass changes it before this one is differentiated
        return (left * (matrix * right).sum(1)).sum()


def normalise_spectrally(network: nn.Module) -> None:
    """Divide the weights of all convolutions and dense layers by their largest singular value, in place."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            parametrize.register_parametrization(module, "weight", _Spectral(module.weight))
