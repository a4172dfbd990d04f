"""What gives the adversary of Kamnitsas et al. 2017 a fair chance: patches, statistics, objective, discriminator."""

import math

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods._domains import frozen_statistics
from medgen.methods.base import Shape
from medgen.methods.catalogue import create, resolve
from medgen.networks.shadow_weights import statistics_of
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.training.engine import Engine
from medgen.training.loop import train

SMALL = {
    "network": "deepmedic", "preset": "small", "width": 0.25, "optimizer": "adam", "discriminator_width": 4,
    "discriminator_depth": 1, "discriminator_padding": "same", "begin": 0.0, "full": 1e-6,
}  # fmt: skip
UNET = {**SMALL, "network": "unet", "preset": "tuned", "norm": "batch"}


def method(name="domain_adversarial", settings=SMALL, **changes):
    torch.manual_seed(0)
    return create(name, {**settings, **changes}, Shape(2, 2))


def batch(side=None, kind=Adaptation, size=2):
    """Lesions in a corner of the source, and a target that is brighter."""
    side = side or method().window.smallest()[0]
    generator = torch.Generator().manual_seed(1)
    source, target, matched = (torch.randn(size, 2, side, side, side, generator=generator) for _ in range(3))
    ones = torch.ones(size, 1, side, side, side)
    both = Adaptation(source, (source[:, :1] > 0).long(), ones, target + 1, ones)
    return both if kind is Adaptation else MatchedAdaptation(*both, matched, ones)


def warm(found):
    """With running statistics of some images, as a trained network has them."""
    with torch.no_grad():
        found.network.train()(batch().source)
    return found


def losses(found, given, progress=0.5):
    """By update, without steps between them."""
    return [(update.optimizer, update.losses) for update in found.updates(given, progress)]


@pytest.mark.parametrize("name", ["domain_adversarial", "adversarial_mean_teacher"])
def test_the_discriminator_sees_the_matched_patches_in_place_of_the_labelled_ones(name):
    found = method(name, matched=True)
    assert resolve(name).batches(found.config) is MatchedAdaptation
    assert resolve(name).batches(method(name).config) is Adaptation
    given = batch(kind=MatchedAdaptation)
    given = given._replace(source=given.source.requires_grad_(), matched=given.matched.requires_grad_())
    *_, update = found.updates(given, progress=0.9)
    (matched,) = torch.autograd.grad(update.losses["domain_source"], given.matched, retain_graph=True)
    assert matched.abs().sum() > 0
    (labelled,) = torch.autograd.grad(update.losses["cross_entropy"], given.source, retain_graph=True)
    assert labelled.abs().sum() > 0


def test_without_statistics_in_common_the_domain_loss_does_not_depend_on_labelled_patches():
    found = warm(method(matched=True, statistics="frozen", dropout=0.0))
    given = batch(kind=MatchedAdaptation)
    moved = given._replace(source=given.source + 3)
    first, second = (losses(found, each)[0][1]["domain_source"] for each in (given, moved))
    assert first == second
    assert losses(found, given._replace(matched=given.matched + 3))[0][1]["domain_source"] != first


def test_frozen_statistics_are_those_of_prediction_and_stay():
    found = method(statistics="frozen", discriminator_begin=0.5, begin=0.5, full=0.6, dropout=0.0).train()
    given = batch()
    names = statistics_of(found.network)
    values = lambda: [found.network.get_buffer(name).clone() for name in names]  # noqa: E731
    start = values()
    list(found.updates(given, progress=0.1))
    warm = values()
    assert any(not torch.equal(one, other) for one, other in zip(start, warm, strict=True))
    outputs = found.statistics.forward_both(found.network, given.source, given.target)
    list(found.updates(given, progress=0.9))
    assert all(torch.equal(one, other) for one, other in zip(warm, values(), strict=True))
    with torch.no_grad():
        predicted = [found.eval().predict(image) for image in (given.source, given.target)]
    for logits, probability in zip((outputs.source, outputs.target), predicted, strict=True):
        assert torch.allclose(logits.softmax(1), probability, atol=1e-5)


def test_frozen_statistics_of_a_network_that_has_seen_nothing_are_refused():
    with pytest.raises(UsageError, match="has seen no image"):
        list(method(statistics="frozen", discriminator_begin=0.0, begin=0.0).updates(batch(), progress=0.5))


def test_frozen_layers_go_back_to_training_and_dropout_is_left_alone():
    network = warm(method(dropout=0.5)).network.train()
    before = {name: module.training for name, module in network.named_modules()}
    with frozen_statistics(network):
        assert sum(not module.training for module in network.modules()) == len(statistics_of(network)) // 3
    assert {name: module.training for name, module in network.named_modules()} == before


