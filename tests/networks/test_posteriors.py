"""Flows of posteriors: densities and determinants against autograd, constraints, the order of the numbers."""

import math

import pytest
import torch
from torch import nn

from medgen.networks.posteriors import (
    Autoregressive,
    Diagonal,
    InverseAutoregressive,
    Planar,
    gated_step,
    planar_step,
)

KINDS = [(kind, grid) for kind in (Planar, InverseAutoregressive) for grid in ((), (2, 3), (2, 1, 2))]


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior(kind, grid: tuple[int, ...], *, code: int = 3, steps: int = 3) -> nn.Module:
    """One with random weights, far from where it begins; of a vector where there is no grid."""
    torch.manual_seed(0)
    made = kind(4, grid or (2, 2), code, dense=not grid, steps=steps, width=7).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * seeded(*parameter.shape))
    return made


def inputs(grid: tuple[int, ...], count: int = 1, code: int = 3) -> tuple[torch.Tensor, ...]:
    mean, log_variance, noise = (seeded(count, code, *grid, seed=seed) for seed in (1, 2, 3))
    return mean, 0.3 * log_variance, seeded(count, 4, *(grid or (2, 2)), seed=4), noise


def numbers(grid: tuple[int, ...]) -> int:
    return 3 * math.prod(grid)


@pytest.mark.parametrize(("kind", "grid"), [*KINDS, (Diagonal, ()), (Diagonal, (2, 3))])
def test_the_density_of_a_draw_is_that_of_its_noise_over_the_jacobian(kind, grid):
    made = Diagonal() if kind is Diagonal else posterior(kind, grid)
    *given, noise = inputs(grid)
    draw = made(*given, noise)
    jacobian = torch.autograd.functional.jacobian(lambda each: made(*given, each).code.flatten(), noise)
    determinant = torch.linalg.slogdet(jacobian.reshape(numbers(grid), numbers(grid))).logabsdet
    normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum()
    assert draw.log_density.sum().item() == pytest.approx((normal - determinant).item(), rel=1e-9)
    assert draw.code.shape == noise.shape


@pytest.mark.parametrize(("kind", "grid"), KINDS)
def test_a_draw_depends_on_its_own_image_alone(kind, grid):
    made, both = posterior(kind, grid), inputs(grid, count=2)
    alone = made(*(each[1:] for each in both))
    whole = made(*both)
    assert torch.allclose(whole.code[1:], alone.code)
    assert torch.allclose(whole.log_density[1:], alone.log_density)
    assert not torch.allclose(made(*both[:2], both[2].flip(0), both[3]).code, whole.code)


def test_a_planar_step_is_invertible_whatever_the_network_says():
    """Along w the step is a function of one number, ``a + (w u) tanh(a + b)``, which must rise: ``w u > -1``."""
    u, w = 20 * seeded(1, 3), seeded(1, 3, seed=1)
    u = u - (u * w).sum() / w.square().sum() * w - 30 * w  # w u is far below -1
    line = torch.linspace(-4, 4, 401, dtype=torch.float64)[:, None] * w / w.square().sum()
    moved, determinant = planar_step(line, u.expand_as(line), w.expand_as(line), torch.zeros(401, 1).double())
    along = (moved * w).sum(dim=1)
    assert (along.diff() > 0).all()
    assert torch.isfinite(determinant).all()
    free = line + u * torch.tanh((line * w).sum(dim=1, keepdim=True))  # without the constraint it folds
    assert not ((free * w).sum(dim=1).diff() > 0).all()


@pytest.mark.parametrize(("length", "product"), [(1e-4, -3.0), (1.0, -30.0), (1e-4, 0.0), (0.0, 0.0)])
def test_a_planar_step_is_finite_in_32_bits_and_its_determinant_that_of_the_step(length, product):
    w = torch.tensor([[length, 0.0]])
    u = torch.tensor([[product / length if length else 0.0, 0.5]])
    line = torch.linspace(-4, 4, 401)[:, None] * torch.tensor([[1 / (length or 1.0), 0.0]])
    zero = torch.zeros(401, 1)
    moved, determinant = planar_step(line, u.expand_as(line), w.expand_as(line), zero)
    assert torch.isfinite(moved).all()
    assert torch.isfinite(determinant).all()
    wide = [each.double() for each in (u.expand_as(line), w.expand_as(line), zero)]
    step = torch.tensor([[1e-4 / (length or 1.0), 0.0]]).double()
    ahead, behind = (planar_step(line.double() + side * step, *wide)[0][:, 0] for side in (1, -1))
    slope = (ahead - behind) / (2 * step[0, 0])
    assert (slope > 0).all()
    assert torch.allclose(planar_step(line.double(), *wide)[1][:, 0].exp(), slope, atol=1e-6)


