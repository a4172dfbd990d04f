"""The watch over a training: what explodes or is not finite ends it, and is never saved."""

import math

import pytest
import torch
from test_training import Line, Normalised, pair, steps
from torch import nn

from medgen.errors import Diverged, ModelError
from medgen.training.checkpoint import first_not_finite, load_checkpoint, save_checkpoint, save_weights
from medgen.training.watch import FACTOR, IN_A_ROW, WINDOW, Tensors, Watch

GOOD = [("weight", torch.ones(2))]


def fault_of(watch: Watch, *values: float, name="generator/mse") -> list[str]:
    return [watch.fault({name: value}, GOOD, skipped=False) for value in values]


def test_a_loss_far_above_its_median_ends_the_training_after_some_steps_in_a_row():
    watch = Watch()
    assert not any(fault_of(watch, *[1.0] * 20))
    *quiet, told = fault_of(watch, *[FACTOR * 1.01] * IN_A_ROW)
    assert not any(quiet)
    assert "'generator'" in told
    assert watch.since == IN_A_ROW


def test_one_bad_patch_is_no_explosion():
    assert not any(fault_of(Watch(), *[1.0, 1.0, 1e6, 1.0] * 20))


def test_a_loss_that_begins_at_once_is_measured_by_its_first_value():
    assert fault_of(Watch(), 1.0, *[1e5] * IN_A_ROW)[-1]


def test_a_loss_that_has_become_small_may_come_back_to_its_first_value():
    """A discriminator that is sure has a loss of nearly nothing until the generator improves."""
    assert not any(fault_of(Watch(), 1.4, *[1e-6] * (2 * WINDOW), *[1.4] * 20))


def test_a_loss_without_a_scale_may_grow():
    """A critic's: its logits may be scaled and shifted, and those of a new one are nearly 0."""
    watch = Watch()
    for value in (1e-3, *[-60.0] * 20):
        losses = {"critic/real": value, "generator/adversarial": 1.0}
        assert not watch.fault(losses, GOOD, skipped=False, scaleless=("critic",))


def test_one_term_that_begins_at_nothing_does_not_count_alone():
    """An adversary or a consistency whose weight rises from 0 over the training."""
    watch = Watch()
    for weight in (0.0, 1e-9, *[0.1] * 20):
        assert not watch.fault({"segmenter/dice": 0.5, "segmenter/adversarial": weight}, GOOD, skipped=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_named(bad):
    tensors = [*GOOD, ("norm.running_var", torch.tensor([1.0, bad])), ("count", torch.tensor(3))]
    assert first_not_finite(tensors) == "norm.running_var"
    assert "norm.running_var" in Watch().fault({"line/mse": 1.0}, tensors, skipped=False)
    assert first_not_finite([("large", torch.full((4,), 1e38))]) == ""


def test_a_resumed_watch_goes_on():
    watch, resumed = Watch(), Watch()
    fault_of(watch, 1.0, *[1e5] * (IN_A_ROW - 1))
    resumed.load_state_dict(watch.state_dict())
    assert fault_of(resumed, 1e5)[-1]


def test_all_tensors_are_watched_also_those_that_a_step_has_replaced():
    method = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    tensors = Tensors(method)
    method[1][0].running_var = torch.full((2,), math.inf)
    expected = [*method.named_parameters(), *method.named_buffers()]
    assert {name: id(tensor) for name, tensor in tensors} == {name: id(tensor) for name, tensor in expected}
    assert list(map(id, tensors.buffers())) == list(map(id, method.buffers()))
    assert first_not_finite(tensors) == "1.0.running_var"


def test_what_a_validation_has_left_in_evaluation_trains_again():
    method = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))
    tensors = Tensors(method)
    method[1][0].eval()  # the whole still says that it trains
    tensors.require_training()
    assert all(module.training for module in method.modules())


class Overflowing(Normalised):
    """Its loss stays finite, its statistics do not: what a learning rate of 1000 does to normalised networks."""

    def updates(self, batch, progress):
        yield from super().updates(batch, progress)
        self.norm.running_var += math.inf if self.calls == 3 else 0.0


def test_a_statistic_that_is_not_finite_ends_the_training_where_it_arises():
    with pytest.raises(Diverged, match=r"step 2: 'norm\.running_var' is not finite") as raised:
        steps(Overflowing(), [pair([1.0, 3.0], [1.0, -1.0])] * 20)
    assert raised.value.good == 2  # steps 0 and 1
    assert raised.value.exit_code == 3


def test_a_learning_rate_of_a_thousand_ends_the_training():
    method = Line()
    method.optimizers = lambda: {"line": torch.optim.SGD([method.weight], lr=1000.0)}
    with pytest.raises(Diverged, match="diverged at step 5") as raised:
        steps(method, [pair([1.0], [1.0])] * 20)
    assert raised.value.good == 1  # the first loss is that of the weights before any step


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_never_written(tmp_path, bad):
    weights = {"a": torch.ones(2), "b": torch.tensor([1.0, bad])}
    with pytest.raises(ModelError, match="'b' is not finite"):
        save_weights(tmp_path / "weights.safetensors", weights)
    save_checkpoint(tmp_path, 1, {"method": {"a": torch.ones(2)}})
    with pytest.raises(ModelError, match=r"'optimizers\.g\.0\.moment' is not finite"):
        save_checkpoint(tmp_path, 2, {"optimizers": {"g": [{"moment": torch.tensor(bad)}]}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "step-00000001.pt"]
    assert load_checkpoint(tmp_path) is not None


def test_a_checkpoint_from_before_a_step_is_found(tmp_path):
    for step in (2, 4):
        save_checkpoint(tmp_path, step, {"step": step})
    assert load_checkpoint(tmp_path, until=3) == {"step": 2}
    assert load_checkpoint(tmp_path, until=1) is None
