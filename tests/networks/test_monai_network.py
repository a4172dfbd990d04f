"""Networks of MONAI by name: which are built, what they ask of a patch, and that they train, predict and are saved."""

import inspect

import pytest
import torch
from monai.networks import nets
from torch import nn

from medgen.config import build
from medgen.errors import UsageError
from medgen.inference.tiles import predict_tiles
from medgen.methods import segmentation, supervised
from medgen.methods._monai import MonaiNetworkConfig
from medgen.methods.base import Shape, Window
from medgen.methods.catalogue import create, resolve
from medgen.networks.monai_network import MonaiNetwork
from medgen.networks.monai_zoo import NETWORKS
from medgen.recipe.settings import Schedule
from medgen.training.engine import Engine, channels_last
from medgen.training.loop import train
from medgen.training.model_folder import load_stages, save_model

LEVELS = {"channels": [4, 8], "strides": [2]}
FIVE = [4, 4, 4, 4, 8, 4]
DYNAMIC = {"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 4, 8]}
SWIN = {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2}
VIT = {"feature_size": 2, "hidden_size": 12, "mlp_dim": 8, "num_heads": 2}
TINY = {
    "AttentionUnet": (LEVELS, 8, Window(multiple=2, least=4)),
    "AutoEncoder": ({"channels": [4, 4], "strides": [2, 2]}, 8, Window(multiple=4, least=8)),
    "BasicUNet": ({"features": FIVE}, (32, 16, 16), Window(least=32)),
    "BasicUNetPlusPlus": ({"features": FIVE}, (32, 16, 16), None),
    "DynUNet": (DYNAMIC, 8, Window(multiple=4, least=8)),
    "LocalNet": ({"num_channel_initial": 2, "extract_levels": [0, 1]}, 8, Window(multiple=2, least=4)),
    "MedNeXt": ({"init_filters": 4, "blocks_down": [1], "blocks_up": [1], "kernel_size": 3}, 8, None),
    "RegUNet": ({"num_channel_initial": 2, "depth": 2}, 8, Window(multiple=4, least=8)),
    "SegResNet": ({"blocks_down": [1, 1], "blocks_up": [1]}, 8, Window(multiple=2, least=4)),
    "SegResNetDS": ({"init_filters": 4, "blocks_down": [1, 1]}, 8, Window(multiple=2, least=4)),
    "SwinUNETR": (SWIN, (64, 32, 32), Window(multiple=32, least=64)),
    "UNETR": (VIT, 16, Window(exact=True, least=16)),
    "UNet": ({**LEVELS, "norm": ["INSTANCE", {"affine": True}]}, 8, Window(multiple=2, least=4)),
}
"""Arguments, the edge or the edges of a patch, and the window where it is known by hand."""


def method_of(name: str, arguments: dict, side: int | tuple[int, int, int]):
    torch.manual_seed(0)
    config = {"network": {"monai": name, "arguments": arguments}}
    return create("segmentation", config, Shape(1, 2, (side,) * 3 if isinstance(side, int) else side))


@pytest.mark.parametrize("name", TINY)
def test_each_trains_predicts_and_is_saved(name, tmp_path):
    arguments, side, window = TINY[name]
    if name in ("SwinUNETR", "UNETR"):
        pytest.importorskip("einops")
    method = channels_last(method_of(name, arguments, side))
    if window is not None:
        assert method.window == window
    image = torch.randn(1, 1, *method.shape.size)
    batch = method.batch_class(image, (image > 0).long(), torch.ones_like(image))
    before = {key: value.clone() for key, value in method.named_parameters()}
    (record,) = train(method, method.optimizers(), [batch], Schedule(steps=1, batch=1), Engine("cpu"))
    assert not record.skipped
    moved = [not torch.equal(before[key], value) for key, value in method.named_parameters()]
    assert sum(moved) > 0.6 * len(moved)  # BasicUNet++ has heads that only deep supervision trains
    method.eval()
    save_model(tmp_path, [method], {"method": "segmentation", "stages": 1})
    (loaded,), _ = load_stages(tmp_path)
    with torch.no_grad():
        found = method.predict(image)
        assert torch.equal(found, loaded.eval().predict(image))
        assert found.shape == (1, 2, *image.shape[2:])
        assert torch.allclose(found.sum(1), torch.ones(1))
        (last,) = method.features(image)
    assert last.shape[:2] == (1, method.network.widths["last"])
    assert loaded.window == method.window


def test_every_name_is_a_network_that_is_told_its_channels():
    for name in NETWORKS:
        kind = getattr(nets, name)
        assert issubclass(kind, nn.Module)
        assert kind.__name__ == name  # no alias
        assert {"in_channels", "out_channels", "spatial_dims"} <= set(inspect.signature(kind).parameters)


def test_it_synthesises_with_a_context_and_an_adversary():
    config = {"generator": {"monai": "UNet", "arguments": LEVELS}, "width": 0.125}
    shape = Shape(1, 1, (16,) * 3).with_context()
    method = create("context_aware_gan", config, shape)
    assert method.generator(torch.zeros(1, 2, 16, 16, 16)).shape == (1, 1, 16, 16, 16)
    assert method.window == Window(multiple=2, minimum=16, least=4)


@pytest.mark.parametrize("name", ["mean_teacher", "domain_adversarial", "confirmed_candidates", "view_agreement"])
def test_methods_that_hold_a_segmenter_take_one_of_monai(name):
    kind, known = resolve(name), resolve(name).config_class.model_fields
    hidden = {"shifted": [1], "hidden": [1]}
    config = {"network": {"monai": "SegResNet", "arguments": TINY["SegResNet"][0]}}
    config |= {key: value for key, value in hidden.items() if key in known}
    method = create(name, config, Shape(2, 2, (16,) * 3))
    images = torch.randn(2 * method.draws, 2, 16, 16, 16)
    ones = torch.ones_like(images[:, :1])
    special = {"label": (images[:, :1] > 0).long(), "mask": ones, "target_mask": ones}
    batch = kind.batch_class(*(special.get(field, images) for field in kind.batch_class._fields))
    list(train(method, method.optimizers(), [batch], Schedule(steps=1, batch=2), Engine("cpu")))
    assert method.eval().predict(images[:1]).shape == (1, 2, 16, 16, 16)


def test_the_seed_alone_decides_the_weights():
    """Measuring a network, which is done once a process, draws no random number."""
    one = method_of("SegResNet", {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}, 8).state_dict()
    two = method_of("SegResNet", {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}, 8).state_dict()
    torch.manual_seed(0)
    three = nets.SegResNet(3, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1)).state_dict()
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    assert all(torch.equal(value, one[f"network.network.{key}"]) for key, value in three.items())


