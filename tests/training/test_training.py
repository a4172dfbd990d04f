"""The loop: schedules, clipping, accumulation, averaging, numbers that are not finite."""

import math

import pytest
import torch
from torch import nn

from medgen.config import Config
from medgen.errors import InputError
from medgen.methods.base import Method, Shape, Update
from medgen.recipe.settings import LearningRate, Schedule
from medgen.sampling.batches import Paired
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train


class Line(Method):
    """y = w x with plain gradient descent, so that every number can be computed by hand."""

    config_class = Config
    batch_class = Paired

    def __init__(self, poison=()):
        super().__init__(Config(), Shape(1, 1))
        self.weight = nn.Parameter(torch.tensor(0.0))
        self.calls, self.poison = 0, set(poison)

    def optimizers(self):
        return {"line": torch.optim.SGD([self.weight], lr=0.1)}

    def updates(self, batch, progress):
        loss = (self.weight * batch.source - batch.target).square().mean()
        if self.calls in self.poison:
            loss = loss * math.nan
        self.calls += 1
        yield Update("line", {"mse": loss})

    def predict(self, image):
        return self.weight * image


def pair(x, y):
    x, y = (torch.tensor(v, dtype=torch.float32).reshape(-1, 1, 1, 1, 1) for v in (x, y))
    return Paired(x, y, torch.ones_like(x), torch.ones_like(x))


