import math

import pytest
import torch

from medgen.methods._optimizers import NesterovRMSprop


def test_two_steps_by_hand():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = NesterovRMSprop([weight], lr=0.1, rho=0.9, eps=1e-4, momentum=0.5)
    square, velocity, value = 0.0, 0.0, 1.0
    for gradient in (2.0, -1.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        step = 0.1 * gradient / math.sqrt(square + 1e-4)
        velocity = 0.5 * velocity - step
        value += 0.5 * velocity - step
        assert weight.item() == pytest.approx(value, rel=1e-5)


def test_momentum_zero_is_torchs_rmsprop_but_for_where_eps_stands():
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -3.0])) for _ in range(2))
    a = NesterovRMSprop([ours], lr=0.01, rho=0.9, eps=0.0, momentum=0.0)
    b = torch.optim.RMSprop([theirs], lr=0.01, alpha=0.9, eps=0.0)
    for _ in range(5):
        for weight, optimizer in ((ours, a), (theirs, b)):
            weight.grad = 2 * weight.detach()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_state_is_saved_and_restored():
    def run(restart: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = NesterovRMSprop([weight], lr=0.1)
        for step in range(4):
            if restart and step == 2:
                state, optimizer = optimizer.state_dict(), NesterovRMSprop([weight], lr=0.1)
                optimizer.load_state_dict(state)
            weight.grad = weight.detach() ** 2
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(False), run(True))