def test_frozen_statistics_are_no_reason_to_begin_before_alpha_rises():
    begins = {
        kind: method(statistics=kind, discriminator_begin=0.2, begin=0.4, full=1.0) for kind in ("frozen", "shared")
    }
    assert {kind: each.target_begins for kind, each in begins.items()} == {"frozen": 0.4, "shared": 0.2}


def test_as_many_steps_of_the_discriminator_as_asked_for_each_against_the_last():
    found = method(discriminator_steps=3)
    updates = found.updates(batch(), progress=0.5)
    seen = []
    for update in updates:
        seen.append((update.optimizer, sum(update.losses.values()).item()))
        if update.optimizer == "discriminator":
            with torch.no_grad():
                for parameter in found.discriminator.parameters():
                    parameter.mul_(0.5)
    assert [name for name, _ in seen] == ["discriminator"] * 3 + ["segmenter"]
    assert len({value for _, value in seen[:3]}) == 3


def test_confusion_is_least_where_the_discriminator_knows_nothing():
    found = method(objective="confusion", adversarial_weight=0.5)
    with torch.no_grad():
        for parameter in found.discriminator.parameters():
            parameter.zero_()
    (_, losses_of_segmenter) = losses(found, batch())[-1]
    assert losses_of_segmenter["domain_source"].item() == pytest.approx(0.5 * 0.5 * math.log(2), rel=1e-4)
    assert losses_of_segmenter["domain_target"].item() == pytest.approx(0.5 * 0.5 * math.log(2), rel=1e-4)
    least = 0.5 * 0.5 * math.log(2)
    with torch.no_grad():
        found.discriminator.body[-1].bias[0] += 2.0  # sure of the same domain everywhere, and so wrong about one
    surer = losses(found, batch())[-1][1]
    assert surer["domain_source"] > 1.5 * least
    assert surer["domain_target"] > 1.5 * least


@pytest.mark.parametrize("settings", [SMALL, UNET], ids=["deepmedic", "unet"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_conditional_discriminator_weighs_each_class_alike(settings, padding):
    found = method(settings=settings, conditional=True, discriminator_padding=padding)
    side = found.window.smallest()[0] + 6  # voxels enough for both classes
    given = batch(side + (-side) % found.window.multiple)
    steps = losses(found, given)
    assert all(torch.isfinite(loss) for _, each in steps for loss in each.values())
    with torch.no_grad():
        assert found.eval().domain_logits(given.target, of_target=True).shape[1] == 2
    last = found.discriminator.body[-1]
    with torch.no_grad():  # sure of "target" for the first class, of nothing for the second
        last.weight.zero_()
        last.bias.copy_(torch.tensor([10.0, 0.0, 0.0, 0.0]))
    moved = losses(found.train(), given)[0][1]
    assert moved["domain_source"].item() == pytest.approx((10 + math.log(2)) / 4, rel=1e-3)
    assert moved["domain_target"].item() == pytest.approx(math.log(2) / 4, rel=1e-3)


def test_spectral_discriminator_has_neither_batch_norm_nor_steep_weights():
    found = method(discriminator_norm="spectral")
    assert not statistics_of(found.discriminator)
    matrices = [m.weight.flatten(1) for m in found.discriminator.modules() if isinstance(m, torch.nn.Conv3d)]
    assert all(torch.linalg.matrix_norm(m, 2).item() == pytest.approx(1.0, abs=0.2) for m in matrices)


def test_the_slope_penalty_is_a_loss_of_the_discriminator_alone():
    found = method(discriminator_penalty=2.0)
    (_, of_discriminator), (_, of_segmenter) = losses(found, batch())
    assert of_discriminator["slope"] > 0
    assert "slope" not in of_segmenter
    twice = method(discriminator_penalty=4.0)
    assert losses(twice, batch())[0][1]["slope"].item() == pytest.approx(2 * of_discriminator["slope"].item(), rel=1e-3)


def test_normalised_maps_do_not_tell_their_scale():
    found = method(discriminator_input_norm=True)
    maps = torch.randn(2, sum(found.network.widths.values()), 5, 5, 5)
    found.discriminator.train()
    assert torch.allclose(found.discriminator(maps), found.discriminator(1000 * maps), atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"matched": True, "statistics": "frozen", "objective": "confusion", "conditional": True},
        {"discriminator_norm": "spectral", "discriminator_penalty": 1.0, "discriminator_input_norm": True},
        {"discriminator_steps": 2, "statistics": "source", "matched": True},
        {"statistics": "target", "matched": True, "conditional": True},
    ],
)
def test_all_of_it_trains_in_the_one_loop(changes):
    found = warm(method(**changes))
    given = batch(kind=type(found).batches(found.config))
    before = [parameter.clone() for parameter in found.network.parameters()]
    for _ in train(found, found.optimizers(), [given] * 2, Schedule(steps=2, batch=2), Engine("cpu")):
        pass
    assert any(not torch.equal(old, new) for old, new in zip(before, found.network.parameters(), strict=True))