def test_a_planar_step_by_hand():
    """m(w u) = log(1 + e^0) - 1 = -0.307 along w of length 2, so u becomes (-0.153, 1)."""
    z, u, w, b = (torch.tensor([each]) for each in ([0.5, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0]))
    moved, determinant = planar_step(z, u, w, b)
    along = math.log(2) - 1
    assert moved[0].tolist() == pytest.approx([0.5 + along / 2 * math.tanh(1), math.tanh(1)])
    assert determinant.item() == pytest.approx(math.log(1 + (1 - math.tanh(1) ** 2) * along))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("grid", [(), (2, 3), (2, 2, 2)])
def test_an_inverse_autoregressive_step_is_triangular(grid, reverse):
    """Voxel by voxel, and channel by channel within a voxel; the other way round where it is reversed."""
    torch.manual_seed(0)
    network = Autoregressive(3, 8, len(grid)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(seeded(*parameter.shape))
    z, context = seeded(1, 3, *grid, seed=1), seeded(1, 8, *grid, seed=2)

    def ordered(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(3, -1).T.flatten()

    def step(flat: torch.Tensor) -> torch.Tensor:
        moved = gated_step(network, flat.reshape(-1, 3).T.reshape(z.shape), context, reverse=reverse)[0]
        return ordered(moved)

    jacobian = torch.autograd.functional.jacobian(step, ordered(z))
    lower = jacobian.T if reverse else jacobian
    assert torch.equal(lower.triu(1), torch.zeros_like(lower))
    assert (lower.tril(-1) != 0).float().sum() > 0.4 * numbers(grid)  # a step that sees nothing is triangular too
    slopes = ordered(gated_step(network, z, context, reverse=reverse)[1][0])
    assert torch.allclose(jacobian.diagonal().log(), slopes)


def test_the_first_number_sees_the_context():
    network = Autoregressive(3, 8, 0)
    made, other = network(torch.zeros(1, 3), torch.zeros(1, 8)), network(torch.zeros(1, 3), torch.ones(1, 8))
    assert (made != other).all()


@pytest.mark.parametrize(("kind", "code"), [(Planar, 1), (InverseAutoregressive, 1)])
def test_a_code_of_one_number_has_steps_too(kind, code):
    made = posterior(kind, (), code=code)
    draw = made(*inputs((), code=code))
    assert torch.isfinite(draw.log_density).all()


@pytest.mark.parametrize(("kind", "least"), [(Planar, 0.05), (InverseAutoregressive, 0.15)])
def test_steps_tighten_the_bound_on_a_curved_density(kind, least):
    """A posterior like a banana: ``log p(z) + log p(x|z)`` of a code that the image tells the square of.

    The gap of a diagonal distribution, fitted as well as it can be, is larger by ``least`` nats or more.
    """

    def gap(made: nn.Module) -> float:
        torch.manual_seed(0)
        mean, log_variance = nn.Parameter(torch.zeros(1, 2)), nn.Parameter(torch.zeros(1, 2))
        deepest = torch.ones(1, 4, 2, 2)
        optimizer = torch.optim.Adam([*made.parameters(), mean, log_variance], 0.02)
        losses = []
        for _ in range(300):
            draw = made(
                mean.expand(128, 2), log_variance.expand(128, 2), deepest.expand(128, 4, 2, 2), torch.randn(128, 2)
            )
            a, b = draw.code.unbind(dim=1)
            target = -0.5 * (a.square() + ((b - a.square()) / 0.4).square())
            loss = (draw.log_density.sum(dim=1) - target).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return sum(losses[-100:]) / 100

    torch.manual_seed(0)
    flow = kind(4, (2, 2), 2, dense=True, steps=4 if kind is Planar else 2, width=16)
    assert gap(flow) < gap(Diagonal()) - least
