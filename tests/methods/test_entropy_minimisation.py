"""Entropy as a share of its maximum, inside the mask, with a weight that rises."""

import pytest
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.sampling.batches import Adaptation


def method(classes=2, **settings):
    torch.manual_seed(0)
    return create("entropy_minimisation", {"network": "unet", "width": 0.25, **settings}, Shape(1, classes))


def batch(mask=None):
    source, target = (torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    ones = torch.ones_like(source)
    return Adaptation(source, (source > 0).long(), ones, target, ones if mask is None else mask)


@pytest.mark.parametrize("classes", [2, 4])
def test_equal_probabilities_have_the_whole_weight(classes):
    unsure = method(classes, entropy_weight=0.25)
    for parameter in unsure.network.parameters():
        parameter.detach().zero_()
    loss = next(unsure.updates(batch(), progress=0.5)).losses["entropy"]
    assert loss.item() == pytest.approx(0.25, rel=1e-5)


def test_voxels_outside_the_mask_do_not_count():
    mask = torch.zeros(2, 1, 16, 16, 16)
    mask[..., :8] = 1
    asked = method(entropy_weight=1.0)
    loss = next(asked.updates(batch(mask), progress=0.5)).losses["entropy"].item()
    probability = asked.predict(batch().target).detach()
    each = -(probability * probability.log()).sum(dim=1, keepdim=True) / torch.log(torch.tensor(2.0))
    assert loss == pytest.approx(each[..., :8].mean().item(), rel=1e-4)
    assert loss != pytest.approx(each.mean().item(), rel=1e-6)


def test_weight_rises_between_its_two_shares():
    gentle = method(entropy_weight=1.0, entropy_begin=0.2, entropy_full=0.6)
    losses = {p: next(gentle.updates(batch(), progress=p)).losses.get("entropy") for p in (0.1, 0.2, 0.4, 0.6)}
    assert losses[0.1] is losses[0.2] is None
    assert losses[0.6].item() == pytest.approx(2 * losses[0.4].item(), rel=1e-5)


def test_predictions_become_surer():
    unsure = method(entropy_weight=1.0, cross_entropy_weight=1e-12, l1=0, l2=0, optimizer="adam", learning_rate=1e-2)
    optimizer, values = unsure.optimizers()["segmenter"], []
    for _ in range(10):
        loss = next(unsure.updates(batch(), progress=0.5)).losses["entropy"]
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < 0.8 * values[0]
