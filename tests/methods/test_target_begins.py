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


def trained(name, norm, statistics, target_seed, steps, **changes):
    """The prediction of a method after some of :data:`STEPS` steps, and when it says that the target begins."""
    known = resolve(name).config_class.model_fields
    wanted = {**BEGINS, "statistics": statistics, "network": "unet", "width": 0.25, "norm": norm, "learning_rate": 0.01}
    wanted |= changes
    torch.manual_seed(0)
    method = create(name, {key: value for key, value in wanted.items() if key in known}, Shape(2, 2))
    schedule = Schedule(steps=STEPS, batch=2)
    # As many steps as are wanted: the training ends with its batches, and its progress counts to STEPS.
    batches = [batch(seed, target_seed, type(method).batches(method.config)) for seed in range(STEPS)]
    for done, _ in enumerate(train(method, method.optimizers(), batches, schedule, Engine("cpu"), seed=3), start=1):
        if done == steps:
            break
    with torch.no_grad():
        return method.eval().predict(batches[0].source), method.target_begins


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
    _, begins = trained(name, norm, statistics, 1, 1)
    before = round(begins * STEPS)
    assert 0 < before < STEPS
    assert torch.equal(*(trained(name, norm, statistics, seed, before)[0] for seed in (1, 2)))
    assert not torch.equal(*(trained(name, norm, statistics, seed, STEPS)[0] for seed in (1, 2)))


@pytest.mark.parametrize(("norm", "statistics"), [*NETWORKS, ("batch", "frozen")])
def test_the_search_for_candidates_lets_no_target_image_in_before(norm, statistics):
    asked = {"candidates": 0.3, "discriminator_begin": 0.3, "begin": 0.3}
    _, begins = trained("domain_adversarial", norm, statistics, 1, 1, **asked)
    assert begins == 0.3
    for steps, alike in ((round(begins * STEPS), True), (STEPS, False)):
        first, second = (trained("domain_adversarial", norm, statistics, seed, steps, **asked)[0] for seed in (1, 2))
        assert torch.equal(first, second) == alike


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
