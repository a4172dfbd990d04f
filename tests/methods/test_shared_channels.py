"""Labels from the channels that both scanners have, and the network that learns from them."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create, resolve
from medgen.methods.shared_channels import preferred
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.training.engine import Engine
from medgen.training.loop import train

SIDE, SMALL = 16, {"network": "unet", "width": 0.25, "norm": "batch", "begin": 0.0, "learning_rate": 3e-3}


def method(**changes):
    torch.manual_seed(0)
    return create("shared_channels", {**SMALL, **changes}, Shape(2, 2))


def batch(seed=0, size=4, kind=Adaptation):
    """A lesion is bright in channel 0 of both domains; channel 1 shows it dark in the source, bright in the target."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(3, size, 3, generator=generator) * 8
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float32)] * 3, indexing="ij"))
    lesions = ((grid - 4 - places[..., None, None, None]).square().sum(2) < 9)[:, :, None].float()
    noise = 0.1 * torch.randn(3, size, 2, SIDE, SIDE, SIDE, generator=generator)
    signs = torch.tensor([-2.0, 2.0, -2.0]).reshape(3, 1, 1, 1, 1, 1)
    first = torch.cat([lesions, signs * lesions], 2) + noise
    ones = torch.ones(size, 1, SIDE, SIDE, SIDE)
    both = Adaptation(first[0], lesions[0].long(), ones, first[1], ones)
    return both if kind is Adaptation else MatchedAdaptation(*both, first[2], ones)


def fitted(steps=40, **changes):
    found = method(**changes)
    kind = type(found).batches(found.config)
    batches = [batch(seed, size=2 * found.draws, kind=kind) for seed in range(steps)]
    list(train(found, found.optimizers(), batches, Schedule(steps=steps, batch=2), Engine("cpu"), seed=1))
    return found.eval()


def dice_on_target(found):
    """Of the second channel alone: the first one, which both domains share, is emptied."""
    held_out = batch(999)
    image = held_out.target.clone()
    image[:, 0] = 0
    truth = (held_out.target[:, 1:] > 1).float()
    with torch.no_grad():
        wanted = (found.predict(image)[:, 1:] > 0.5).float()
    return (2 * (wanted * truth).sum() / (wanted.sum() + truth.sum())).item()


def test_it_learns_what_the_shifted_channel_shows_on_the_target():
    assert dice_on_target(fitted(predict_with="all_channels")) > 0.5
    assert dice_on_target(fitted(predict_with="all_channels", images="source")) < 0.2  # dark there, bright here


def test_only_the_target_and_its_labels_reach_the_network_with_all_channels():
    found, given = method(norm="instance"), batch()
    first, second = found.updates(given, 0.5)
    assert (first.optimizer, second.optimizer) == ("segmenter", "second")
    parameters = list(found.second.parameters())
    gradients = torch.autograd.grad(sum(first.losses.values()), parameters, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    same, _ = found.updates(given._replace(source=given.source + 5, label=1 - given.label), 0.5)
    other, _ = found.updates(given._replace(target=given.target + 5), 0.5)
    losses = [sum(update.losses.values()) for update in (first, same, other)]
    assert losses[0] == losses[1] != losses[2]


def test_the_network_that_labels_does_not_see_the_shifted_channel():
    found, given = method(), batch()
    brighter = given.target.clone()
    brighter[:, 1] += 5
    labels = [found._labelled(given._replace(target=each), 4, together=False)[1] for each in (given.target, brighter)]
    assert torch.equal(*labels)


def test_before_its_beginning_no_target_image_is_looked_at():
    found = method(begin=0.5)
    broken = batch()._replace(target=torch.full((4, 2, SIDE, SIDE, SIDE), float("nan")))
    assert [update.optimizer for update in found.updates(broken, 0.4)] == ["segmenter", "second"]
    assert all(torch.isfinite(loss) for update in found.updates(broken, 0.4) for loss in update.losses.values())
    assert [update.optimizer for update in method(begin=0.5, first="nothing").updates(broken, 0.4)] == ["second"]
    assert found.target_begins == 0.5
    assert method(begin=0.5, images="source").target_begins == 1.0


def test_from_together_on_the_mean_of_both_labels(monkeypatch):
    found, given = method(together=0.5), batch()

    def sure(network, image):
        """0.6 of background without the channel, 0.9 of a lesion with it."""
        share = 0.4 if network is found.second else 0.9
        return torch.cat([torch.full_like(image[:, :1], 1 - share), torch.full_like(image[:, :1], share)], 1)

    monkeypatch.setattr("medgen.methods.shared_channels.detached_probabilities", sure)
    labels = {together: found._labelled(given, 2, together=together)[1] for together in (False, True)}
    assert labels[False].sum() == 0
    assert labels[True].all()


@pytest.mark.parametrize(
    ("lesion", "expected"),
    [
        ([False, False, True, False, True, True], [2, 4, 0, 1]),
        ([False] * 6, [0, 1, 2, 3]),
        ([True, False, False, False, False, False], [0, 1, 2, 3]),
        ([True] * 6, [0, 1, 2, 3]),
    ],
)
def test_patches_with_a_lesion_are_preferred_up_to_their_share(lesion, expected):
    assert preferred(torch.tensor(lesion), 4, 0.5).tolist() == expected


def test_control_learns_from_unlabelled_patches_of_the_source():
    config = method(images="source").config
    assert resolve("shared_channels").batches(config) is MatchedAdaptation
    found = method(images="source")
    given = batch(kind=MatchedAdaptation)
    broken = given._replace(target=torch.full_like(given.target, float("nan")))
    assert all(torch.isfinite(loss) for update in found.updates(broken, 0.5) for loss in update.losses.values())


def test_predictions_are_of_one_network_or_of_both():
    image = batch().target
    with torch.no_grad():
        found = {name: method(predict_with=name).eval().predict(image) for name in
                 ("both", "all_channels", "shared_channels")}  # fmt: skip
    assert torch.allclose(found["both"], (found["all_channels"] + found["shared_channels"]) / 2)
    assert not torch.allclose(found["all_channels"], found["shared_channels"])


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="one view lacks the channels 2 of 2"):
        method(hidden=(2,))
