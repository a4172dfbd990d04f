"""Several updates on one graph, parameters of two optimisers, fresh patches within a step, and double backward."""

import math

import pytest
import torch
from test_training import Line, pair, steps
from torch import nn

from medgen.config import Config
from medgen.errors import UsageError
from medgen.methods.base import Method, Shape, Update
from medgen.sampling.batches import Paired
from medgen.sampling.parts import split


class Numbers(Method):
    """Scalars that plain gradient descent moves by a tenth of their gradient; subclasses say what is minimised."""

    config_class = Config
    batch_class = Paired
    shared = ()

    def __init__(self, **start):
        super().__init__(Config(), Shape(1, 1))
        for name, value in start.items():
            setattr(self, name, nn.Parameter(torch.tensor(value)))

    def optimizers(self):
        shared = [getattr(self, name) for name in self.shared]
        return {
            name: torch.optim.SGD([p, *shared], lr=0.1) for name, p in self.named_parameters() if p not in {*shared}
        }


class Joint(Numbers):
    """An encoder a and a decoder b of y = a b x: each loss needs the graph from before either has stepped."""

    together = True

    def updates(self, batch, progress):
        product = self.a * self.b * batch.source.mean()
        pieces = (Update("a", {"product": product}), Update("b", {"product": product, "square": self.b.square()}))
        if self.together:
            yield pieces
        else:
            yield from pieces


def test_joint_updates_are_differentiated_before_any_of_them_steps():
    method = Joint(a=2.0, b=3.0)
    records = steps(method, [pair([1.0], [0.0])])
    assert method.a.item() == pytest.approx(2.0 - 0.1 * 3.0)
    assert method.b.item() == pytest.approx(3.0 - 0.1 * (2.0 + 2 * 3.0))  # a as it was
    assert records[0].losses == {"a/product": 6.0, "b/product": 6.0, "b/square": 9.0}


def test_one_after_the_other_they_cannot_share_a_graph():
    method = Joint(a=2.0, b=3.0)
    method.together = False
    with pytest.raises(RuntimeError):
        steps(method, [pair([1.0], [0.0])])


def test_joint_updates_are_accumulated_over_micro_batches():
    whole, parts = Joint(a=2.0, b=3.0), Joint(a=2.0, b=3.0)
    steps(whole, [pair([1.0, 3.0], [0.0, 0.0])])
    steps(parts, [pair([1.0], [0.0]), pair([3.0], [0.0])], accumulate=2)
    assert parts.a.item() == pytest.approx(whole.a.item())
    assert parts.b.item() == pytest.approx(whole.b.item())


class Shared(Numbers):
    """s belongs to both optimisers: each steps it by the gradient of its own loss."""

    shared = ("s",)

    def updates(self, batch, progress):
        yield Update("a", {"product": self.a * self.s}), Update("b", {"product": 10 * self.b * self.s})


def test_a_parameter_of_two_optimisers_has_a_gradient_of_each():
    method = Shared(a=1.0, b=1.0, s=1.0)
    steps(method, [pair([1.0], [0.0])])
    assert method.s.item() == pytest.approx(1.0 - 0.1 * 1.0 - 0.1 * 10.0)
    assert method.a.item() == pytest.approx(0.9)
    assert method.b.item() == pytest.approx(0.0, abs=1e-6)


class Poisoned(Joint):
    def updates(self, batch, progress):
        yield Update("a", {"product": self.a * self.b}), Update("b", {"nan": self.b * math.nan})


def test_no_joint_update_steps_where_one_is_not_finite():
    method = Poisoned(a=2.0, b=3.0)
    (record,) = steps(method, [pair([1.0], [0.0])])
    assert record.skipped
    assert (method.a.item(), method.b.item()) == (2.0, 3.0)


class Critic(Line):
    """Three steps on three batches of fresh patches."""

    draws = 3

    def updates(self, batch, progress):
        for fresh in split(batch, self.draws):
            yield from super().updates(fresh, progress)


def test_every_step_of_a_critic_sees_patches_of_its_own():
    method, plain = Critic(), Line()
    values = [1.0, 2.0, 3.0]
    steps(method, [pair(values, values)])
    steps(plain, [pair([value], [value]) for value in values])
    assert method.weight.item() == pytest.approx(plain.weight.item())


def test_several_steps_of_one_optimiser_cannot_be_accumulated():
    with pytest.raises(UsageError, match="steps more than once"):
        steps(Critic(), [pair([1.0] * 3, [1.0] * 3)] * 2, accumulate=2)


class Penalised(Numbers):
    """A gradient penalty: |d(w x^2)/dx| = 2 w x must be 1, so the loss is differentiated twice."""

    def updates(self, batch, progress):
        x = batch.source.requires_grad_()
        (slope,) = torch.autograd.grad((self.w * x.square()).sum(), x, create_graph=True)
        yield Update("w", {"penalty": (slope.abs() - 1).square().mean()})


def test_a_gradient_penalty_is_differentiated_twice():
    method = Penalised(w=1.0)
    steps(method, [pair([2.0], [0.0])])
    assert method.w.item() == pytest.approx(1.0 - 0.1 * 2 * (4.0 - 1.0) * 4.0)  # d/dw (4 w - 1)^2 = 8 (4 w - 1)


def test_an_optimiser_that_is_given_no_gradient_counts_no_step():
    class Idle(Numbers):
        def updates(self, batch, progress):
            yield Update("a", {"square": self.a.square()})

        def optimizers(self):
            return {"a": torch.optim.Adam([self.a, self.b], lr=0.1)}

    method = Idle(a=1.0, b=1.0)
    optimizers = method.optimizers()
    from medgen.recipe.settings import Schedule
    from medgen.training.engine import Engine
    from medgen.training.loop import train

    list(train(method, optimizers, [pair([1.0], [0.0])] * 2, Schedule(steps=2), Engine("cpu")))
    assert method.b not in optimizers["a"].state
    assert optimizers["a"].state[method.a]["step"] == 2


class Empty(Numbers):
    """Yields a joint step of nothing, and then a loss that must not be lost."""

    def updates(self, batch, progress):
        yield ()
        yield Update("a", {"square": self.a.square()})


def test_an_empty_joint_step_is_an_error_and_not_the_end():
    with pytest.raises(ValueError, match="joint step without updates"):
        steps(Empty(a=2.0), [pair([1.0], [0.0])])