def test_a_volume_smaller_than_the_least_tile_is_predicted():
    """BasicUNet halves its grid four times, and pads: a tile of 10 voxels would leave nothing to normalise."""
    network = MonaiNetwork("BasicUNet", {"features": FIVE}, 1, 2, (32, 32, 32)).eval()
    window = Window(multiple=network.multiple, least=network.minimum)
    found = predict_tiles(network, torch.randn(1, 10, 12, 40).numpy(), size=(32, 32, 32), window=window, channels=2)
    assert found.shape == (2, 10, 12, 40)


REFUSED = {
    "SegResNet": ({"init_filter": 8}, 8, "did you mean 'init_filters'"),
    "UNet": ({"channels": [4, 8]}, 8, "strides"),
    "BasicUNet": ({"in_channels": 2}, 32, "data.inputs"),
    "FlexibleUNet": ({"backbone": "resnet10", "pretrained": True}, 32, "downloads nothing"),
    "DynUNet": ({**DYNAMIC, "strides": [1, 2]}, 8, "MONAI cannot build DynUNet"),
    "BasicUNetPlusPlus": ({"features": FIVE, "deep_supervision": True}, 32, "several outputs"),
    "VNet": ({}, 24, "divisible by 16, e.g. 32"),
    "AttentionUnet": (LEVELS, 9, "divisible by 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_and_patches_are_refused_before_anything_is_computed(name):
    arguments, side, said = REFUSED[name]
    with torch.device("meta"), pytest.raises(UsageError) as caught:
        method_of(name, arguments, side)
    assert said in str(caught.value)


def test_several_outputs_in_training_alone_are_refused():
    three = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3, "filters": [4] * 4}
    with pytest.raises(UsageError, match="several outputs"):
        method_of("DynUNet", {**three, "deep_supervision": True}, 16)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"monai": "Unet"}, "did you mean 'UNet'"),
        ({"monai": "ResNet"}, "is no network of MONAI that makes one image"),
        ({"monai": "os.system"}, "is no network of MONAI that makes one image"),
        ({"monai": "UNet", "argument": {}}, "did you mean 'arguments'"),
        ({"arguments": {}}, "add 'monai: ...'"),
        ({"monai": "UNet", "arguments": {"channels": [10**5]}}, "the limit is 10,000"),
        ("segresnet", "expected deepmedic, unet or {monai: NAME"),
    ],
)
def test_a_wrong_name_or_key_is_told(values, said):
    with pytest.raises(UsageError) as caught:
        build(segmentation.Config, {"network": values}, where="recipe.yaml")
    assert said in str(caught.value)
    assert "recipe.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (segmentation.Config, {"network": {"monai": "VNet"}, "width": 0.5}),
        (segmentation.Config, {"network": {"monai": "VNet"}, "norm": "batch"}),
        (supervised.Config, {"generator": {"monai": "VNet"}, "width": 0.5}),
        (supervised.Config, {"generator": {"monai": "VNet"}, "dropout": 0.5}),
    ],
)
def test_settings_of_medgens_own_networks_are_refused_beside_one_of_monai(kind, values):
    with pytest.raises(UsageError, match="own arguments"):
        build(kind, values)


def test_settings_survive_as_plain_values():
    config = build(segmentation.Config, {"network": {"monai": "UNet", "arguments": LEVELS}})
    assert config.network == MonaiNetworkConfig(monai="UNet", arguments=LEVELS)
    assert build(segmentation.Config, config.model_dump(mode="json")) == config
