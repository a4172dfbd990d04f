"""Reconstruction losses against sums done by hand."""

import pytest
import torch

from medgen.losses.image import gradient_difference, mean_absolute, mean_squared


def volume(values):
    """A (1, 1, n, 1, 1) image."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1, 1, 1)


def test_voxelwise_means_by_hand():
    prediction, target = volume([0, 2, 5]), volume([1, 2, 3])
    assert mean_squared(prediction, target).item() == pytest.approx((1 + 0 + 4) / 3)
    assert mean_absolute(prediction, target).item() == pytest.approx((1 + 0 + 2) / 3)


def test_mask_leaves_out_what_is_outside():
    prediction, target, mask = volume([0, 2, 5]), volume([1, 2, 3]), volume([1, 1, 0])
    assert mean_squared(prediction, target, mask).item() == pytest.approx(0.5)
    assert mean_absolute(prediction, target, mask=mask).item() == pytest.approx(0.5)


def test_mask_of_one_channel_counts_for_every_channel():
    prediction, mask = torch.ones(2, 3, 2, 2, 2), torch.zeros(2, 1, 2, 2, 2)
    mask[0, :, 0] = 1
    assert mean_squared(prediction, torch.zeros_like(prediction), mask).item() == pytest.approx(1.0)


def test_authors_sums():
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(2, 1, 4, 4, 4, generator=generator) for _ in range(2))
    assert torch.isclose(mean_squared(prediction, target, reduction="sum"), (prediction - target).pow(2).sum() / 4)
    assert torch.isclose(mean_absolute(prediction, target, reduction="sum"), (prediction - target).abs().sum() / 4)
    # a sum over 64 voxels is 32 times the mean: the conversion of the module's docstring
    ratio = mean_squared(prediction, target, reduction="sum") / mean_squared(prediction, target)
    assert ratio.item() == pytest.approx(32)
    gradients = gradient_difference(prediction, target, reduction="sum") / gradient_difference(prediction, target)
    assert gradients.item() == pytest.approx(48)  # 3 x 4 x 4 differences along each axis


def test_gradient_difference_by_hand():
    # |d target| = 1, 3; |d prediction| = 2, 1; squares of the differences: 1, 4
    target, prediction = volume([0, 1, 4]), volume([0, 2, 1])
    # the axes of length 1 have no differences: give them one by doubling
    target, prediction = (image.expand(1, 1, 3, 2, 2).contiguous() for image in (target, prediction))
    assert gradient_difference(prediction, target).item() == pytest.approx(2.5)
    assert gradient_difference(prediction, target, alpha=1).item() == pytest.approx(1.5)
    assert gradient_difference(prediction, target, reduction="sum").item() == pytest.approx(5 * 4)


def test_gradient_difference_takes_absolute_values_first():
    target = volume([0, 1, 2]).expand(1, 1, 3, 2, 2)
    assert gradient_difference(-target, target).item() == 0.0
    assert gradient_difference(target + 7, target).item() == 0.0


def test_gradient_difference_sums_over_axes():
    ramp = torch.arange(3.0)
    target = ramp.reshape(1, 1, 3, 1, 1) + ramp.reshape(1, 1, 1, 3, 1) + ramp.reshape(1, 1, 1, 1, 3)
    assert gradient_difference(torch.zeros_like(target), target).item() == pytest.approx(3.0)


def test_gradient_difference_inside_the_mask():
    target = volume([0, 1, 100]).expand(1, 1, 3, 2, 2)
    mask = volume([1, 1, 0]).expand(1, 1, 3, 2, 2)
    assert gradient_difference(torch.zeros_like(target), target, mask=mask).item() == pytest.approx(1.0)


def test_empty_mask_gives_zero():
    image, mask = torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    for loss in (mean_squared, mean_absolute, gradient_difference):
        assert loss(image, 2 * image, mask=mask).item() == 0.0


@pytest.mark.parametrize("loss", [mean_squared, mean_absolute, gradient_difference])
def test_shapes_that_only_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match="differ in shape"):
        loss(torch.zeros(2, 1, 4, 4, 4), torch.zeros(2, 2, 4, 4, 4))


def test_alpha_below_one_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        gradient_difference(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2), alpha=0.5)


@pytest.mark.parametrize("loss", [mean_squared, mean_absolute, gradient_difference])
def test_gradients(loss):
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(1, 2, 3, 3, 3, dtype=torch.float64, generator=generator)
    prediction = torch.randn(1, 2, 3, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), prediction)


@pytest.mark.parametrize("loss", [mean_squared, mean_absolute, gradient_difference])
def test_half_precision_is_computed_in_single(loss):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(torch.zeros(1, 1, 8, 8, 8, dtype=torch.float16), torch.full((1, 1, 8, 8, 8), 1000.0))
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
