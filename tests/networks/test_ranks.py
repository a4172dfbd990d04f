"""Normalisation by name: what it does, and what it looks at."""

import pytest
import torch
from torch import nn

from medgen.networks.ranks import normalisation


@pytest.mark.parametrize("dimensions", [2, 3])
def test_voxel_normalisation_is_layer_normalisation_over_channels(dimensions):
    layer, image = normalisation("voxel", dimensions, 8), torch.randn(2, 8, *[5] * dimensions)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    wanted = nn.functional.layer_norm(image.movedim(1, -1), (8,), layer.weight.flatten(), layer.bias.flatten())
    assert torch.allclose(layer(image), wanted.movedim(-1, 1), atol=1e-5)


@pytest.mark.parametrize(("name", "alone"), [("voxel", True), ("none", True), ("instance", False), ("group", False)])
def test_only_some_normalisations_make_of_a_part_what_they_make_of_the_whole(name, alone):
    layer, image = normalisation(name, 2, 8), torch.randn(1, 8, 12, 12)
    assert torch.allclose(layer(image)[..., :6], layer(image[..., :6]), atol=1e-6) == alone
