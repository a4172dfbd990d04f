"""Both parts are there, in the right order, and each starts when it is told to."""

import pytest
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.sampling.batches import Adaptation

SMALL = {"network": "unet", "width": 0.25, "discriminator_width": 4, "discriminator_depth": 1}
TERMS = {"cross_entropy", "dice"}
ADVERSE = {"domain_source", "domain_target"}


def method(**settings):
    torch.manual_seed(0)
    return create("adversarial_mean_teacher", {**SMALL, **settings}, Shape(1, 2))


def batch():
    source, target = (torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    ones = torch.ones_like(source)
    return Adaptation(source, (source > 0).long(), ones, target, ones)


@pytest.mark.parametrize(
    ("progress", "steps"),
    [
        (0.1, [("segmenter", TERMS)]),
        (0.3, [("segmenter", TERMS | {"consistency"})]),
        (0.5, [("discriminator", ADVERSE), ("segmenter", TERMS | {"consistency"})]),
        (0.9, [("discriminator", ADVERSE), ("segmenter", TERMS | ADVERSE | {"consistency"})]),
    ],
)
def test_each_part_begins_at_its_time(progress, steps):
    both = method(consistency_begin=0.2, consistency_full=0.3, discriminator_begin=0.4, begin=0.6, full=0.8)
    assert [(update.optimizer, set(update.losses)) for update in both.updates(batch(), progress)] == steps


def test_the_segmenter_works_against_the_adversary():
    both = method(adversarial_weight=0.5, full=0.5, begin=0.0)
    discriminator, segmenter = both.updates(batch(), progress=0.9)
    for name in ADVERSE:  # no optimiser has stepped in between: the same value with the opposite sign
        assert segmenter.losses[name].item() == pytest.approx(-0.5 * discriminator.losses[name].item(), rel=1e-4)


def test_patches_of_both_domains_are_perturbed():
    both = method(perturbation={"channel_dropout": {0: 1.0}})
    seen = []
    both.network.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    features, both.network.features = both.network.features, lambda x, layers: seen.append(x) or features(x, layers)
    list(both.updates(batch(), progress=0.9))
    joint = next(x for x in seen if len(x) == 4)
    assert not joint.any()  # every channel of the two source and the two target patches is dropped


def test_domain_logits_are_those_of_training():
    both = method()
    logits = both.domain_logits(batch().target, of_target=True)
    assert logits.shape[:2] == (2, 2)
    assert torch.isfinite(logits).all()
