"""NICE and RealNVP: what both promise beside the contract of every method."""

import math

import pytest
import torch

from medgen.errors import InputError
from medgen.methods import nice, realnvp
from medgen.methods._density import bits_per_dimension, dequantised
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.networks.couplings import VectorCoupling
from medgen.networks.invertible import ActNorm
from medgen.recipe.settings import Schedule
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train

SMALL = {"width": 0.0625}
OPTIONS = [
    ("realnvp", {"norm": "none"}),
    ("realnvp", {"norm": "batch", "blocks": 1}),
    ("realnvp", {"logit": True}),
    ("nice", {"architecture": "dense", "prior": "logistic"}),
    ("nice", {"architecture": "dense", "prior": "normal"}),
    ("nice", {"norm": "act"}),
]


def trained(name, config, d, steps=3):
    """Away from the start, and in double precision."""
    torch.manual_seed(0)
    method = create(name, {**SMALL, **config}, Shape(1, 1, (8,) * d if d == 2 else (4,) * d))
    image = (0.3 * torch.randn(6, 1, *method.shape.size)).clamp(-1, 1)
    batches = [method.batch_class(image, torch.ones_like(image))] * steps
    for _ in train(method, method.optimizers(), batches, Schedule(steps=steps, batch=6), Engine("cpu")):
        pass
    return method.eval().double(), image.double()


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("name", "config"), OPTIONS)
def test_density_follows_from_code_and_jacobian(name, config, d):
    """Also with a logit, and with a logistic prior, whose codes are mapped to normal ones."""
    method, images = trained(name, config, d)
    image = images[:1]
    with torch.no_grad():
        code = method.encode(image)
        assert (method.decode(code) - image).abs().max() < 1e-10
        alone, together = method.log_prob(image), method.log_prob(images)
    jacobian = torch.autograd.functional.jacobian(lambda x: method.encode(x).flatten(), image, vectorize=True)
    determinant = torch.linalg.slogdet(jacobian.reshape(code.numel(), -1)).logabsdet
    normal = -0.5 * (code.square().sum() + code.numel() * math.log(2 * math.pi))
    assert alone.item() == pytest.approx((normal + determinant).item(), abs=1e-7)
    assert together[0].item() == pytest.approx(alone.item(), abs=1e-9)  # not of the batch


@pytest.mark.parametrize("name", ["realnvp", "nice"])
def test_images_and_codes_of_another_shape_are_refused(name):
    method = create(name, SMALL, Shape(1, 1, (16, 16)))
    for image in (torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, 16, 16), torch.zeros(1, 1, 16, 16, 16)):
        for ask in (method.log_prob, method.encode):
            with pytest.raises(InputError, match="but the model was trained on 1 channel of 16 x 16"):
                ask(image)
    with pytest.raises(InputError, match="a code has 64 numbers, but those of this model have 256"):
        method.decode(torch.zeros(1, 64))


def test_a_logit_refuses_what_is_beyond_its_window():
    method = create("realnvp", {**SMALL, "logit": True}, Shape(1, 1, (8, 8)))
    assert torch.isfinite(method.log_prob(torch.full((1, 1, 8, 8), 1.0) * torch.tensor([1.0, -1.0] * 4))).all()
    with pytest.raises(InputError, match=r"needs images in \[-1, 1\], not -3 to 0"):
        method.log_prob(torch.tensor([-3.0, 0.0] * 32).reshape(1, 1, 8, 8))


def test_actnorm_survives_averaging_and_export():
    """The average begins with the first step, whose batch the statistics are of; buffers move with it."""
    torch.manual_seed(0)
    method = create("realnvp", SMALL, Shape(1, 1, (8, 8)))
    average = moving_average(method, 0.9)
    image = 4 + torch.randn(8, 1, 8, 8)
    batches = [method.batch_class(image, torch.ones_like(image))] * 3
    for _ in train(method, method.optimizers(), batches, Schedule(steps=3, batch=8), Engine("cpu"), average=average):
        pass
    for one, two in zip(method.modules(), average.module.modules(), strict=True):
        if isinstance(one, ActNorm):
            assert two.initialised
            assert torch.allclose(one.mean, two.mean, atol=1e-6)
            assert torch.allclose(one.log_spread, two.log_spread, atol=1e-6)
    averaged = average.module.eval()
    with torch.no_grad():
        assert (averaged.decode(averaged.encode(image)) - image).abs().max() < 1e-4
        assert averaged.log_prob(image).mean() > torch.distributions.Normal(0, 1).log_prob(image).sum() / 8


