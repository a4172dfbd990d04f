"""Two views of one image: what is hidden, what is agreed on, and (co-training) what the target has a say in."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods._views import agreement
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, Labelled
from medgen.training.engine import Engine
from medgen.training.loop import train

SMALL = {"network": "unet", "width": 0.25}


def method(name="view_agreement", **changes):
    torch.manual_seed(0)
    return create(name, {**SMALL, **changes}, Shape(3, 2))


def batch(size: int = 4) -> Adaptation:
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.randn(size, 3, 16, 16, 16, generator=generator) for _ in range(2))
    ones = torch.ones(size, 1, 16, 16, 16)
    return Adaptation(source, (source[:, :1] > 0).long(), ones, target, ones)


def test_agreement_is_the_smaller_probability_and_the_background_gets_the_rest():
    first = torch.tensor([0.1, 0.6, 0.3]).reshape(1, 3, 1, 1, 1)
    second = torch.tensor([0.5, 0.1, 0.4]).reshape(1, 3, 1, 1, 1)
    assert agreement(first, second).flatten().tolist() == pytest.approx([0.6, 0.1, 0.3])


def test_prediction_is_what_both_networks_agree_on_and_the_second_lacks_the_channel():
    found, x = method(hidden=[1]).eval(), batch().source
    with torch.no_grad():
        first, second = found.network(x).softmax(1), found.second(x[:, [0, 2]]).softmax(1)
        assert torch.allclose(found.predict(x)[:, 1], torch.minimum(first[:, 1], second[:, 1]))
        other = x.clone()
        other[:, 1] += 1
        assert torch.equal(found.second(found.views.of(other)[1][2]), found.second(found.views.of(x)[1][2]))


def test_by_default_the_last_channel_is_hidden():
    assert method().views.kept == [0, 1]


def test_the_first_network_is_that_of_supervised_training():
    """The second has an optimiser and losses of its own."""
    found, given = method(), batch()
    torch.manual_seed(0)
    alone = create("segmentation", SMALL, Shape(3, 2))
    schedule = Schedule(steps=3, batch=4)
    list(train(found, found.optimizers(), [given] * 3, schedule, Engine("cpu"), seed=5))
    labelled = Labelled(given.source, given.label, given.mask)
    list(train(alone, alone.optimizers(), [labelled] * 3, schedule, Engine("cpu"), seed=5))
    state = found.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in alone.network.state_dict().items())


def test_without_a_weight_co_training_is_view_agreement_and_looks_at_no_target_image():
    given, schedule = batch(), Schedule(steps=3, batch=4)
    broken = given._replace(target=torch.full_like(given.target, float("nan")))
    found, expected = method("co_training", agreement_weight=0.0), method()
    list(train(found, found.optimizers(), [broken] * 3, schedule, Engine("cpu"), seed=5))
    labelled = Labelled(given.source, given.label, given.mask)
    list(train(expected, expected.optimizers(), [labelled] * 3, schedule, Engine("cpu"), seed=5))
    state = found.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.state_dict().items())


def test_target_patches_teach_what_both_views_agree_on():
    found, given = method("co_training", begin=0.0, full=0.0), batch()
    updates = list(found.updates(given, progress=0.5))
    assert [update.optimizer for update in updates] == ["segmenter", "second"]
    assert all(update.losses["agreement"] > 0 for update in updates)
    nothing = given._replace(target_mask=torch.zeros_like(given.target_mask))
    assert all(torch.isfinite(update.losses["agreement"]) for update in found.updates(nothing, progress=0.5))
    early = method("co_training", begin=0.6, full=0.7).updates(given, progress=0.5)
    assert all("agreement" not in update.losses for update in early)


@pytest.mark.parametrize("hidden", [[3], [0, 1, 2]])
def test_hidden_channels_must_exist_and_leave_something(hidden):
    with pytest.raises(UsageError, match=r"config\.hidden"):
        method(hidden=hidden)


def test_co_training_refuses_statistics_of_two_domains_in_one():
    with pytest.raises(UsageError, match="batch normalisation"):
        method("co_training", norm="batch")
    assert method("co_training", norm="batch", agreement_weight=0.0).target_begins == 1
