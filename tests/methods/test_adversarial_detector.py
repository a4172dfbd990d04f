"""Adversarial detection: the two ends of its weight, the gap between drawn and predicted maps, what D is shown."""

from __future__ import annotations

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Labelled
from medgen.training.engine import Engine
from medgen.training.loop import train

CHANNELS = Shape(3, 4)


def detector(method: str = "adversarial_detector", **changes) -> Method:
    config = {"width": 0.25, "slices": "thick", "network": "unet", "dice_weight": 0, "learning_rate": 1e-3, **changes}
    kind = resolve(method)
    if "discriminator_width" in kind.config_class.model_fields:
        config = {"discriminator_width": 4, "discriminator_depth": 2} | config
    torch.manual_seed(0)
    return kind(build(kind.config_class, config), CHANNELS)


@pytest.fixture
def batch() -> Labelled:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 16, 16, 5, generator=generator)
    label = torch.randint(0, 4, (2, 1, 16, 16, 5), generator=generator)
    return Labelled(image, label, torch.ones_like(label))


def trained(method: Method, batch: Labelled) -> list[dict[str, float]]:
    records = train(method, method.optimizers(), [batch] * 3, Schedule(steps=3, batch=2), Engine("cpu"))
    return [dict(record.losses) for record in records]


@pytest.mark.parametrize("losses", [{}, {"dice_weight": 1.0}, {"cross_entropy_weight": 0, "focal_weight": 1.0}])
def test_weight_0_is_supervised_training_bit_for_bit(batch, losses):
    ours, plain = detector(adversarial_weight=0, **losses), detector("segmentation", **losses)
    trained(ours, batch)
    trained(plain, batch)
    pairs = zip(ours.state_dict().items(), plain.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(mine, theirs) for (name, mine), (other, theirs) in pairs)


def test_weight_1_has_no_voxelwise_loss(batch):
    names = set(trained(detector(adversarial_weight=1), batch)[0])
    assert names == {"discriminator/drawn", "discriminator/predicted", "segmenter/adversarial"}


def test_a_mixture_weighs_both(batch):
    def losses_of_segmenter(weight: float) -> dict[str, float]:
        method = detector(adversarial_weight=weight)
        update = list(method.updates(batch, progress=0.0))[-1]
        return {name: loss.item() for name, loss in update.losses.items()}

    alone, mixed = losses_of_segmenter(1.0), losses_of_segmenter(0.25)
    assert mixed["adversarial"] == pytest.approx(0.25 * alone["adversarial"])
    method = detector(adversarial_weight=0)
    (supervised,) = method.updates(batch, progress=0.0)
    assert mixed["cross_entropy"] == pytest.approx(0.75 * supervised.losses["cross_entropy"].item())


@pytest.mark.parametrize("gap", ["none", "scaled", "smoothed", "straight_through"])
def test_what_the_discriminator_is_shown(batch, gap):
    method = detector(gap=gap, floor=0.8)
    seen = []
    method.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].detach().clone()))
    list(method.updates(batch, progress=0.0))
    drawn, predicted, again = seen
    assert torch.equal(predicted, again)
    torch.testing.assert_close(drawn.sum(1), torch.ones_like(drawn[:, 0]))
    torch.testing.assert_close(predicted.sum(1), torch.ones_like(drawn[:, 0]))
    true_class = drawn.gather(1, batch.label)
    hard = set(torch.unique(drawn).tolist()) <= {0.0, 1.0}
    assert hard is (gap in ("none", "straight_through"))
    assert true_class.min().item() >= 0.8 - 1e-6
    close_to_hard = torch.minimum(predicted, 1 - predicted).max().item() < 1e-5
    assert close_to_hard is (gap == "straight_through")


@pytest.mark.parametrize("gap", ["scaled", "straight_through"])
def test_the_segmenter_learns_from_the_adversary_alone(batch, gap):
    method = detector(adversarial_weight=1, gap=gap)
    before = [parameter.detach().clone() for parameter in method.network.parameters()]
    trained(method, batch)
    moved = [not torch.equal(a, b) for a, b in zip(before, method.network.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_slices_apart_are_not_mixed():
    method = detector(slices="apart").eval()
    image = torch.randn(1, 3, 16, 16, 4)
    other = image.clone()
    other[..., 0] += 3
    with torch.no_grad():
        torch.testing.assert_close(method.predict(image)[..., 1:], method.predict(other)[..., 1:])
        label = torch.zeros(1, 4, 16, 16, 4)
        first, second = (method.discriminator(each, label) for each in (image, other))
    assert first.shape[-1] == 4
    assert not torch.equal(first[..., 0], second[..., 0])


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalties_are_not_negative(name):
    with pytest.raises(UsageError, match=f"'{name}' is -0.1"):
        detector(**{name: -0.1})
