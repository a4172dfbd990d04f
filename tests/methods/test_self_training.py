"""Thresholds are remembered, and the segmenter learns from its surest labels."""

import math

import pytest
import torch

from medgen.config import build
from medgen.methods.base import Shape
from medgen.methods.self_training import METHOD, Config
from medgen.sampling.batches import Adaptation


def method(**settings):
    torch.manual_seed(0)
    return METHOD(build(Config, {"network": "unet", "width": 0.25, **settings}), Shape(1, 2))


def batch():
    source, target = (torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    return Adaptation(source, (source > 0).long(), torch.ones_like(source), target, torch.ones_like(source))


def test_thresholds_start_at_the_first_found_and_then_move_slowly():
    trained = method(memory=0.75)
    steps = [(0.9, math.nan), (0.8, 0.6), (0.7, math.nan), (0.6, 0.5), (0.9, math.nan)]
    found = []
    for step in steps:
        trained._remember(torch.tensor(step))
        found.append(trained.thresholds.tolist())
    background = [values[0] for values in found]
    # the mean of all until the memory of 0.75 is reached at the fourth: 0.9, 0.85, 0.8, 0.75, then 3/4 and 1/4
    assert background == pytest.approx([0.9, 0.85, 0.8, 0.75, 0.75 * 0.75 + 0.25 * 0.9])
    assert [values[1] for values in found] == pytest.approx([1.0, 0.6, 0.6, 0.55, 0.55])


def test_nothing_is_labelled_before_the_beginning():
    trained = method(begin=0.5)
    assert "pseudo" not in next(trained.updates(batch(), progress=0.4)).losses
    assert trained.seen.sum() == 0
    assert "pseudo" in next(trained.updates(batch(), progress=0.5)).losses
    assert trained.seen.sum() > 0


def test_the_portion_grows_from_begin_to_full():
    trained = method(begin=0.2, full=0.6, portion=(0.2, 0.6), memory=0.0)
    shares = []
    for progress in (0.2, 0.4, 0.9):
        label, chosen = trained._label(batch(), progress)
        own = trained.teacher.probabilities(trained.network, batch().target).argmax(dim=1, keepdim=True)
        common = own == own.flatten().mode().values
        shares.append((chosen.bool() & common & (label == own)).sum().item() / common.sum().item())
    assert shares == pytest.approx([0.2, 0.4, 0.6], abs=0.05)


def test_labels_are_the_teachers_or_the_students():
    for by in ("teacher", "student"):
        trained = method(labelled_by=by, portion=(1.0, 1.0))
        name = next(n for n, _ in reversed(list(trained.network.named_parameters())) if n.endswith("bias"))
        with torch.no_grad(), trained.teacher.used_by(trained.network):
            trained.network.state_dict()[name][1] += 50  # the teacher sees lesion everywhere, the student does not
        label, chosen = trained._label(batch(), progress=0.5)
        assert bool((label[chosen > 0] == 1).all()) == (by == "teacher")


def test_its_own_surest_labels_make_it_surer():
    student = {"predict_with": "student", "labelled_by": "student", "preset": "res2016"}
    trained = method(l1=0, l2=0, begin=0.0, portion=(0.5, 0.5), **student)
    images = batch()
    torch.manual_seed(1)
    updates = trained.updates(images, progress=0.5)
    pseudo = next(updates).losses["pseudo"]
    label, chosen = trained._label(images, progress=0.5)

    def loss():
        with torch.no_grad():
            probability = trained.predict(images.target).gather(1, label)
        return -(probability.log() * chosen).sum() / chosen.sum()

    before, optimizer = loss(), trained.optimizers()["segmenter"]
    pseudo.backward()
    optimizer.step()
    assert loss() < before
