"""One network proposes by the shared channels, the other one confirms by the shifted channel."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.methods.confirmed_candidates import REACH, averaged
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import MatchedAdaptation
from medgen.training.engine import Engine
from medgen.training.loop import train
from medgen.training.transfer import take

SIDE, SMALL = 16, {"network": "unet", "width": 0.25, "norm": "batch", "learning_rate": 3e-3}


def method(**changes):
    torch.manual_seed(0)
    return create("confirmed_candidates", {**SMALL, **changes}, Shape(2, 2))


def balls(size, generator):
    places = 3 + torch.rand(size, 3, generator=generator) * 9
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float32)] * 3, indexing="ij"))
    return ((grid - places[..., None, None, None]).square().sum(1) < 9)[:, None].float()


def images(size, generator, artefact):
    """Bright in channel 0: the lesion, and what looks like it. Dark in channel 1: the lesion, artefacts elsewhere."""
    lesion, other = balls(size, generator), balls(size, generator)
    other = other * (1 - lesion)
    noise = 0.2 * torch.randn(size, 2, SIDE, SIDE, SIDE, generator=generator)
    dark = artefact * balls(size, generator) * (1 - other)
    return torch.cat([torch.maximum(lesion, other), -2 * torch.maximum(lesion, dark)], 1) + noise, lesion, other


def batch(seed=0, size=4):
    generator = torch.Generator().manual_seed(seed)
    source, lesion, _ = images(size, generator, 0)
    ones = torch.ones(size, 1, SIDE, SIDE, SIDE)
    target, matched = images(size, generator, 1)[0], images(size, generator, 0)[0]
    return MatchedAdaptation(source, lesion.long(), ones, target, ones, matched, ones)


def fitted(steps=100, **changes):
    found = method(**changes)
    batches = [batch(seed) for seed in range(steps)]
    list(train(found, found.optimizers(), batches, Schedule(steps=steps, batch=4), Engine("cpu"), seed=1))
    return found.eval()


def test_artefacts_are_no_candidates_and_what_only_looks_like_a_lesion_is_not_confirmed():
    found = fitted()
    image, lesion, other = images(8, torch.Generator().manual_seed(999), 1)
    with torch.no_grad():
        predicted = found.predict(image)[:, 1:] > 0.5
    assert 2 * (predicted * lesion).sum() / (predicted.sum() + lesion.sum()) > 0.7
    assert (predicted * other).sum() < 0.3 * other.sum()


class Fixed(torch.nn.Module):
    """A network that gives the same logits whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, _image):
        return self.logits


def test_only_labels_at_candidates_reach_the_network_that_confirms():
    found, given = method(begin=0.0), batch()
    there = torch.zeros(4, 1, SIDE, SIDE, SIDE)
    there[:, :, 4:8, 4:8, 4:8] = 1
    proposed = torch.cat([1 - 0.9 * there, 0.9 * there], 1)
    found.second = Fixed(proposed.clamp_min(1e-6).log())
    near = torch.nn.functional.max_pool3d(there, 3, stride=1, padding=1)

    def loss(label):
        return list(found.updates(given._replace(label=label), 0.5))[1].losses["cross_entropy"]

    first = loss(given.label)
    assert loss(torch.where(near > 0, given.label, 1 - given.label)) == first
    assert loss(torch.where(near > 0, 1 - given.label, given.label)) != first


def test_each_network_sees_its_own_channels():
    found, image = method().eval(), batch().target
    answers = {"second": [], "network": []}
    for kind, heard in answers.items():
        getattr(found, kind).register_forward_hook(lambda _module, _given, answer, heard=heard: heard.append(answer))
    for channel, network in enumerate(answers):
        changed = image.clone()
        changed[:, channel] += 1
        with torch.no_grad():
            found.predict(image)
            found.predict(changed)
        differs = [kind for kind, heard in answers.items() if not torch.equal(*heard[-2:])]
        assert differs == [network]


def test_while_the_target_is_looked_at_nothing_learns():
    found = method(begin=0.1, calibrate=0.5, norm="instance")
    assert found.target_begins == 0.5
    with pytest.raises(UsageError, match="has learnt nothing"):
        list(found.updates(batch(), 0.5))
    assert len(list(found.updates(batch(), 0.4))) == 2
    assert not found.voxels.any()
    assert not list(found.updates(batch(), 0.5))
    assert found.voxels.all()
    never = method(begin=0.1, calibrate=1.0, norm="instance")
    assert never.target_begins == 1.0
    assert len(list(never.updates(batch(), 0.999))) == 2


def test_patches_that_are_not_finite_count_for_nothing():
    found, ones = method(norm="instance"), torch.ones(4, 1, SIDE, SIDE, SIDE)
    found._gather(1, batch().target, ones)
    before = found.evidence.clone()
    found._gather(1, torch.full_like(batch().target, float("nan")), ones)
    assert torch.equal(found.evidence, before)


def test_fewer_voxels_are_candidates_with_a_higher_threshold(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "medgen.methods.confirmed_candidates.balanced", lambda weight, _: asked.append(weight) or weight
    )
    for threshold in (0.01, 0.99):
        list(method(begin=0.0, threshold=threshold).updates(batch(), 0.5))
    assert asked[0].sum() > asked[1].sum()


def test_a_model_of_the_source_is_taken_to_a_new_scanner_in_a_few_steps():
    origin = fitted(40, calibrate=0.8)
    found = method(begin=0.0, calibrate=0.0)
    take(found, origin.state_dict())
    assert origin.voxels.all()
    assert not found.voxels.any()
    before = {name: each.clone() for name, each in found.named_parameters()}
    list(train(found, found.optimizers(), [batch(3)], Schedule(steps=1, batch=4), Engine("cpu"), seed=1))
    assert found.voxels.all()
    assert found._shift()[1] != 0
    assert all(torch.equal(each, before[name]) for name, each in found.named_parameters())


def test_evidence_of_the_target_is_moved_to_that_of_the_source():
    found = method()
    assert found._shift().tolist() == [0, 0]
    found.evidence[:] = torch.tensor([[0.0, 30.0], [0.0, -40.0]])
    found.voxels[:] = torch.tensor([[10.0], [20.0]])
    assert found._shift().tolist() == [0, 5]
    again = method()
    again.load_state_dict(found.state_dict())
    assert again._shift().tolist() == [0, 5]


def test_the_mean_over_a_candidate_by_hand():
    found, weight = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    found[0, 0, 8, 8, 8], weight[0, 0, 8, 8, 8:10] = 1, torch.tensor([1.0, 0.5])
    mean = averaged(found, weight)[0, 0]
    assert mean[8, 8, 8].item() == pytest.approx(2 / 3, abs=0.03)
    assert mean[8, 8, 8 + REACH].item() == pytest.approx(2 / 3, abs=0.03)
    assert mean[8, 8, 8 + REACH + 1].item() == pytest.approx(0, abs=1e-3)


def test_a_tile_of_deepmedic_has_the_values_of_the_volume():
    found = method(network="deepmedic", preset="small", width=0.25).eval()
    image = torch.randn(1, 2, 76, 73, 73)
    margin = found.window.margin
    assert margin == found.network.margin + REACH
    with torch.no_grad():
        whole, part = found.predict(image), found.predict(image[:, :, :73])
    assert whole.shape[2:] == tuple(side - 2 * margin for side in (76, 73, 73))
    assert torch.allclose(whole[:, :, : 73 - 2 * margin], part, atol=1e-5)


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="one view lacks the channels 2 of 2"):
        method(hidden=(2,))