def steps(method, batches, **schedule):
    schedule = Schedule(**{"steps": len(batches) // schedule.get("accumulate", 1), **schedule})
    return list(train(method, method.optimizers(), batches, schedule, Engine("cpu")))


def test_two_steps_by_hand():
    method = Line()
    records = steps(method, [pair([1.0], [1.0])] * 2)
    # w1 = 0 + 0.1 * 2 * 1 = 0.2 ; w2 = 0.2 + 0.1 * 2 * 0.8 = 0.36
    assert method.weight.item() == pytest.approx(0.36)
    assert [r.losses["line/mse"] for r in records] == pytest.approx([1.0, 0.64])
    assert records[0].learning_rate == {"line": pytest.approx(0.1)}


def test_learning_rate_follows_the_share_of_the_training():
    records = steps(Line(), [pair([1.0], [1.0])] * 4, learning_rate=LearningRate(kind="polynomial", power=1))
    assert [r.learning_rate["line"] for r in records] == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize(
    ("settings", "progress", "factor"),
    [
        ({"kind": "constant"}, 0.9, 1.0),
        ({"kind": "polynomial", "power": 0.9}, 0.5, 0.5**0.9),
        ({"kind": "step", "milestones": (0.5, 0.75), "decay": 0.5}, 0.5, 0.5),
        ({"kind": "step", "milestones": (0.5, 0.75), "decay": 0.5}, 0.8, 0.25),
        ({"kind": "cosine", "final": 0.1}, 0.5, 0.55),
        ({"kind": "cosine"}, 0.0, 1.0),
        ({"kind": "constant", "warmup": 0.1}, 0.05, 0.5),
        ({"kind": "linear"}, 0.25, 0.75),
        ({"kind": "linear", "hold": 0.5}, 0.5, 1.0),
        ({"kind": "linear", "hold": 0.5}, 0.9, 0.2),
        ({"kind": "cosine", "hold": 0.5}, 0.75, 0.5),
    ],
)
def test_factor(settings, progress, factor):
    assert LearningRate(**settings).factor(progress) == pytest.approx(factor)


def test_micro_batches_add_up_to_the_batch():
    whole, parts = Line(), Line()
    steps(whole, [pair([1.0, 2.0], [1.0, -1.0])])
    records = steps(parts, [pair([1.0], [1.0]), pair([2.0], [-1.0])], accumulate=2)
    assert parts.weight.item() == pytest.approx(whole.weight.item())
    assert records[0].losses["line/mse"] == pytest.approx(1.0)


class Duel(Method):
    """Two numbers: the critic falls by its input, the other by the critic; gradients are x and the critic."""

    config_class = Config
    batch_class = Paired

    def __init__(self):
        super().__init__(Config(), Shape(1, 1))
        self.critic, self.weight = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def optimizers(self):
        return {name: torch.optim.SGD([getattr(self, name)], lr=0.1) for name in ("critic", "weight")}

    def updates(self, batch, progress):
        yield Update("critic", {"x": self.critic * batch.source.mean()})
        yield Update("weight", {"judged": self.weight * self.critic * batch.target.mean()})

    def predict(self, image):
        return self.weight * image


def test_with_one_micro_batch_the_second_network_is_judged_by_the_first_one_that_has_stepped():
    method = Duel()
    steps(method, [pair([1.0, 3.0], [1.0, 1.0])])
    assert method.critic.item() == pytest.approx(0.8)  # 1 - 0.1 * mean(1, 3)
    assert method.weight.item() == pytest.approx(-0.08)  # 0 - 0.1 * 0.8


def test_with_several_micro_batches_all_networks_step_after_the_last():
    method = Duel()
    records = steps(method, [pair([1.0], [1.0]), pair([3.0], [1.0])], accumulate=2)
    assert method.critic.item() == pytest.approx(0.8)
    assert method.weight.item() == pytest.approx(-0.1)  # 0 - 0.1 * 1: both pieces saw the critic from before the step
    assert records[0].losses == {"critic/x": pytest.approx(2.0), "weight/judged": pytest.approx(0.0)}


@pytest.mark.parametrize("poisoned", [0, 1])
def test_with_several_micro_batches_no_network_steps_where_one_is_not_finite(poisoned):
    method = Duel()
    batches = [pair([1.0], [1.0]), pair([3.0], [1.0])]
    batches[poisoned] = pair([1.0], [math.nan])  # only the second network sees it
    assert [r.skipped for r in steps(method, batches, accumulate=2)] == [True]
    assert method.critic.item() == 1.0
    assert method.weight.item() == 0.0


def test_clipping_bounds_the_step():
    method = Line()
    steps(method, [pair([100.0], [100.0])], clip=1.0)
    assert method.weight.item() == pytest.approx(0.1, rel=1e-4)  # lr 0.1 times a gradient of norm 1


def test_a_step_that_is_not_finite_is_skipped_and_said():
    method = Line(poison={1})
    records = steps(method, [pair([1.0], [1.0])] * 3)
    assert [r.skipped for r in records] == [False, True, False]
    assert method.weight.item() == pytest.approx(0.36)


class Normalised(Line):
    """A batch normalisation in front of the line."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(1, affine=False)

    def updates(self, batch, progress):
        yield from super().updates(batch._replace(source=self.norm(batch.source)), progress)


def test_a_skipped_step_leaves_running_statistics_as_they_were():
    poisoned, clean = Normalised(), Normalised()
    good, bad = pair([1.0, 3.0], [1.0, -1.0]), pair([1.0, math.nan], [1.0, -1.0])
    records = steps(poisoned, [good, bad, good])
    steps(clean, [good, good])
    assert [r.skipped for r in records] == [False, True, False]
    # mean 2, variance 2: twice a tenth of the way from (0, 1)
    assert poisoned.norm.running_mean.item() == pytest.approx(0.2 + 0.1 * 1.8)
    for name, buffer in clean.named_buffers():
        assert torch.equal(buffer, dict(poisoned.named_buffers())[name])


def test_ten_in_a_row_end_the_run():
    with pytest.raises(InputError, match="10 steps in a row"):
        steps(Line(poison=range(100)), [pair([1.0], [1.0])] * 20)


def test_average_lags_behind_and_starts_fast():
    method = Line()
    average = moving_average(method, 0.5)
    schedule = Schedule(steps=2)
    list(train(method, method.optimizers(), [pair([1.0], [1.0])] * 2, schedule, Engine("cpu"), average=average))
    # first update copies 0.2; second: decay min(0.5, 2/11) -> 2/11 * 0.2 + 9/11 * 0.36
    assert average.module.weight.item() == pytest.approx(2 / 11 * 0.2 + 9 / 11 * 0.36)


def test_the_global_random_state_is_given_back():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    steps(Line(), [pair([1.0], [1.0])] * 3)
    assert torch.equal(torch.rand(3), expected)
