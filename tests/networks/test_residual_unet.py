"""The residual U-Net is MONAI's: the same names, weights of a seed, outputs and gradients, to the last bit."""

import pytest
import torch
from monai.networks.nets import UNet

from medgen.networks.residual_unet import ResidualUNet


@pytest.mark.parametrize(
    ("norm", "affine", "dropout"), [("batch", True, 0.0), ("instance", False, 0.0), ("instance", True, 0.3)]
)
@pytest.mark.parametrize(("channels", "strides", "kernel"), [
    ((4, 8, 16), ((2, 2, 2), (2, 2, 2)), (3, 3, 3)),
    ((4, 8, 8, 16), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), (3, 3, 3)),
    ((4, 8), ((2, 2, 1),), (3, 3, 1))])  # fmt: skip
def test_nothing_tells_it_from_monais(norm, affine, dropout, channels, strides, kernel):
    theirs, ours = seeded(
        lambda: UNet(
            3, 2, 3, channels, strides, kernel, kernel, num_res_units=2, dropout=dropout,
            norm=(norm, {"affine": affine}),
        ),
        lambda: ResidualUNet(
            2, 3, channels, strides, kernels=[kernel] * len(channels), norm=norm, affine=affine, dropout=dropout
        ),
    )  # fmt: skip
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    image = torch.randn(2, 2, 8, 16, 8)
    expected, result = seeded(lambda: theirs(image), lambda: ours(image))  # the seed is that of the dropout
    assert torch.equal(result, expected)
    for output in (expected, result):
        output.square().sum().backward()
    pairs = zip(ours.named_parameters(), theirs.parameters(), strict=True)
    assert [name for (name, mine), other in pairs if not torch.equal(mine.grad, other.grad)] == []


def seeded(*makers):
    made = []
    for make in makers:
        torch.manual_seed(0)
        made.append(make())
    return made
