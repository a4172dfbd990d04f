"""Until the share of the training that a method names, no target image changes the model; after it they do."""

import pytest
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create, method_names, resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.training.engine import Engine
from medgen.training.loop import train

STEPS = 10
BEGINS = {
    "begin": 0.5,
    "teach": 0.6,
    "full": 1.0,
    "discriminator_begin": 0.2,
    "consistency_begin": 0.4,
    "consistency_full": 1.0,
    "entropy_begin": 0.5,
    "entropy_full": 1.0,
    "entropy_weight": 1.0,
    "discriminator_width": 4,
    "discriminator_depth": 1,
    "discriminator_padding": "same",
}
ADAPTING = [name for name in method_names() if resolve(name).adapts()]
NETWORKS = [("instance", "shared"), ("batch", "shared"), ("batch", "source"), ("batch", "target")]


def built(name, norm, statistics, **changes):
    """A method with the settings of :data:`BEGINS` that it has."""
    known = resolve(name).config_class.model_fields
    wanted = {**BEGINS, "statistics": statistics, "network": "unet", "width": 0.25, "norm": norm, "learning_rate": 0.01}
    wanted |= changes
    torch.manual_seed(0)
    return create(name, {key: value for key, value in wanted.items() if key in known}, Shape(2, 2))


def before_and_after(method, target_seed):
    """What it predicts of a source patch when the target begins, and at the end of :data:`STEPS` steps."""
    steps, predictions = {round(method.target_begins * STEPS), STEPS}, []
    assert len(steps) == 2
    assert 0 not in steps
    batches = [batch(seed, target_seed, type(method).batches(method.config)) for seed in range(STEPS)]
    training = train(method, method.optimizers(), batches, Schedule(steps=STEPS, batch=2), Engine("cpu"), seed=3)
    for done, _ in enumerate(training, start=1):
        if done in steps:
            with torch.no_grad():
                predictions.append(method.eval().predict(batches[0].source))
            method.train()
    return predictions


def batch(seed, target_seed, kind):
    source = torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    target = torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(100 * target_seed + seed))
    ones = torch.ones(2, 1, 16, 16, 16)
    given = Adaptation(source, (source[:, :1] > 0).long(), ones, 2 * target + 1, ones)
    return MatchedAdaptation(*given, source, ones) if kind is MatchedAdaptation else given


@pytest.mark.parametrize(("norm", "statistics"), NETWORKS)
@pytest.mark.parametrize("name", ADAPTING)
def test_the_target_has_its_say_when_the_method_says(name, norm, statistics):
    if name == "adabn" and (norm, statistics) != ("batch", "target"):
        pytest.skip("AdaBN has one form")
    if name == "co_training" and norm == "batch":
        pytest.skip("co-training refuses batch normalisation")
    before, after = zip(*(before_and_after(built(name, norm, statistics), seed) for seed in (1, 2)), strict=True)
    assert torch.equal(*before)
    assert not torch.equal(*after)


@pytest.mark.parametrize(("norm", "statistics"), [*NETWORKS, ("batch", "frozen")])
def test_the_search_for_candidates_lets_no_target_image_in_before(norm, statistics):
    asked = {"candidates": 0.3, "discriminator_begin": 0.3, "begin": 0.3}
    first, second = (built("domain_adversarial", norm, statistics, **asked) for _ in range(2))
    assert first.target_begins == 0.3
    before, after = zip(*(before_and_after(*each) for each in ((first, 1), (second, 2))), strict=True)
    assert torch.equal(*before)
    assert not torch.equal(*after)


def test_the_published_adversary_mixes_the_statistics_of_both_domains_from_its_first_step():
    published = {"discriminator_width": 4, "discriminator_padding": "same", "network": "unet", "width": 0.25}
    late = 10 / 35
    begins_of = {
        ("batch", "shared"): 0,
        ("batch", "target"): 0,
        ("batch", "source"): late,
        ("instance", "shared"): late,
    }
    for (norm, statistics), begins in begins_of.items():
        config = {**published, "norm": norm, "statistics": statistics}
        assert create("domain_adversarial", config, Shape(2, 2)).target_begins == begins
    assert create("domain_adversarial", {**published, "adversarial_weight": 0}, Shape(2, 2)).target_begins == 1
