"""Every invertible layer and every flow, in 2D and 3D: its inverse, and its log-determinant by autograd."""

import copy
import math

import pytest
import torch
from torch import nn

from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import create
from medgen.networks.couplings import BOUND, Coupling, VectorCoupling
from medgen.networks.flows import Couplings, DenseFlow, MultiScaleFlow, scales_of
from medgen.networks.invertible import ActNorm, BatchNorm, Chain, Diagonal, Invertible, Logit, Squeeze

SIZES = {2: (4, 8), 3: (2, 4, 4)}


def disturbed(layer: Invertible) -> Invertible:
    """With weights and statistics that are far from the start, where a flow is nearly the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for norm in (each for each in layer.modules() if isinstance(each, ActNorm)):
        norm.mean.normal_()
        norm.log_spread.normal_(std=0.3)
    for norm in (each for each in layer.modules() if isinstance(each, BatchNorm)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return layer.eval()


def layers(d: int) -> dict[str, Invertible]:
    """One of each kind, for images of two channels."""

    def flow(count: int = 1, **options) -> MultiScaleFlow:
        couplings = Couplings(count, 5, 8, **options)
        return MultiScaleFlow(2, SIZES[d], levels=2, couplings=couplings)

    return {
        "board": Coupling(d, 2, "checkerboard", flipped=False, width=5),
        "board_flipped": Coupling(d, 2, "checkerboard", flipped=True, width=5, blocks=2),
        "channels": Coupling(d, 2, "channels", flipped=False, width=5),
        "channels_flipped": Coupling(d, 2, "channels", flipped=True, width=5, blocks=1),
        "additive": Coupling(d, 2, "checkerboard", flipped=False, width=5, additive=True),
        "act": ActNorm(d, 2),
        "batch": BatchNorm(d, 2),
        "logit": Logit(-4, 4, 0.05),
        "squeeze": Squeeze(),
        "flow": flow(count=2),
        "flow_act": flow(norm="act"),
        "flow_batch": flow(norm="batch", blocks=1),
        "flow_additive": flow(additive=True, norm="act"),
        "dense": DenseFlow(2, SIZES[d], couplings=3, width=6, hidden=2),
    }


NAMES = tuple(layers(2))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_inverse_and_log_determinant(name, d):
    layer = disturbed(layers(d)[name])
    x = torch.randn(2, 2, *SIZES[d]).clamp(-3.5, 3.5)
    with torch.no_grad():
        assert (layer.inverse(layer(x)[0]) - x).abs().max() < 1e-5 * x.abs().max()
        layer, x = layer.double(), x.double()
        z, determinant = layer(x)
        assert (layer.inverse(z) - x).abs().max() < 1e-10
    assert determinant.shape == (2,)
    one = x[:1]
    jacobian = torch.autograd.functional.jacobian(lambda each: layer(each)[0].flatten(), one, vectorize=True)
    expected = torch.linalg.slogdet(jacobian.reshape(one.numel(), -1)).logabsdet
    assert torch.allclose(determinant[0], expected, atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", ["realnvp", "nice"])
def test_inverse_in_32_bits_after_training(name, d):
    """To 1e-5 of the largest value, with the settings that users get."""
    torch.manual_seed(0)
    method: Method = create(name, {"width": 0.125}, Shape(1, 1, (16,) * d))
    image = torch.randn(4, 1, *(16,) * d)
    optimizer = method.optimizers()["flow"]
    for _ in range(5):
        (update,) = method.updates(method.batch_class(image, torch.ones_like(image)), 0.0)
        optimizer.zero_grad()
        update.losses["negative_log_likelihood"].backward()
        optimizer.step()
    method.eval()
    with torch.no_grad():
        assert (method.decode(method.encode(image)) - image).abs().max() < 1e-5 * image.abs().max()


class TestActNorm:
    def test_the_first_training_batch_comes_out_normal(self):
        layer, x = ActNorm(2, 3), 5 + 3 * torch.randn(64, 3, 4, 4)
        z, determinant = layer.train()(x)
        assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
        assert torch.allclose(z.var(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
        spread = x.var(dim=(0, 2, 3), correction=0).sqrt().log().sum()
        assert torch.allclose(determinant, -16 * spread.expand(64), rtol=1e-4)
        later = layer(x + 100)[0]
        assert torch.allclose(later, z + 100 * (-layer.log_spread).exp(), rtol=1e-3)  # the second changes nothing

    def test_evaluation_before_training_takes_no_statistics(self):
        layer, x = ActNorm(2, 1).eval(), 5 + torch.randn(8, 1, 4, 4)
        assert torch.equal(layer(x)[0], x)
        assert not layer.initialised

    def test_a_constant_channel_is_not_blown_up(self):
        layer = ActNorm(2, 1)
        z, determinant = layer(torch.full((4, 1, 4, 4), 7.0))
        assert torch.equal(z, torch.zeros_like(z))
        assert determinant[0].item() == pytest.approx(16 * math.log(1000), rel=1e-4)

    def test_a_resumed_run_keeps_the_first_batch(self):
        first, second = ActNorm(2, 2), ActNorm(2, 2)
        x = 3 + torch.randn(8, 2, 4, 4)
        first(x)
        second.load_state_dict(first.state_dict())
        assert torch.equal(second.train()(x + 1)[0], first.train()(x + 1)[0])


class TestBatchNorm:
    def test_training_takes_the_batch_and_evaluation_its_running_mean(self):
        layer, x = BatchNorm(2, 2, momentum=1.0), 2 + 3 * torch.randn(32, 2, 4, 4)
        z, determinant = layer.train()(x)
        assert torch.allclose(z.var(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)
        again, evaluated = layer.eval()(x)
        assert torch.allclose(again, z, atol=1e-5)
        assert torch.allclose(determinant, evaluated)
        assert torch.allclose(layer.inverse(again), x, atol=1e-5)

    def test_the_gradient_runs_through_the_statistics(self):
        """Without it, scaling up the image would always look better."""
        x = torch.randn(16, 1, 4, 4, requires_grad=True)
        z, determinant = BatchNorm(2, 1).train()(x)
        loss = (0.5 * z.square().flatten(1).sum(dim=1) - determinant).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        assert (gradient * x).sum().item() == pytest.approx(16 * 16, rel=1e-3)  # d loss / d log scale = numbers


def test_a_log_scale_stays_in_its_bound():
    layer = Coupling(2, 2, "channels", flipped=False, width=4)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=100)
    determinant = layer(torch.randn(3, 2, 4, 4))[1]
    assert torch.isfinite(determinant).all()
    assert determinant.abs().max() <= 16 * BOUND * (1 + 1e-6)


def test_what_is_kept_comes_out_as_it_went_in():
    x = torch.randn(1, 2, 4, 4)
    moved = disturbed(Coupling(2, 2, "checkerboard", flipped=True, width=4))(x)[0] != x
    places = torch.arange(4)[:, None] + torch.arange(4)
    assert torch.equal(moved[0, 0], places % 2 == 0)
    odd = disturbed(VectorCoupling(5, flipped=False, width=4, hidden=1))
    vector = torch.randn(1, 5)
    assert (odd(vector)[0] != vector).tolist() == [[False, True, False, True, False]]


def test_widths_double_to_the_widest():
    flow = MultiScaleFlow(1, (16, 16), levels=3, couplings=Couplings(1, 4, 8))
    widths = [
        [layer.network[0].out_channels for layer in scale.layers if isinstance(layer, Coupling)]
        for scale in flow.scales
    ]
    assert widths == [[4, 4], [8, 8], [8, 8]]


def test_squeeze_puts_neighbours_into_channels():
    """By hand: a block of 2 x 2 becomes four channels of one voxel."""
    z, _ = Squeeze()(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert z.flatten().tolist() == [1, 2, 3, 4]
    assert z.shape == (1, 4, 1, 1)


def test_scales_of_sizes():
    assert [scales_of(size) for size in [(64, 64), (16, 16, 16), (6, 64), (3, 3)]] == [5, 3, 1, 1]


def test_chain_of_diagonals_adds_up():
    chain = Chain([Diagonal(3), Diagonal(3)])
    for layer, value in zip(chain.layers, (0.5, 1.0), strict=True):
        nn.init.constant_(layer.log_scale, value)
        nn.init.constant_(layer.shift, 1.0)
    z, determinant = chain(torch.zeros(1, 3))
    assert torch.allclose(z, torch.full((1, 3), math.exp(1.0) + 1))
    assert determinant.item() == pytest.approx(4.5)
    assert torch.allclose(chain.inverse(z), torch.zeros(1, 3), atol=1e-6)


def test_a_copy_is_no_view():
    """Layers are copied by the moving average: buffers of the copy are its own."""
    layer = ActNorm(2, 1)
    other = copy.deepcopy(layer)
    layer(torch.randn(4, 1, 4, 4))
    assert not other.initialised
