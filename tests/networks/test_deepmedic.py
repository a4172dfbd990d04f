"""DeepMedic against the published sizes, a second computation of its layers, and the whole volume."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from medgen.errors import UsageError
from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Window
from medgen.networks.deepmedic import PRESETS, DeepMedic


def network(preset="res2016", *, inputs=1, outputs=2, width=0.1, **options):
    """In evaluation mode, with running statistics that are not 0 and 1."""
    torch.manual_seed(3)
    net = DeepMedic(inputs, outputs, preset=preset, width=width, **options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def cube(net, output, *, inputs=1, batch=1):
    torch.manual_seed(4)
    return torch.randn(batch, inputs, *[output + 2 * net.margin] * 3)


def sides_of_pathways(net, output):
    """Sides of what each pathway's first convolution reads, and of the logits."""
    sides = []
    hooks = [
        pathway[0].register_forward_hook(lambda module, given, made: sides.append(given[0].shape[2]))
        for pathway in net.pathways
    ]
    with torch.no_grad():
        logits = net(cube(net, output))
    for hook in hooks:
        hook.remove()
    return sides, logits.shape[2]


class TestGeometry:
    @pytest.mark.parametrize(
        ("preset", "output", "expected"),
        [
            ("original", 9, [25, 19]),
            ("original", 21, [37, 23]),
            ("original", 29, [45, 26]),
            ("current", 9, [25, 19, 18]),
            ("current", 21, [37, 23, 21]),
            ("current", 29, [45, 26, 22]),
        ],
    )
    def test_published_segments(self, preset, output, expected):
        """25 -> 9, 37 -> 21 and 45 -> 29 voxels; the low-resolution ones read ceil(output / factor) + 16."""
        net = network(preset, width=0.02, fc_padding="mirror", aligned=False)
        assert sides_of_pathways(net, output) == (expected, output)

    @pytest.mark.parametrize(
        ("preset", "padding", "margin", "align"),
        [
            ("original", "valid", 23, 3),
            ("res2016", "mirror", 23, 3),
            ("res2016", "valid", 26, 3),
            ("small", "valid", 26, 3),
            ("current", "mirror", 38, 15),
            ("current", "valid", 43, 15),
        ],
    )
    def test_margins(self, preset, padding, margin, align):
        """Output 9 with factor 3: 19 samples reach over 55 voxels, 23 more on each side."""
        net = network(preset, width=0.02, fc_padding=padding)
        assert (net.margin, net.align, net.multiple) == (margin, align, 1)
        sides, output = sides_of_pathways(net, align)
        extra = 0 if padding == "mirror" or preset == "original" else 1
        assert output == align
        assert sides == [align + 2 * (8 + extra), *(align // f + 2 * (8 + extra) for f in net.factors)]

    @pytest.mark.parametrize("preset", ["original", "current"])
    def test_receptive_fields(self, preset):
        """17 samples in each direction: 17 voxels, 51 at factor 3, 85 at factor 5; centred on the voxel's cell."""
        net = network(preset, fc_padding="mirror", width=0.05)
        image = cube(net, net.align).requires_grad_()
        maps = net.features(image, ["8"])[1]["8"]
        width = maps.shape[1] // len(net.pathways)
        voxel = (4, 7, 11) if preset == "current" else (0, 1, 2)
        for index, factor in enumerate((1, *net.factors)):
            value = maps[0, index * width : (index + 1) * width, *voxel].sum()
            (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
            for axis, place in enumerate(voxel):
                others = [a for a in range(3) if a != axis]
                seen = gradient[0, 0].abs().sum(others).nonzero().ravel() - net.margin
                middle = place // factor * factor + factor // 2
                assert seen.tolist() == [middle + factor * step for step in range(-8, 9)]

    def test_the_3_voxel_kernel_of_layer_9_adds_two_voxels(self):
        net = network("res2016").double()
        image = cube(net, 3).double().requires_grad_()
        (gradient,) = torch.autograd.grad(net(image)[0, :, 0, 0, 0].sum(), image)
        seen = gradient[0, 0].abs().sum((1, 2)).nonzero().ravel() - net.margin
        high_resolution = range(-9, 10)
        low_resolution = range(1 - 3 * 9, 1 + 3 * 8 + 1, 3)  # voxel -1 belongs to the cell before
        assert seen.tolist() == sorted({*high_resolution, *low_resolution})

    def test_sides_that_do_not_fit(self):
        net = network("res2016")
        with pytest.raises(UsageError) as caught:
            net(torch.zeros(1, 1, 61, 61, 62))
        assert caught.value.fix == "choose sides of 52 plus a multiple of 3"
        with pytest.raises(UsageError):
            net(torch.zeros(1, 1, 52, 61, 61))
        loose = network("res2016", aligned=False)
        assert loose.margin == 28
        assert loose(torch.zeros(1, 1, 57, 58, 60)).shape == (1, 2, 1, 2, 4)


class TestMaps:
    def test_the_discriminator_of_the_paper_reads_410_channels(self):
        net = DeepMedic(5, 2, preset="res2016").eval()
        assert net.widths == {"4": 80, "6": 80, "8": 100, "10": 150}
        assert DeepMedic(2, 5, preset="current").widths == {"4": 120, "6": 120, "8": 150, "10": 250}
        with torch.no_grad():
            logits, maps = net.features(torch.randn(1, 5, 55, 55, 58), net.layers)
        assert logits.shape == (1, 2, 3, 3, 6)
        assert {name: map_.shape for name, map_ in maps.items()} == {
            name: (1, count, 3, 3, 6) for name, count in net.widths.items()
        }

    def test_only_the_maps_asked_for_and_the_same_logits(self):
        net = network()
        image = cube(net, 3)
        with torch.no_grad():
            logits, maps = net.features(image, ["10", "6"])
            assert list(maps) == ["10", "6"]
            assert torch.equal(net(image), logits)
        with pytest.raises(UsageError, match="'9'"):
            net.features(image, ["9"])

    def test_low_resolution_maps_are_repeated(self):
        net = network("current")
        with torch.no_grad():
            maps = net.features(cube(net, 15), ["4"])[1]["4"]
        for factor, part in zip((1, 3, 5), maps.chunk(3, 1), strict=True):
            cells = part.unfold(2, factor, factor)
            assert torch.equal(cells, cells[..., :1].expand_as(cells))
        assert not torch.equal(maps[:, :4, 0::3], maps[:, :4, 1::3])


class TestLayers:
    @pytest.mark.parametrize("norm", ["batch", "none"])
    def test_equals_a_second_computation(self, norm):
        """Normalisation, PReLU, convolution; residuals at 4, 6, 8 and 10; sub-sampling, repetition and cropping."""
        net = network("res2016", inputs=2, outputs=3, norm=norm).double()
        for parameter in net.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter)
        image = cube(net, 6, inputs=2).double()
        with torch.no_grad():
            expected, maps = second_computation(net, image)
            logits, named = net.features(image, net.layers)
        torch.testing.assert_close(logits, expected)
        for name in net.layers:
            torch.testing.assert_close(named[name], maps[name])

    def test_gradients_equal_those_of_the_second_computation(self):
        net = network("res2016", inputs=2, outputs=3).double()
        for parameter in net.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter)
        image = cube(net, 6, inputs=2).double()
        parameters = dict(net.named_parameters())
        mine, expected = (
            torch.autograd.grad(logits.square().sum(), list(parameters.values()))
            for logits in (net(image), second_computation(net, image)[0])
        )
        for name, one, other in zip(parameters, mine, expected, strict=True):
            assert one.abs().sum() > 0, name
            torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")

    @pytest.mark.parametrize("norm", ["batch", "instance", "none"])
    @pytest.mark.parametrize("batch", [1, 2])
    def test_inference_slab_by_slab_equals_the_plain_layers(self, norm, batch, monkeypatch):
        """Also where a map has fewer channels than the one before, and where the last slab is thinner."""
        net = network("small", width=0.3, norm=norm)
        for parameter in net.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter)
        image = cube(net, 6, batch=batch)
        expected, maps = net.features(image, net.layers)  # with gradients nothing is cut
        assert expected.requires_grad
        monkeypatch.setattr("medgen.networks.deepmedic.SLAB", 5000)
        with torch.inference_mode():
            logits, named = net.features(image, net.layers)
        torch.testing.assert_close(logits, expected.detach(), atol=1e-4, rtol=1e-4)
        for name in net.layers:
            torch.testing.assert_close(named[name], maps[name].detach(), atol=1e-4, rtol=1e-4)

    def test_original_has_no_residuals_and_small_kernels(self):
        assert PRESETS["original"].residual is False
        shapes = [m.kernel_size[0] for m in DeepMedic(1, 2, preset="original").modules() if isinstance(m, nn.Conv3d)]
        assert shapes == [3] * 16 + [1] * 3

    def test_published_filters(self):
        made = [m.out_channels for m in DeepMedic(1, 2).modules() if isinstance(m, nn.Conv3d)]
        assert made == [30, 30, 40, 40, 40, 40, 50, 50] * 2 + [150, 150, 2]
        wide = [m.out_channels for m in DeepMedic(1, 2, preset="wide").modules() if isinstance(m, nn.Conv3d)]
        assert wide == [30, 40, 50, 60, 70, 80, 90, 100] * 3 + [300, 300, 2]

    def test_initialisation_dropout_and_momentum(self):
        net = DeepMedic(1, 2, momentum=0.03)
        big = net.pathways[0][6][-1]
        assert big.weight.std().item() == pytest.approx((2 / (40 * 27)) ** 0.5, rel=0.02)
        assert [m.rate for m in net.modules() if type(m).__name__ == "Dropout" and m.rate] == [0.5, 0.5]
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
        assert len(norms) == 2 * 7 + 3
        assert {m.momentum for m in norms} == {0.03}
        assert all(isinstance(pathway[0], nn.Conv3d) for pathway in net.pathways)

    def test_bfloat16_and_channels_last(self):
        net = network("small", width=1.0).to(memory_format=torch.channels_last_3d)
        image = cube(net, 3, batch=2).to(memory_format=torch.channels_last_3d)
        with torch.no_grad():
            exact = net(image)
            with torch.autocast("cpu", torch.bfloat16):
                rough = net(image)
        assert rough.dtype == torch.bfloat16
        torch.testing.assert_close(rough.float(), exact, atol=0.05 * exact.abs().max().item(), rtol=0)

    def test_every_parameter_learns(self):
        net = network("current", width=0.1).train()
        net.features(cube(net, 15, batch=2), ["4"])[0].square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def second_computation(net, image):
    """res2016 with plain functions and explicit loops over cells."""

    def layer(x, module):
        norm, rectifier, _, *convolution = module
        if isinstance(norm, nn.BatchNorm3d):
            x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            x = x + norm.bias.view(-1, 1, 1, 1)
        x = functional.prelu(x, rectifier.slope)
        return functional.conv3d(x, convolution[0].weight, convolution[0].bias) if convolution else x

    def centre(x, side):
        start = (x.shape[2] - side) // 2
        return x[:, :, start : start + side, start : start + side, start : start + side]

    def add(x, earlier):
        x = x.clone()
        x[:, : earlier.shape[1]] += centre(earlier, x.shape[2])
        return x

    def to_grid(x, factor, low):
        """Output voxels -1 to 6; cell 0 of the low-resolution map holds voxel ``low``."""
        return torch.stack([x[:, :, (place - low) // factor] for place in range(-1, 7)], 2)

    def on_grid(x, factor, low):
        for axes in ((0, 1, 2, 3, 4), (0, 1, 3, 2, 4), (0, 1, 4, 3, 2)):
            x = to_grid(x.permute(axes), factor, low).permute(axes)
        return x

    m = net.margin
    maps, ends = {name: [] for name in net.layers}, []
    for factor, pathway in zip((1, 3), net.pathways, strict=True):
        # Samples at the middle of the cells that begin at -27 to 6 + 24: 9 cells before the output, 9 behind it.
        places = range(m - 9, m + 6 + 9) if factor == 1 else range(m - 26, m + 6 + 27, 3)
        x = image
        for axis in (2, 3, 4):
            x = x.index_select(axis, torch.tensor([*places]))
        outputs = [functional.conv3d(x, pathway[0].weight)]
        for number in range(2, 9):
            x = layer(outputs[-1], pathway[number - 1])
            outputs.append(add(x, outputs[number - 3]) if number in (4, 6, 8) else x)
        low = -1 if factor == 1 else -3
        ends.append(on_grid(outputs[7], factor, low))
        for number in (4, 6, 8):
            side = outputs[7].shape[2]
            maps[str(number)].append(centre(on_grid(centre(outputs[number - 1], side), factor, low), 6))
    joined = torch.cat(ends, 1)
    before, convolution, second = net.joint
    ninth = functional.conv3d(layer(joined, before), convolution.weight)
    tenth = add(layer(ninth, second), joined)
    maps["10"].append(tenth)
    return layer(tenth, net.classifier), {name: torch.cat(parts, 1) for name, parts in maps.items()}


def whole_volume(net, image):
    """All at once, edge voxels repeated, the output rounded up to a multiple of align."""
    beyond = [(net.margin, net.margin + -length % net.align) for length in image.shape[1:]]
    padded = torch.from_numpy(np.pad(image, [(0, 0), *beyond], mode="edge"))[None]
    with torch.inference_mode():
        x, y, z = image.shape[1:]
        return net(padded).softmax(1)[0, :, :x, :y, :z].numpy()


def tiled(net, image, output, *, align, **options):
    size = [output + 2 * net.margin] * 3
    window = Window(margin=net.margin, align=align)
    return predict_tiles(lambda x: net(x).softmax(1), image, size=size, window=window, channels=2, **options)


class TestDenseInference:
    @pytest.mark.parametrize(
        ("preset", "output", "shape"),
        [("res2016", 9, (20, 31, 13)), ("small", 12, (25, 7, 40)), ("original", 15, (31, 20, 9)),
         ("current", 15, (31, 17, 16))],
    )  # fmt: skip
    def test_tiles_equal_the_whole_volume(self, preset, output, shape):
        net = network(preset)
        image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
        expected = whole_volume(net, image)
        assert expected.std() > 0.05
        result = tiled(net, image, output, align=net.align, batch=3)
        np.testing.assert_allclose(result, expected, atol=1e-5)
        overlapping = tiled(net, image, output, align=net.align, overlap=0.4)
        np.testing.assert_allclose(overlapping, expected, atol=1e-5)

    def test_tiles_anywhere_do_not(self):
        """Why align exists: a sample of the low-resolution pathway belongs to the place where the output begins."""
        net = network("res2016", aligned=False)
        image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
        expected = whole_volume(net, image)
        assert np.abs(tiled(net, image, 8, align=1) - expected).max() > 0.01

    def test_published_padding_shows_the_borders_of_tiles(self):
        net = network("res2016", fc_padding="mirror")
        image = np.random.default_rng(0).normal(size=(1, 18, 18, 18)).astype(np.float32)
        difference = np.abs(tiled(net, image, 9, align=3) - whole_volume(net, image)).max(0)
        border = np.zeros((18, 18, 18), bool)
        for axis, place in itertools.product(range(3), (8, 9)):
            np.moveaxis(border, axis, 0)[place] = True
        assert difference[border].max() > 0.01
        assert difference[~border].max() < 1e-5
