"""Losses that compare where things are, whatever their grey levels: known images, shifts, inversions, gradients."""

import math

import pytest
import torch
from torch import nn

from medgen.losses.image import gradient_correlation, mutual_information

LOSSES = [gradient_correlation, mutual_information]


def smooth(*size: int, seed: int = 0, count: int = 1) -> torch.Tensor:
    """(count, 1, *size): blobs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, *[6] * len(size), generator=generator)
    return nn.functional.interpolate(coarse, size=size, mode="trilinear" if len(size) == 3 else "bilinear")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16)])
def test_structure_is_least_at_alignment_and_grows_with_the_shift(loss, size):
    image = smooth(*size)
    values = [loss(image, image.roll(shift, 2)).item() for shift in (0, 1, 3)]
    assert values[0] < values[1] < values[2]
    assert values[2] > values[0] + 0.3


@pytest.mark.parametrize("loss", LOSSES)
def test_structure_does_not_see_an_inverted_or_scaled_intensity(loss):
    image, other = smooth(32, 32), smooth(32, 32, seed=1)
    for mapped in (-image, 3 - 20 * image):
        assert loss(image, mapped).item() == pytest.approx(loss(image, image).item(), abs=0.01)
        assert loss(other, mapped).item() == pytest.approx(loss(other, image).item(), abs=0.01)


def test_mutual_information_hardly_sees_a_monotone_map_and_that_it_does():
    image = smooth(64, 64).tanh()
    mapped = torch.where(image > 0, image, 0.5 * image)
    aligned, shifted = mutual_information(image, mapped).item(), mutual_information(image, mapped.roll(5, 2)).item()
    assert aligned < mutual_information(image, image).item() + 0.15
    assert shifted > aligned + 0.3


def test_independent_images_share_nothing():
    one, two = torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)).chunk(2, dim=2)
    assert mutual_information(one, two).item() == pytest.approx(1, abs=0.01)
    assert gradient_correlation(one, two).item() == pytest.approx(1, abs=0.03)


def test_mutual_information_of_two_values_is_that_of_a_table():
    """Half of the voxels are 1; three quarters of them are 1 in the other image, too, and as many zeros are 0."""
    one = torch.tensor([0.0] * 4 + [1.0] * 4).view(1, 1, 8, 1)
    two = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]).view(1, 1, 8, 1)
    shared = 2 * (3 / 8) * math.log((3 / 8) / 0.25) + 2 * (1 / 8) * math.log((1 / 8) / 0.25)
    assert mutual_information(one, two, bins=2).item() == pytest.approx(1 - shared / math.log(2), abs=1e-5)
    assert mutual_information(one, one, bins=2).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_image_of_one_value_has_no_structure(loss):
    flat, image = torch.ones(2, 1, 16, 16, requires_grad=True), smooth(16, 16, count=2)
    value = loss(flat, image)
    assert value.item() == pytest.approx(1, abs=1e-3)
    value.backward()
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_its_gradient_is_that_of_finite_differences_and_leads_to_alignment(loss):
    image = smooth(8, 8).double()
    moved = image.roll(1, 2) + 0.05 * smooth(8, 8, seed=2)
    inner = moved.flatten().argsort()[10:14]  # not the extremes, which set the range of the histogram
    moved.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image, moved), moved)
    for place in inner.tolist():
        step = torch.zeros(64).double()
        step[place] = 1e-6
        near = [loss(image, (moved.detach().flatten() + sign * step).view_as(moved)) for sign in (1, -1)]
        assert gradient.flatten()[place].item() == pytest.approx(
            ((near[0] - near[1]) / 2e-6).item(), rel=0.02, abs=1e-6
        )
    optimizer = torch.optim.Adam([moved], 0.02)
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(image, moved)
        value.backward()
        optimizer.step()
    assert value < loss(image, image.roll(1, 2)) - 0.05


@pytest.mark.parametrize("loss", LOSSES)
def test_channels_are_compared_in_pairs_and_sizes_must_agree(loss):
    image, other = smooth(16, 16), smooth(16, 16, seed=1)
    both = torch.cat([image, other], dim=1)
    expected = (loss(image, image) + loss(other, image)) / 2
    assert loss(both, image).item() == pytest.approx(expected.item(), abs=1e-5)
    with pytest.raises(ValueError, match="differ in size"):
        loss(image, smooth(16, 8))
