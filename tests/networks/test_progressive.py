"""The growing networks: what a fade mixes, equalised weights, the norm of a voxel, the deviation of a minibatch."""

import math

import pytest
import torch

from medgen.networks.progressive import (
    Equalised,
    Growth,
    PixelNorm,
    ProgressiveCritic,
    ProgressiveGenerator,
    channels_of,
    doubled,
    growth_at,
    halved,
    with_deviation,
)

SIZES = [(32, 32), (16, 24), (16, 16, 16)]


def generator(size=(16, 16)) -> ProgressiveGenerator:
    torch.manual_seed(0)
    return ProgressiveGenerator(1, size, 8, channels_of(size, 4, 16))


def critic(size=(16, 16)) -> ProgressiveCritic:
    torch.manual_seed(0)
    return ProgressiveCritic(1, size, channels_of(size, 4, 16))


@pytest.mark.parametrize("size", SIZES)
def test_each_level_doubles_the_grid_and_the_critic_reads_it(size):
    maker, judge = generator(size), critic(size)
    levels = len(maker.blocks)
    for level in range(levels + 1):
        for alpha in (0.25, 1.0):
            image = maker(torch.randn(2, 8), Growth(level, alpha if level else 1.0))
            assert image.shape == (2, 1, *(side // 2 ** (levels - level) for side in size))
            assert judge(image, Growth(level, alpha if level else 1.0)).shape == (2, 1)


def test_128_begins_at_4_and_has_six_levels_with_the_published_channels_doubled_to_512():
    assert channels_of((128, 128), 16, 512) == [512, 256, 128, 64, 32, 16]
    assert channels_of((1024, 1024), 16, 512) == [512, 512, 512, 512, 256, 128, 64, 32, 16]


def test_a_level_that_is_not_mixed_in_yet_changes_nothing():
    """At alpha 0 image and value are those of the level below; between, the image is the mean weighted by alpha."""
    maker, judge, code = generator(), critic(), torch.randn(2, 8)
    below, none = maker(code, Growth(1, 1.0)), maker(code, Growth(2, 0.0))
    assert torch.allclose(none, doubled(below))
    assert torch.allclose(judge(none, Growth(2, 0.0)), judge(below, Growth(1, 1.0)), atol=1e-6)
    whole, part = maker(code, Growth(2, 1.0)), maker(code, Growth(2, 0.25))
    assert torch.allclose(part, 0.75 * none + 0.25 * whole, atol=1e-6)


@pytest.mark.parametrize("make", [generator, critic])
def test_levels_above_get_no_gradient(make):
    network, growth = make(), Growth(1, 0.5)
    given = torch.randn(2, 8) if isinstance(network, ProgressiveGenerator) else torch.randn(2, 1, 8, 8)
    network(given, growth).square().sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    ends = {f"{'to' if isinstance(network, ProgressiveGenerator) else 'from'}_image.2", "blocks.1"}
    assert without == {name for name, _ in network.named_parameters() if any(name.startswith(end) for end in ends)}


def test_an_equalised_layer_keeps_the_variance_and_its_stored_weights_are_standard_normal():
    torch.manual_seed(0)
    layer = Equalised(64, 64, (3, 3), gain=1.0)
    assert layer.weight.std().item() == pytest.approx(1.0, abs=0.02)
    assert layer(torch.randn(4, 64, 12, 12))[..., 1:-1, 1:-1].std().item() == pytest.approx(1.0, abs=0.05)
    image = torch.randn(1, 64, 5, 5)
    expected = torch.nn.functional.conv2d(image, layer.weight / math.sqrt(64 * 9), padding=1)
    assert torch.allclose(layer(image), expected, atol=1e-5)


def test_the_norm_of_a_voxel_by_hand():
    image = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    expected = torch.tensor([3.0, 4.0]) / math.sqrt(12.5)
    assert torch.allclose(PixelNorm()(image).flatten(), expected)


def test_the_deviation_of_a_minibatch_by_hand():
    """Two images that differ by 2 in every voxel have a standard deviation of 1; equal images have none."""
    image = torch.stack([torch.zeros(3, 2, 2), torch.full((3, 2, 2), 2.0)])
    found = with_deviation(image)
    assert found.shape == (2, 4, 2, 2)
    assert torch.equal(found[:, :3], image)
    assert torch.allclose(found[:, 3], torch.ones(2, 2, 2))
    assert with_deviation(torch.ones(4, 1, 2, 2))[:, 1].max() < 1e-3


def test_images_of_a_group_are_spread_over_the_batch():
    """Eight images are two groups of four: those with even numbers, and those with odd ones."""
    image = torch.tensor([0.0, 1, 0, 1, 0, 1, 4, 1]).reshape(8, 1, 1)
    deviation = with_deviation(image)[:, 1].flatten()
    assert torch.allclose(deviation[1::2], torch.full((4,), 1e-4))
    assert torch.allclose(deviation[0::2], torch.full((4,), math.sqrt(3.0)))


def test_growth_begins_at_the_coarsest_grid_and_never_shrinks():
    stages = [growth_at(step / 1000, 5, 0.64) for step in range(1000)]
    sizes = [stage.level - 1 + stage.alpha for stage in stages]
    assert stages[0] == Growth(0, 1.0)
    assert stages[640:] == [Growth(5, 1.0)] * 360
    assert sizes == sorted(sizes)
    assert all(0 <= stage.alpha <= 1 for stage in stages)
    assert growth_at(1.0, 5, 1.0) == Growth(5, 1.0)


@pytest.mark.parametrize("growth", [Growth(0, 1.0), Growth(1, 0.25), Growth(1, 1.0), Growth(2, 0.999999)])
def test_the_network_knows_its_growth_through_its_weights(growth):
    one, two = generator(), generator()
    one.grown = growth
    two.load_state_dict(one.state_dict())
    assert two.grown.level == growth.level
    assert two.grown.alpha == pytest.approx(growth.alpha)


def test_halving_undoes_doubling():
    image = torch.randn(2, 1, 4, 4, 4)
    assert torch.allclose(halved(doubled(image)), image)
