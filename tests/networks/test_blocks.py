"""The building blocks against torch's own."""

import pytest
import torch
from torch import nn

from medgen.networks.blocks import Convolution, Dropout, PReLU, build_norm


def test_prelu_has_the_values_and_gradients_of_torch():
    torch.manual_seed(0)
    ours, theirs = PReLU(5).double(), nn.PReLU(5).double()
    nn.init.normal_(ours.slope)
    theirs.weight.data.copy_(ours.slope)
    image = torch.randn(2, 5, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(image)
    torch.testing.assert_close(ours(image), theirs(image))
    mine = torch.autograd.grad((ours(image) * weight).sum(), [image, ours.slope])
    expected = torch.autograd.grad((theirs(image) * weight).sum(), [image, theirs.weight])
    torch.testing.assert_close(mine, expected)


def test_prelu_has_second_derivatives():
    """A penalty of the gradient of a discriminator needs them."""
    image = torch.randn(1, 2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    layer = PReLU(2).double()
    assert torch.autograd.gradgradcheck(lambda x: layer(x) ** 2, [image])


@pytest.mark.parametrize(
    ("shape", "outputs", "kernel", "bias"),
    [((1, 5, 6, 7, 8), 4, 3, False), ((2, 5, 4, 3, 2), 3, 1, True), ((1, 1, 5, 5, 5), 1, 1, False)],
)
@pytest.mark.parametrize("last", [True, False])
def test_convolution_has_the_values_and_gradients_of_torch(shape, outputs, kernel, bias, last):
    torch.manual_seed(0)
    ours = Convolution(shape[1], outputs, kernel, bias=bias)
    theirs = nn.Conv3d(shape[1], outputs, kernel, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(shape)
    if last:
        image = image.to(memory_format=torch.channels_last_3d)
    image.requires_grad_()
    made, expected = ours(image), theirs(image)
    weight = torch.randn_like(made)
    torch.testing.assert_close(made, expected)
    mine, plain = (
        torch.autograd.grad((values * weight).sum(), [image, *module.parameters()])
        for values, module in ((made, ours), (expected, theirs))
    )
    torch.testing.assert_close(mine, plain, atol=1e-4, rtol=1e-4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = ours(image)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), expected, atol=0.05, rtol=0.05)


def test_prelu_keeps_a_small_slope_in_bfloat16():
    image = torch.linspace(-4, 4, 200).reshape(1, 1, 200, 1, 1)
    exact, rough = PReLU(1)(image), PReLU(1)(image.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.02, atol=0)


def test_dropout_drops_the_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, ones = Dropout(0.25), torch.ones(1, 1, 50, 50, 50)
    dropped = layer(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(layer.eval()(ones), ones)
    torch.manual_seed(1)
    first = Dropout(0.5)(ones)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(ones), first)


@pytest.mark.parametrize("name", ["batch", "instance", "none"])
def test_norms_have_a_learnt_shift(name):
    layer = build_norm(name, 3, momentum=0.5)
    layer.bias.data.copy_(torch.tensor([1.0, 2, 3]))
    result = layer(torch.zeros(2, 3, 2, 2, 2))
    assert result.mean((0, 2, 3, 4)).tolist() == pytest.approx([1, 2, 3])