@pytest.mark.parametrize("number", [-60.0, -8.0, 0.0, 3.0, 70.0])
def test_logistic_numbers_become_normal_and_come_back(number):
    code = torch.tensor([number])
    normal = nice.normal_of_logistic(code)
    assert torch.allclose(nice.logistic_of_normal(normal), code, rtol=1e-4, atol=1e-6)
    if abs(number) < 10:
        assert torch.special.ndtr(normal.double()).item() == pytest.approx(
            torch.sigmoid(code.double()).item(), rel=1e-4
        )


def test_logistic_density_is_normalised():
    grid = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    assert torch.trapezoid(nice.logistic_log_prob(grid[:, None]).exp(), grid).item() == pytest.approx(1, abs=1e-6)


def test_noise_has_its_width_and_bits_are_of_known_images():
    image = torch.zeros(64, 1, 16, 16)
    noisy = dequantised(image, 0.2)
    assert noisy.abs().max() <= 0.1
    assert noisy.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.05)
    assert torch.equal(dequantised(image, 0.0), image)
    asked = []

    def uniform(x):  # a density of 5 on an interval of 0.2
        asked.append(x)
        return torch.full((len(x),), 256 * math.log(5.0))

    assert bits_per_dimension(image, 0.2, uniform) == pytest.approx(-math.log2(5))
    bits_per_dimension(image, 0.2, uniform)
    assert torch.equal(*asked)  # the noise is the same at every call


def test_published_settings():
    assert realnvp.Config(preset="published").model_dump(include={"couplings", "width", "blocks", "norm"}) == {
        "couplings": 3, "width": 1.0, "blocks": 8, "norm": "batch",
    }  # fmt: skip
    config = nice.Config(preset="published")
    assert (config.architecture, config.couplings, config.hidden, config.prior) == ("dense", 4, 5, "logistic")
    method = nice.NICE(config.model_copy(update={"width": 0.004}), Shape(1, 1, (8, 8)))
    adam = method.optimizers()["flow"].defaults
    assert (adam["lr"], adam["betas"], adam["eps"]) == (1e-3, (0.9, 0.99), 1e-4)
    couplings = [each for each in method.flow.modules() if isinstance(each, VectorCoupling)]
    assert [each.flipped for each in couplings] == [False, True, False, True]
    assert realnvp.Config(preset="published").recipe() == {}
    assert realnvp.Config(preset="published", norm="act").norm == "act"


def entropy_and_estimate(name, **config):
    """Nats of a Gaussian field with neighbours that agree, and what a flow says of held-out draws of it."""
    torch.manual_seed(0)
    size = 4
    places = torch.cartesian_prod(torch.arange(size), torch.arange(size)).float()
    covariance = torch.exp(-0.5 * torch.cdist(places, places).square() / 2) + 0.1 * torch.eye(size**2)
    field = torch.distributions.MultivariateNormal(torch.full((size**2,), 2.0), covariance)
    method = create(name, {"noise": 0.0, "learning_rate": 5e-3, "width": 0.125, **config}, Shape(1, 1, (size, size)))
    steps = 150
    schedule = Schedule(steps=steps, batch=64, learning_rate={"kind": "cosine", "warmup": 0.05}, clip=10)
    draws = (field.sample((64,)).reshape(64, 1, size, size) for _ in range(steps))
    batches = (method.batch_class(draw, torch.ones_like(draw)) for draw in draws)
    for _ in train(method, method.optimizers(), batches, schedule, Engine("cpu")):
        pass
    held_out = field.sample((2000,))
    with torch.no_grad():
        told = -method.eval().log_prob(held_out.reshape(-1, 1, size, size)).mean().item()
    independent = torch.distributions.Normal(2.0, covariance[0, 0].sqrt()).log_prob(held_out).sum(dim=1)
    return field.entropy().item(), told, -independent.mean().item()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("realnvp", {"couplings": 2}),
        ("nice", {"architecture": "dense", "prior": "normal", "hidden": 1, "couplings": 4, "learning_rate": 0.02}),
    ],
)
def test_a_known_entropy_is_recovered(name, config):
    """The mean of -log p of held-out images is the entropy, and never less: a log-determinant in error shows here."""
    entropy, told, independent = entropy_and_estimate(name, **config)
    assert independent > entropy + 3  # what there is to learn
    assert entropy - 0.3 < told < entropy + 0.2 * (independent - entropy)
