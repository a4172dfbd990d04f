"""Statistics of the target are those of the target's patches, and prediction uses them."""

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.adabn import METHOD, Config
from medgen.methods.base import Shape
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation
from medgen.training.engine import Engine
from medgen.training.loop import train

SMALL = {"network": "unet", "width": 0.25}


def method(**settings):
    torch.manual_seed(0)
    return METHOD(build(Config, {**SMALL, **settings}), Shape(1, 2))


def batch():
    source = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    ones = torch.ones_like(source)
    return Adaptation(source, (source > 0).long(), ones, 3 * source.roll(5, 2) + 2, ones)


def running_mean(method):
    name = next(n for n, _ in method.network.named_buffers() if n.endswith("running_mean"))
    here = method.network.state_dict()[name].clone()
    with method.statistics.used_by(method.network):
        return here, method.network.state_dict()[name].clone()


def test_running_mean_is_that_of_the_target_by_hand():
    adapted = method(begin=0.0)
    first = next(n for n, _ in adapted.network.named_buffers() if n.endswith("running_mean")).rpartition(".")[0]
    seen = []
    adapted.network.get_submodule(first).register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().clone()))
    for _ in train(adapted, adapted.optimizers(), [batch()] * 2, Schedule(steps=2), Engine("cpu")):
        pass
    means = [each.mean((0, 2, 3, 4)) for each in seen]  # source, target, source, target; torch's momentum is 0.1
    assert len(means) == 4
    source, target = running_mean(adapted)
    assert torch.allclose(source, 0.9 * 0.1 * means[0] + 0.1 * means[2], atol=1e-6)
    assert torch.allclose(target, 0.9 * 0.1 * means[1] + 0.1 * means[3], atol=1e-6)
    assert not torch.allclose(source, target, atol=0.01)


def test_until_the_collection_begins_the_statistics_are_the_sources():
    adapted = method(begin=0.5)
    for record in train(adapted, adapted.optimizers(), [batch()] * 4, Schedule(steps=4), Engine("cpu")):
        source, target = running_mean(adapted)
        assert torch.equal(source, target) == (record.step < 2)


def test_prediction_uses_the_statistics_of_the_target():
    adapted = method(begin=0.0)
    for _ in train(adapted, adapted.optimizers(), [batch()] * 3, Schedule(steps=3), Engine("cpu")):
        pass
    with torch.no_grad():
        ours, plain = adapted.eval().predict(batch().target), adapted.network(batch().target).softmax(1)
        with adapted.statistics.used_by(adapted.network):
            expected = adapted.network(batch().target).softmax(1)
    assert torch.equal(ours, expected)
    assert not torch.allclose(ours, plain, atol=1e-3)


def test_a_network_without_running_statistics_is_refused():
    with pytest.raises(UsageError, match="nothing to adapt") as caught:
        method(norm="instance")
    assert "config.norm to batch" in caught.value.fix
