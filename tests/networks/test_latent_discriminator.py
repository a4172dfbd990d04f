"""The discriminator of codes: its shapes, and that it sees what it is for."""

import pytest
import torch

from medgen.losses.adversarial import NON_SATURATING
from medgen.networks.latent_discriminator import LatentDiscriminator


@pytest.mark.parametrize("grid", [(), (4, 3), (2, 3, 4)])
def test_one_logit_a_code_or_a_place(grid):
    network = LatentDiscriminator(5, dimensions=len(grid), units=8)
    assert network(torch.randn(2, 5, *grid)).shape == (2, 1, *grid)


def spread_of_neighbours(size):
    """Codes that are standard normal at each place, and the same in the whole map."""
    return torch.randn(64, 1, 1, 1).expand(64, 1, *size)


@pytest.mark.parametrize(
    ("grid", "wrong"),
    [
        ((), lambda: torch.randn(64, 1) + 2),
        ((), lambda: 0.2 * torch.randn(64, 1)),
        ((4, 4), lambda: spread_of_neighbours((4, 4))),
    ],
    ids=["mean", "spread", "alike in neighbours"],
)
def test_it_tells_codes_that_do_not_follow_the_prior(grid, wrong):
    torch.manual_seed(0)
    network = LatentDiscriminator(1, dimensions=len(grid), units=16)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        loss = NON_SATURATING.real(network(torch.randn(64, 1, *grid))) + NON_SATURATING.fake(network(wrong()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.1  # 1.386 is chance
