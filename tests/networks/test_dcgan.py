"""DCGAN: grids, published initialisation, where it is normalised; spectral normalisation; BEGAN's discriminator."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm

from medgen.errors import UsageError
from medgen.networks.dcgan import AutoencodingDiscriminator, DCDiscriminator, DCGenerator, coarsest
from medgen.training.loop import moving_average

SIZES = [(8, 8), (64, 80), (16, 16, 16), (16, 32, 24)]


@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_features(size):
    image = DCGenerator(2, size, 5, width=4)(torch.randn(3, 5))
    assert image.shape == (3, 2, *size)
    discriminator, other = DCDiscriminator(2, size, width=4), AutoencodingDiscriminator(2, size, 5, width=4)
    assert discriminator(image).shape == (3, 1)
    assert other(image).shape == image.shape
    for network in (discriminator, other):
        maps = network.features(image)
        assert maps[0].shape == (3, 4, *[side // 2 for side in size])
        assert maps[-1].shape[2:] == coarsest(size)


@pytest.mark.parametrize("size", [(6, 64), (4, 4), (30, 32, 32), (9, 9)])
def test_sizes_that_do_not_halve_are_refused(size):
    with pytest.raises(UsageError, match="cannot be halved down"):
        DCGenerator(1, size, 5, width=4)


def test_a_64_image_has_the_published_widths():
    layers = [m for m in DCDiscriminator(3, (64, 64), width=128).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in layers] == [(3, 128), (128, 256), (256, 512), (512, 1024)]
    generator = DCGenerator(3, (64, 64), 100, width=128)
    assert generator.grid == (1024, 4, 4)
    up = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in up] == [(1024, 512), (512, 256), (256, 128), (128, 3)]


@pytest.mark.parametrize("size", [(64, 64), (32, 32, 32)])
def test_weights_start_as_published(size):
    torch.manual_seed(0)
    for network in (DCGenerator(1, size, 64, width=16), DCDiscriminator(1, size, width=16)):
        weights = [m for m in network.modules() if hasattr(m, "weight")]
        for module in weights:
            mean, deviation = (1 if "BatchNorm" in type(module).__name__ else 0), module.weight.std().item()
            assert abs(module.weight.mean().item() - mean) < 0.02
            assert 0.01 < deviation < 0.03
        assert any("BatchNorm" in type(module).__name__ for module in weights)


def test_batch_normalisation_stands_where_published():
    """Not in D's first layer, not behind G's last; a convolution before one has no bias."""
    discriminator, generator = DCDiscriminator(1, (32, 32), width=4), DCGenerator(1, (32, 32), 5, width=4)
    kinds = [[type(m).__name__ for m in level] for level in discriminator.levels]
    assert kinds == [["Conv2d", "Identity", "LeakyReLU"], *[["Conv2d", "BatchNorm2d", "LeakyReLU"]] * 2]
    assert isinstance(generator.body[-1], nn.ConvTranspose2d)
    assert [m.bias is None for m in generator.body if isinstance(m, nn.ConvTranspose2d)] == [True, True, False]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in DCDiscriminator(1, (32, 32), width=4, norm="none").modules())


def test_an_image_alone_is_judged_as_in_a_batch_without_normalisation():
    """What a gradient penalty needs: no image of the batch has a say in the slope at another."""
    image = torch.randn(4, 1, 16, 16)
    free, mixed = (DCDiscriminator(1, (16, 16), width=4, norm=norm) for norm in ("none", "batch"))
    assert torch.allclose(free(image)[:1], free(image[:1]), atol=1e-6)
    assert not torch.allclose(mixed(image)[:1], mixed(image[:1]), atol=1e-6)


def layers_of(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]


def largest(network):
    return [torch.linalg.svdvals(m.weight.detach().flatten(1))[0].item() for m in layers_of(network)]


def spectral(size):
    torch.manual_seed(0)
    return DCDiscriminator(1, size, width=8, norm="none", spectral=True)


@pytest.mark.parametrize("size", [(16, 16), (16, 16, 16)])
def test_spectral_normalisation_bounds_every_layer(size):
    """Before the first step too, and in training nearly; values that were trained stay."""
    network = spectral(size)
    assert largest(network) == pytest.approx([1.0] * 3, abs=0.1)
    assert largest(network.eval()) == pytest.approx([1.0] * 3, abs=1e-5)


def test_spectral_normalisation_has_the_gradient_of_torch():
    one, two = spectral((16, 16)), DCDiscriminator(1, (16, 16), width=8, norm="none")
    for mine, other in zip(layers_of(one), layers_of(two), strict=True):
        with torch.no_grad():
            other.weight.copy_(mine.parametrizations.weight.original)
            other.bias.copy_(mine.bias)
        torch_spectral_norm(other)
    image = torch.randn(2, 1, 16, 16)
    for _ in range(300):  # until the power iterations of both have converged
        one(image), two(image)
    one(image).sum().backward()
    two(image).sum().backward()
    for mine, other in zip(layers_of(one), layers_of(two), strict=True):
        gradients = [each.parametrizations.weight.original.grad for each in (mine, other)]
        assert torch.allclose(*gradients, atol=1e-4)


def test_averaged_weights_are_normalised_too():
    """torch's vectors, averaged with the weights, lose their length; the largest singular value is then above 1."""
    network, theirs = spectral((16, 16)), DCDiscriminator(1, (16, 16), width=8, norm="none")
    for layer in layers_of(theirs):
        torch_spectral_norm(layer)
    for each in (network, theirs):
        average = moving_average(each, 0.99)
        for seed in range(6):
            torch.manual_seed(seed)
            with torch.no_grad():
                for layer in layers_of(each):
                    layer.parametrizations.weight.original.copy_(torch.randn_like(layer.weight))
            each.train()(torch.randn(2, 1, 16, 16))
            average.update_parameters(each)
        found = largest(average.module.eval())
        assert (max(found) > 1.5) if each is theirs else (found == pytest.approx([1.0] * 3, abs=1e-4))
