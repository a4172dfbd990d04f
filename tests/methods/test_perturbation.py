"""What a random change of the intensities may do, and what it must leave alone."""

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods._perturbation import PerturbationConfig, perturb
from medgen.methods.catalogue import resolve

NOTHING = {"curve": 0, "scale": 0, "shift": 0, "noise": 0, "probability": 1}
KINDS = ["curve", "inversion", "mixing", "scale", "shift", "bias", "blur", "noise"]


def config(**settings):
    return build(PerturbationConfig, {**NOTHING, **settings})


def image():
    return torch.randn(3, 2, 6, 6, 6, generator=torch.Generator().manual_seed(1))


def changed(seed=0, **settings):
    torch.manual_seed(seed)
    return perturb(image(), torch.ones(3, 1, 6, 6, 6), config(**settings))


def test_without_a_change_the_image_is_the_same():
    assert torch.equal(changed(), image())


@pytest.mark.parametrize("kind", KINDS)
def test_every_change_changes_and_depends_on_the_seed_only(kind):
    settings = {kind: 0.5}
    assert torch.equal(changed(**settings), changed(**settings))
    assert not torch.allclose(changed(**settings), image(), atol=1e-3)
    assert not torch.allclose(changed(**settings), changed(seed=1, **settings), atol=1e-3)
    assert torch.equal(changed(probability=0, **settings), image())


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_mask_and_in_other_channels_nothing_changes(kind):
    mask = torch.zeros(3, 1, 6, 6, 6)
    mask[..., :3] = 1
    torch.manual_seed(0)
    result = perturb(image(), mask, config(**{kind: 0.5, "channels": (1,)}))
    assert torch.equal(result[..., 3:], image()[..., 3:])
    assert torch.equal(result[:, 0], image()[:, 0])
    assert not torch.equal(result[:, 1, ..., :3], image()[:, 1, ..., :3])


def test_scale_and_shift_are_one_number_for_each_channel_of_each_patch():
    factor = changed(scale=0.3) / image()
    assert factor.flatten(2).std(dim=2).max() < 1e-4
    assert 0.7 <= factor.min() < factor.max() <= 1.3
    offset = changed(shift=0.3) - image()
    assert offset.flatten(2).std(dim=2).max() < 1e-5
    assert len(offset[..., 0, 0, 0].unique()) == 6
    assert offset.abs().max() <= 0.3


def in_order(before, after):
    return bool((after.flatten()[before.flatten().argsort()].diff() >= -1e-5).all())


def test_a_curve_keeps_the_order_of_the_intensities_and_the_mean_of_the_patient():
    after = changed(curve=1.0)
    assert all(in_order(image()[b, c], after[b, c]) for b in range(3) for c in range(2))
    torch.manual_seed(0)
    assert perturb(torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4), config(curve=1.0)).abs().max() < 1e-6


def test_a_curve_without_spread_is_the_identity_and_goes_straight_on_beyond_its_ends():
    far = torch.linspace(-9, 9, 64).view(1, 1, 4, 4, 4)
    torch.manual_seed(0)
    assert torch.allclose(perturb(far, torch.ones_like(far), config(curve=1e-9)), far, atol=1e-5)


def test_every_piece_inverted_turns_the_contrast_round():
    assert torch.allclose(changed(inversion=1.0), -image(), atol=1e-5)


def test_a_channel_is_dropped_as_often_as_said():
    torch.manual_seed(0)
    many = torch.ones(400, 2, 1, 1, 1)
    result = perturb(many, torch.ones(400, 1, 1, 1, 1), config(channel_dropout={1: 0.25}))
    assert (result[:, 0] == 1).all()
    assert (result[:, 1] == 0).float().mean().item() == pytest.approx(0.25, abs=0.09)  # four standard errors


def test_one_chance_is_for_every_channel_by_itself_and_spares_a_single_one():
    torch.manual_seed(0)
    many, inside = torch.ones(400, 2, 1, 1, 1), torch.ones(400, 1, 1, 1, 1)
    gone = perturb(many, inside, config(channel_dropout=0.25)).flatten(1) == 0
    assert gone.float().mean(0).tolist() == pytest.approx([0.25, 0.25], abs=0.09)  # four standard errors
    assert gone.all(dim=1).float().mean().item() == pytest.approx(0.0625, abs=0.05)
    assert torch.equal(perturb(many[:, :1], inside, config(channel_dropout=0.25)), many[:, :1])


def test_the_strong_augmentation_drops_channels_by_default():
    assert resolve("strong_augmentation").config_class().perturbation.channel_dropout == 0.1


def test_mixing_adds_the_other_channels_only():
    torch.manual_seed(0)
    two = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1, 1)
    result = perturb(two, torch.ones(1, 1, 1, 1, 1), config(mixing=0.5))
    assert result[0, 0].item() == 3  # it gained a share of 0, and none of itself
    assert 0 < abs(result[0, 1].item()) <= 1.5


def test_a_chance_above_one_is_refused():
    with pytest.raises(UsageError, match="probability"):
        config(probability=1.5)
