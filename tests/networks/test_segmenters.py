"""What every segmentation network offers; the U-Net against MONAI's own."""

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from medgen.errors import UsageError
from medgen.networks.segmenters import MAP_STRIDE, DeepMedic, SegmentationUNet, build_segmenter


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deepmedic", {"preset": "small"}),
        ("unet", {"norm": "instance"}),
        ("unet", {"norm": "batch", "stride_first": False, "width": 0.5, "dropout": 0.2}),
    ],
)
def test_the_promises_of_a_segmenter(name, options):
    net = build_segmenter(name, 2, 3, **options).eval()
    side = max(net.align, 16) // net.align * net.align + 2 * net.margin
    assert side % net.multiple == 0
    image = torch.randn(1, 2, side, side, side)
    with torch.no_grad():
        logits, maps = net.features(image, net.layers)
        assert torch.equal(net(image), logits)
    assert logits.shape == (1, 3, *[side - 2 * net.margin] * 3)
    assert list(maps) == list(net.layers) == list(net.widths)
    assert {name: map_.shape[1] for name, map_ in maps.items()} == net.widths
    assert len({map_.shape[2:] for map_ in maps.values()}) == 1  # they can be joined
    with pytest.raises(UsageError, match="'99'"):
        net.features(image, ["99"])


@pytest.mark.parametrize(("first", "channels", "strides"), [
    (True, (16, 32, 64, 128), (2, 2, 2)), (False, (8, 16, 32, 64, 128), (1, 2, 2, 2))])  # fmt: skip
def test_unet_is_monais(first, channels, strides):
    torch.manual_seed(0)
    theirs = UNet(3, 2, 3, channels, strides, num_res_units=2, norm=("instance", {"affine": True}))
    torch.manual_seed(0)
    ours = SegmentationUNet(2, 3, norm="instance", stride_first=first)
    image = torch.randn(1, 2, 16, 24, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))


def test_maps_of_the_unet_keep_their_places():
    net = SegmentationUNet(1, 2).eval()
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        fine = net.downs[0](image)
        coarse = net.downs[2](net.downs[1](fine))
        maps = net.features(image, ["down1", "down3"])[1]
    assert maps["down1"].shape[2:] == (32 // MAP_STRIDE,) * 3
    torch.testing.assert_close(maps["down1"][0, :, 1, 2, 3], fine[0, :, 2:4, 4:6, 6:8].mean((1, 2, 3)))
    assert torch.equal(maps["down3"][..., ::2, ::2, ::2], coarse)
    assert torch.equal(maps["down3"][..., 1::2, 1::2, 1::2], coarse)


def test_options_reach_the_networks():
    deepmedic = build_segmenter("deepmedic", 1, 2, preset="original", width=0.2, dropout=0.0, momentum=0.1)
    assert isinstance(deepmedic, DeepMedic)
    assert deepmedic.widths == {"4": 16, "6": 16, "8": 20, "10": 30}
    assert {m.momentum for m in deepmedic.modules() if isinstance(m, nn.BatchNorm3d)} == {0.1}
    unet = build_segmenter("unet", 1, 2, norm="batch", width=0.5)
    assert any(isinstance(m, nn.BatchNorm3d) for m in unet.modules())
    assert unet.widths["bottom"] == 64


def test_what_the_unet_refuses():
    with pytest.raises(UsageError, match="normalisation"):
        build_segmenter("unet", 1, 2, norm="none")
    with pytest.raises(UsageError) as caught:
        build_segmenter("unet", 1, 2)(torch.zeros(1, 1, 16, 20, 16))
    assert "divisible by 8" in caught.value.fix


@pytest.mark.parametrize(("slices", "shape", "grid"), [
    ("thick", (32, 48, 19), (8, 12, 10)), ("thick", (33, 50, 7), (10, 14, 4)), ("thicker", (32, 32, 7), (8, 8, 8)),
    ("apart", (32, 33, 5), (8, 10, 5)),
    ("apart", (32, 32, 1), (8, 8, 1))])  # fmt: skip
def test_slices_that_are_not_thin_may_have_any_number(slices, shape, grid):
    net = SegmentationUNet(2, 3, slices=slices, width=0.25).eval()
    logits, maps = net.features(torch.randn(2, 2, *shape), net.layers)
    assert logits.shape == (2, 3, *shape)
    assert {map_.shape[2:] for map_ in maps.values()} == {torch.Size(grid)}
    with pytest.raises(UsageError, match="8 x 32"):
        net(torch.randn(1, 2, 8, 32, 4))


@pytest.mark.parametrize(("slices", "flat"), [("thin", 0), ("thick", 1), ("thicker", 2)])
def test_thick_slices_are_mixed_by_deeper_levels_only(slices, flat):
    net = SegmentationUNet(1, 2, slices=slices)
    for level, down in enumerate(net.downs):
        heights = {module.kernel_size[2] for module in down.modules() if isinstance(module, nn.Conv3d)}
        assert (3 in heights) is (level >= flat)
    assert any(module.kernel_size[2] == 3 for module in net.bottom.modules() if isinstance(module, nn.Conv3d))


def test_deepmedic_takes_thin_slices():
    with pytest.raises(UsageError, match="thick"):
        build_segmenter("deepmedic", 2, 3, slices="thick")
