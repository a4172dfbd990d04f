"""The half-resolution U-Net: any size, nothing at the start, every weight used."""

import pytest
import torch

from medgen.networks.half_resolution import HalfResolutionUNet, depth_to_space, space_to_depth


@pytest.mark.parametrize("size", [(16, 16, 16), (9, 17, 24), (1, 3, 8)])
def test_any_size_comes_back_and_starts_at_zero(size):
    network = HalfResolutionUNet(2, 3, width=0.25)
    result = network(torch.randn(2, 2, *size))
    assert result.shape == (2, 3, *size)
    assert not result.any()


def test_folding_loses_nothing():
    image = torch.randn(2, 3, 4, 8, 6)
    folded = space_to_depth(image, 2)
    assert folded.shape == (2, 24, 2, 4, 3)
    assert torch.equal(depth_to_space(folded, 2), image)
    # a folded voxel holds the eight voxels of its place
    assert set(folded[0, :8, 0, 0, 0].tolist()) == set(image[0, 0, :2, :2, :2].flatten().tolist())


def test_every_weight_gets_a_gradient_after_one_step():
    torch.manual_seed(0)
    network = HalfResolutionUNet(1, 1, width=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    image = torch.randn(2, 1, 16, 16, 16)
    for _ in range(2):
        optimizer.zero_grad()
        (network(image) - image.abs()).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("size", [(16, 16), (9, 21)])
def test_slices_come_back_too(size):
    network = HalfResolutionUNet(1, 2, width=0.25, dimensions=2)
    assert network(torch.randn(2, 1, *size)).shape == (2, 2, *size)
    folded = space_to_depth(torch.arange(16.0).view(1, 1, 4, 4), 2)
    assert folded[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert torch.equal(depth_to_space(folded, 2), torch.arange(16.0).view(1, 1, 4, 4))
