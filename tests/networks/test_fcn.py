"""The published generator, layer by layer."""

import pytest
import torch
from torch import nn

from medgen.networks.fcn import ContextAwareFCN
from medgen.networks.generators import build_generator

FILTERS = {"paper": [32, 32, 32, 64, 64, 64, 32, 32, 1], "code": [32, 32, 32, 32, 64, 64, 64, 32, 1]}
KERNELS = {"paper": [9, 3, 3, 3, 9, 3, 3, 7, 3], "code": [9, 3, 3, 3, 9, 3, 3, 3, 3]}


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv3d)]


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_layers_are_the_published_ones(preset):
    layers = convolutions(ContextAwareFCN(preset=preset))
    assert [layer.out_channels for layer in layers] == FILTERS[preset]
    assert [layer.kernel_size[0] for layer in layers] == KERNELS[preset]


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_32_voxels_become_16_and_the_second_channel_is_read(preset):
    network = ContextAwareFCN(2, 1, preset=preset, width=0.05).eval()
    image = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        result = network(image)
        assert result.shape == (1, 1, 16, 16, 16)
        assert network.margin == 8
        image[:, 1] += 1
        assert not torch.equal(network(image), result)


def test_the_last_layer_is_linear():
    network = ContextAwareFCN(width=0.05).eval()
    with torch.no_grad():
        convolutions(network)[-1].bias.fill_(-3.0)
        assert network(torch.zeros(1, 1, 17, 17, 17)).item() == pytest.approx(-3.0)


def test_normalisation_has_no_learnt_scale():
    norms = [module for module in ContextAwareFCN(width=0.05).modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(norms) == 8
    assert all(norm.weight is None for norm in norms)


def test_unet_keeps_the_size_and_says_what_it_divides_by():
    network, margin, multiple = build_generator("unet", 1, 1, width=0.125)
    assert (margin, multiple) == (0, 8)
    assert network(torch.randn(1, 1, 16, 24, 16)).shape == (1, 1, 16, 24, 16)
