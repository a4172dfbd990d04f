"""The multi-connected adversary of Kamnitsas et al. 2017."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, Labelled
from medgen.training.engine import Engine
from medgen.training.loop import train

DEEPMEDIC = {"network": "deepmedic", "preset": "small", "width": 0.25, "discriminator_width": 4, "optimizer": "adam"}
DEEPMEDIC |= {"discriminator_depth": 1}
UNET = {"network": "unet", "width": 0.25, "discriminator_width": 4, "discriminator_padding": "same"}


def method(settings=DEEPMEDIC, **changes):
    torch.manual_seed(0)
    return create("domain_adversarial", {**settings, **changes}, Shape(2, 2))


def pair(side: int, size: int = 2) -> Adaptation:
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.randn(size, 2, side, side, side, generator=generator) for _ in range(2))
    ones = torch.ones(size, 1, side, side, side)
    return Adaptation(source, (source[:, :1] > 0).long(), ones, target + 1, ones)


def test_alpha_is_zero_then_rises_linearly_and_stays():
    found = method(adversarial_weight=0.06, begin=0.2, full=0.8)
    expected = {0.0: 0.0, 0.2: 0.0, 0.5: 0.03, 0.8: 0.06, 0.99: 0.06}
    assert {progress: found.adversary.alpha(progress) for progress in expected} == pytest.approx(expected)


def test_the_published_schedule_is_the_default():
    found = method()
    assert found.adversary.alpha(10 / 35) == 0
    assert found.adversary.alpha(1.0) == pytest.approx(0.05)
    assert found.adversary.layers == ("4", "6", "8", "10")


def test_the_segmenter_minimises_its_loss_less_alpha_times_that_of_the_stepped_discriminator():
    found = method(adversarial_weight=0.5, begin=0.0, full=1e-6)
    updates = found.updates(pair(found.window.smallest()[0]), progress=0.5)
    first = next(updates)
    assert first.optimizer == "discriminator"
    with torch.no_grad():
        for parameter in found.discriminator.parameters():
            parameter.zero_()  # a discriminator that has stepped to where it knows nothing
    second = next(updates)
    assert second.optimizer == "segmenter"
    assert second.losses["domain_source"].item() == pytest.approx(-0.5 * 0.5 * 0.693147, rel=1e-4)
    assert second.losses["domain_target"].item() == pytest.approx(-0.5 * 0.5 * 0.693147, rel=1e-4)
    assert next(updates, None) is None


def test_before_its_beginning_no_target_image_is_looked_at():
    found = method(discriminator_begin=0.2, begin=0.3)
    batch = pair(found.window.smallest()[0])
    broken = batch._replace(target=torch.full_like(batch.target, float("nan")))
    (update,) = list(found.updates(broken, progress=0.1))
    assert update.optimizer == "segmenter"
    assert all(torch.isfinite(loss) for loss in update.losses.values())


def test_both_domains_of_the_segmenters_features_get_a_gradient():
    found = method(adversarial_weight=1.0, begin=0.0, full=1e-6, cross_entropy_weight=1e-12, l1=0.0, l2=0.0)
    batch = pair(found.window.smallest()[0])
    batch = batch._replace(source=batch.source.requires_grad_(), target=batch.target.requires_grad_())
    *_, update = found.updates(batch, progress=0.5)
    sum(update.losses.values()).backward()
    assert batch.source.grad.abs().sum() > 0
    assert batch.target.grad.abs().sum() > 0


@pytest.mark.parametrize("settings", [DEEPMEDIC, UNET], ids=["deepmedic", "unet"])
def test_weight_zero_is_exactly_the_supervised_run(settings):
    adversarial = method(settings, adversarial_weight=0.0)
    torch.manual_seed(0)
    own = {key: value for key, value in settings.items() if not key.startswith("discriminator")}
    supervised = create("segmentation", own, Shape(2, 2))
    batch = pair(max(16, adversarial.window.smallest()[0]))
    labelled = Labelled(batch.source, batch.label, batch.mask)
    for each, given in ((adversarial, batch), (supervised, labelled)):
        list(train(each, each.optimizers(), [given] * 3, Schedule(steps=3, batch=2), Engine("cpu"), seed=5))
    state = supervised.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in adversarial.network.state_dict().items())
    assert torch.equal(adversarial.eval().predict(batch.target), supervised.eval().predict(batch.target))


@pytest.mark.parametrize("statistics", ["source", "target"])
def test_each_domain_has_statistics_of_its_own(statistics):
    found = method(statistics=statistics, begin=0.0, full=1e-6)
    batch = pair(found.window.smallest()[0])
    for _ in train(found, found.optimizers(), [batch] * 2, Schedule(steps=2, batch=2), Engine("cpu")):
        pass
    name = next(name for name, _ in found.network.named_buffers() if name.endswith("running_mean"))
    own, other = found.network.get_buffer(name), found.statistics.get_buffer(name.replace(".", "/"))
    assert not torch.equal(own, other)
    x = batch.target
    with torch.no_grad():
        plain = found.eval().network(x).softmax(1)
        assert torch.equal(found.predict(x), plain) == (statistics == "source")


def test_any_subset_of_layers_of_any_network():
    found = method(UNET, layers=("bottom", "up2"))
    assert found.discriminator is not None
    list(found.updates(pair(16), progress=0.9))
    with pytest.raises(UsageError, match="no layer '5'"):
        method(layers=("5",))


def test_shares_out_of_order_are_refused():
    with pytest.raises(UsageError, match="in order"):
        method(begin=0.9, full=0.5)


def test_a_patch_too_small_for_the_discriminator_is_known_beforehand():
    assert method(discriminator_depth=4).window.minimum > method(discriminator_depth=1).window.minimum
