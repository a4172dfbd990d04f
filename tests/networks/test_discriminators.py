"""Discriminators: the published layers, and that the domain discriminator can tell two domains apart."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from medgen.errors import UsageError
from medgen.networks.discriminators import ContextAwareDiscriminator, DomainDiscriminator


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv3d)]


def test_discriminator_is_the_papers_with_a_linear_logit():
    network = ContextAwareDiscriminator()
    assert [layer.out_channels for layer in convolutions(network)] == [32, 64, 128, 256]
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(2048, 512), (512, 128), (128, 1)]
    assert network.head[-1] is dense[-1]
    logits = network(torch.randn(4, 1, 16, 16, 16))
    assert logits.shape == (4, 1)
    with torch.no_grad():
        dense[-1].bias.fill_(-50.0)
    assert (network(torch.randn(4, 1, 16, 16, 16)) < 0).all()  # the authors' ReLU would make this impossible


def test_discriminator_takes_larger_patches_and_keeps_no_state():
    network = ContextAwareDiscriminator(width=0.05)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert network(torch.randn(2, 1, 32, 24, 16)).shape == (2, 1)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_published_layers():
    net = DomainDiscriminator(410)
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in convolutions(net)] == [
        (410, 100, 3), (100, 100, 3), (100, 100, 3), (100, 100, 3), (100, 2, 1),
    ]  # fmt: skip
    assert sum(isinstance(m, nn.BatchNorm3d) for m in net.modules()) == 4
    assert net(torch.randn(2, 410, 9, 9, 11)).shape == (2, 2, 1, 1, 3)


def test_same_padding_takes_maps_of_any_size():
    net = DomainDiscriminator(6, width=8, depth=2, padding="same", norm="instance", input_norm=True, dropout=0.5)
    assert net.margin == 0
    assert net(torch.randn(2, 6, 3, 4, 5)).shape == (2, 2, 3, 4, 5)


def test_without_normalisation_a_logit_depends_on_the_voxel_and_its_neighbours():
    net = DomainDiscriminator(3, width=4, depth=1, norm="none").eval()
    maps = torch.randn(1, 3, 7, 7, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(maps)[0, 0, 2, 2, 2], maps)
    assert gradient[0].abs().sum(0).nonzero().min(0).values.tolist() == [2, 2, 2]
    assert gradient[0].abs().sum(0).nonzero().max(0).values.tolist() == [4, 4, 4]


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_it_learns_to_tell_textures_apart(norm):
    torch.manual_seed(0)
    net = DomainDiscriminator(2, width=8, depth=2, norm=norm)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    noise = torch.randn(8, 2, 8, 8, 8)
    noise[4:] = functional.avg_pool3d(noise[4:], 3, 1, 1) * 27**0.5  # the same variance, but smooth
    domain = torch.arange(8).ge(4).long()[:, None, None, None].expand(8, 4, 4, 4)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(net(noise), domain).backward()
        optimizer.step()
    assert (net(noise).argmax(1) == domain).float().mean() > 0.9


def test_what_it_refuses():
    with pytest.raises(UsageError, match="2, 2, 8") as caught:
        DomainDiscriminator(3, width=4)(torch.zeros(1, 3, 2, 2, 8))
    assert "larger than 8 voxels" in caught.value.fix
    with pytest.raises(UsageError, match="must be odd, got 2"):
        DomainDiscriminator(3, kernel=2)
