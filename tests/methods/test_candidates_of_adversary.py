"""A discriminator of domains that sees lesion candidates of a network without the shifted channel, and nothing else."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods._domains import Outputs
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.training.engine import Engine
from medgen.training.loop import train
from medgen.training.model_folder import exported_state

SMALL = {
    "network": "unet", "width": 0.25, "norm": "batch", "discriminator_width": 4, "discriminator_depth": 2,
    "begin": 0.0, "full": 1e-6, "adversarial_weight": 0.5,
}  # fmt: skip
SIDE, GRID = 32, 8
"""Of a patch, and of the coarsest feature maps, to which all are brought."""
VARIANTS = [
    {},
    {"discriminator_norm": "spectral"},
    {"discriminator_input_norm": True, "objective": "confusion"},
    {"conditional": True, "discriminator_penalty": 1.0, "discriminator_padding": "valid"},
]


def method(candidates=0.5, inputs=2, **changes):
    torch.manual_seed(0)
    settings = {**SMALL, **({} if candidates is None else {"candidates": candidates}), **changes}
    return create("domain_adversarial", settings, Shape(inputs, 2))


def batch(kind=Adaptation, size=2):
    generator = torch.Generator().manual_seed(1)
    source, target, matched = (torch.randn(size, 2, SIDE, SIDE, SIDE, generator=generator) for _ in range(3))
    ones = torch.ones(size, 1, SIDE, SIDE, SIDE)
    both = Adaptation(source, (source[:, :1] > 0).long(), ones, target + 1, ones)
    return both if kind is Adaptation else MatchedAdaptation(*both, matched, ones)


def losses(found, given):
    """By optimiser, without steps between the updates."""
    return {update.optimizer: update.losses for update in found.updates(given, 0.5)}


def outputs(found, seen):
    """Random maps and logits of two patches of each domain, on one grid, and where the candidates are."""
    generator = torch.Generator().manual_seed(2)
    channels = sum(found.network.widths[name] for name in found.adversary.layers)
    maps = torch.randn(4, channels, GRID, GRID, GRID, generator=generator)
    logits = torch.randn(4, 2, GRID, GRID, GRID, generator=generator)
    return Outputs(logits[:2], logits[2:], maps[:2], maps[2:], logits[:2], seen)


def judged(found, given):
    """Losses of the discriminator, and what the adversary adds to those of the segmenter."""
    steps = [update.losses for update in found.adversary.steps(given)]
    return [*steps, found.adversary.adversarial_loss(given, 0.5)]


def some_candidates():
    seen = torch.rand(4, 1, GRID, GRID, GRID, generator=torch.Generator().manual_seed(3)) > 0.7
    seen[:, :, 3:5, 3:5, 3:5] = True
    return seen


@pytest.mark.parametrize("changes", VARIANTS)
def test_where_every_voxel_is_a_candidate_the_losses_are_the_published_ones(changes):
    published, all_of_them = method(None, **changes), method(1e-9, **changes)
    before, after = losses(published, batch()), losses(all_of_them, batch())
    assert after.keys() - before.keys() == {"second"}
    for name, found in before.items():
        assert found.keys() == after[name].keys()
        for key, loss in found.items():
            assert after[name][key].item() == pytest.approx(loss.item(), rel=1e-3, abs=1e-6)


def test_by_default_there_is_no_second_network_and_nothing_more_is_drawn():
    published = method(None)
    drawn = torch.rand(1)
    assert {name.partition(".")[0] for name in published.state_dict()} == {"network", "discriminator"}
    assert set(published.optimizers()) == {"discriminator", "segmenter"}
    torch.manual_seed(0)
    create("domain_adversarial", {**SMALL, "candidates": None, "hidden": [0]}, Shape(2, 2))
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("changes", VARIANTS)
def test_voxels_that_are_no_candidates_have_no_say(changes):
    seen, results = some_candidates(), []
    for shift in (0, 7):
        found = method(**changes).train()  # each time a new one: spectral normalisation changes as it is used
        given = outputs(found, seen)
        first, second = (each * ~part * 1.0 for each, part in zip((shift, shift), seen.split(2), strict=True))
        moved = Outputs(
            given.source + first, given.target + second, given.source_maps + first, given.target_maps + second,
            given.matched + first * torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1, 1), seen,
        )  # fmt: skip
        weights = list(found.discriminator.parameters())
        for each in judged(found, moved):
            assert all(loss.item() for loss in each.values())
            gradients = torch.autograd.grad(sum(each.values()), weights, retain_graph=True)
            assert any(gradient.any() for gradient in gradients)
            results.append([*each.values(), *gradients])
    half = len(results) // 2
    for one, other in zip(results[:half], results[half:], strict=True):
        assert all(torch.equal(*both) for both in zip(one, other, strict=True))


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_segmenters_maps_get_a_gradient_at_candidates_alone(changes):
    found, seen = method(**changes).train(), some_candidates()
    given = outputs(found, seen)
    given = given._replace(
        source_maps=given.source_maps.requires_grad_(), target_maps=given.target_maps.requires_grad_()
    )
    loss = sum(found.adversary.adversarial_loss(given, 0.5).values())
    gradients = torch.autograd.grad(loss, [given.source_maps, given.target_maps])
    for gradient, where in zip(gradients, seen.split(2), strict=True):
        assert not gradient.masked_fill(where, 0).any()
        assert gradient.any()


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("empty", ["source", "target", "both", "all but one voxel"])
def test_without_candidates_in_one_domain_there_is_no_loss(changes, empty):
    found, seen = method(**changes).train(), some_candidates()
    where = {"source": slice(2), "target": slice(2, None)}.get(empty, slice(None))
    seen[where] = False
    seen[0, 0, 4, 4, 4] |= empty == "all but one voxel"
    weights = list(found.discriminator.parameters())
    for each in judged(found, outputs(found, seen)):
        assert all(loss.item() == 0 for loss in each.values())
        assert not any(gradient.any() for gradient in torch.autograd.grad(sum(each.values()), weights))


def test_a_voxel_of_coarse_maps_is_seen_if_it_holds_a_candidate():
    fine = torch.zeros(4, 1, SIDE, SIDE, SIDE, dtype=torch.bool)
    fine[:, :, 5, 9, 30] = True
    coarse = torch.zeros(4, 1, GRID, GRID, GRID, dtype=torch.bool)
    coarse[:, :, 1, 2, 7] = True
    values = []
    for seen in (fine, coarse):
        found = method().train()
        values.append(
            [{key: loss.item() for key, loss in each.items()} for each in judged(found, outputs(found, seen))]
        )
    assert values[0] == values[1]
    assert all(loss for each in values[0] for loss in each.values())


def test_one_rule_without_labels_finds_the_candidates_of_both_domains():
    found, given = method(), batch()
    reference = found._candidates(given.source)
    assert reference.any()
    assert not reference.all()
    shifted, shared = given.source.clone(), given.source.clone()
    shifted[:, 1] += 5
    shared[:, 0] += 5
    assert torch.equal(found._candidates(shifted), reference)
    assert not torch.equal(found._candidates(shared), reference)
    assert found._candidates(given.source).sum() >= method(0.6)._candidates(given.source).sum()
    assert torch.equal(method(hidden=[0])._candidates(shared), method(hidden=[0])._candidates(given.source))
    outputs = found.statistics.forward_both(found.network, given.source, given.source)
    assert outputs.candidates is None  # a method that does not ask for candidates sees everything


@pytest.mark.parametrize("kind", [Adaptation, MatchedAdaptation])
def test_the_candidates_are_those_of_the_patches_that_are_judged(kind, monkeypatch):
    found, given = method(matched=kind is MatchedAdaptation), batch(kind)
    asked = []
    monkeypatch.setattr(type(found), "_candidates", lambda self, image: asked.append(image))
    losses(found, given)
    assert torch.equal(asked[0][:2], given.matched if kind is MatchedAdaptation else given.source)
    assert torch.equal(asked[0][2:], given.target)


def test_the_second_network_learns_the_labels_of_the_source_by_itself():
    found, given = method(norm="instance", discriminator_begin=0.0), batch()
    first, *_, last = found.updates(given, 0.5)
    assert (first.optimizer, last.optimizer) == ("second", "segmenter")
    second, network = list(found.second.parameters()), list(found.network.parameters())
    for loss, others in ((first.losses, network), (last.losses, second)):
        gradients = torch.autograd.grad(sum(loss.values()), others, allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in gradients)
    other, *_ = found.updates(given._replace(target=given.target + 5), 0.5)
    assert sum(other.losses.values()) == sum(first.losses.values())
    late = method(discriminator_begin=0.5, begin=0.5, full=0.6)
    assert [update.optimizer for update in late.updates(given, 0.1)] == ["second", "segmenter"]


def test_the_second_network_neither_predicts_nor_is_exported():
    found, given = method().eval(), batch()
    assert {name.partition(".")[0] for name in exported_state(found)} == {"network"}
    with torch.no_grad():
        before = found.predict(given.target)
        for parameter in found.second.parameters():
            parameter.zero_()
        assert torch.equal(found.predict(given.target), before)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_monitor_hears_nothing_of_other_voxels(conditional):
    found, given = method(conditional=conditional).eval(), batch()
    candidates = torch.zeros(2, 1, SIDE, SIDE, SIDE, dtype=torch.bool)
    candidates[:, :, :8, :8, :8] = True
    found._candidates = lambda image: candidates
    with torch.no_grad():
        found.discriminator.body[-1].bias += 0.1  # a trained one has an answer to nothing, too
        logits = found.domain_logits(given.target, of_target=True)
    assert logits[:, :, :2, :2, :2].isfinite().all()
    assert logits.isnan().sum() == logits.numel() - logits[:, :, :2, :2, :2].numel()


FROZEN = {"matched": True, "statistics": "frozen", "discriminator_begin": 0.4, "begin": 0.4, "full": 0.5}


@pytest.mark.parametrize("changes", [*VARIANTS, FROZEN, {"statistics": "target"}])
def test_it_trains_in_the_one_loop(changes):
    found = method(**changes)
    owned = {id(p) for each in found.optimizers().values() for group in each.param_groups for p in group["params"]}
    assert owned == set(map(id, found.parameters()))
    parts = {name: [each.clone() for each in getattr(found, name).parameters()] for name in ("network", "second")}
    batches = [batch(type(found).batches(found.config))] * 2
    list(train(found, found.optimizers(), batches, Schedule(steps=2, batch=2), Engine("cpu")))
    for name, before in parts.items():
        assert any(not torch.equal(*both) for both in zip(before, getattr(found, name).parameters(), strict=True))


def test_a_network_without_channels_is_refused_only_where_it_is_wanted():
    assert method(None, inputs=1) is not None
    with pytest.raises(UsageError, match="one view lacks"):
        method(inputs=1)
