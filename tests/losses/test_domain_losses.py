"""Losses of a discriminator of domains, by hand."""

import math

import pytest
import torch

from medgen.losses.domain import SOURCE, TARGET, domain_confusion, domain_cross_entropy

SURE = 3.0


def logits(*answers):
    """One voxel a patch: ``SURE`` of the domain named, or of neither."""
    made = torch.zeros(len(answers), 2, 1, 1, 1)
    for row, domain in zip(made, answers, strict=True):
        if domain is not None:
            row[domain] = SURE
    return made


RIGHT, WRONG = math.log1p(math.exp(-SURE)), math.log1p(math.exp(SURE))


@pytest.mark.parametrize("loss", [domain_cross_entropy, domain_confusion])
def test_a_discriminator_that_knows_nothing_loses_log_2(loss):
    found = loss(logits(None, None, None), 1)
    assert sum(found.values()).item() == pytest.approx(math.log(2))


def test_half_of_the_cross_entropy_is_of_each_domain_however_many_patches_it_has():
    found = domain_cross_entropy(logits(SOURCE, SOURCE, TARGET, SOURCE), 3)
    assert found["domain_source"].item() == pytest.approx(0.5 * (2 * RIGHT + WRONG) / 3)
    assert found["domain_target"].item() == pytest.approx(0.5 * WRONG)


def test_confusion_is_the_same_for_right_and_wrong():
    for answers in ((SOURCE, TARGET), (TARGET, SOURCE)):
        assert sum(domain_confusion(logits(*answers), 1).values()).item() == pytest.approx(0.5 * (RIGHT + WRONG))


def test_each_class_counts_alike_however_few_voxels_it_has():
    # Source: 8 voxels, one of the second class. Only the answer for that class is wrong, there and in the target.
    made = torch.zeros(2, 4, 2, 2, 2)
    made[0, SOURCE] = made[1, TARGET] = SURE
    made[0, 2 + TARGET] = made[1, 2 + SOURCE] = SURE
    share = torch.zeros(2, 2, 2, 2, 2)
    share[:, 0] = 1.0
    share[:, :, 0, 0, 0] = torch.tensor([0.0, 1.0])
    found = domain_cross_entropy(made, 1, share)
    assert found["domain_source"].item() == pytest.approx(0.5 * (RIGHT + WRONG) / 2)
    assert found["domain_target"].item() == pytest.approx(0.5 * (RIGHT + WRONG) / 2)


def test_a_class_that_is_hardly_there_hardly_counts():
    made = torch.zeros(2, 4, 2, 2, 2)
    made[0, 2 + TARGET] = 50.0
    share = torch.tensor([1 - 1e-4, 1e-4]).reshape(1, 2, 1, 1, 1).expand(2, 2, 2, 2, 2)
    found = domain_cross_entropy(made, 1, share)
    assert found["domain_source"].item() == pytest.approx(0.25 * math.log(2), abs=0.02)
