"""The teacher follows the student by hand-computed averages, and the student learns from it."""

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.mean_teacher import METHOD, Config
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation
from medgen.training.engine import Engine
from medgen.training.loop import train


def method(**settings):
    torch.manual_seed(0)
    return METHOD(build(Config, {"network": "unet", "width": 0.25, **settings}), Shape(1, 2))


def batch(seed=1):
    generator = torch.Generator().manual_seed(seed)
    source, target = (torch.randn(2, 1, 16, 16, 16, generator=generator) for _ in range(2))
    return Adaptation(source, (source > 0).long(), torch.ones_like(source), target, torch.ones_like(source))


def run(method, steps=3):
    return list(
        train(method, method.optimizers(), [batch(n) for n in range(steps)], Schedule(steps=steps), Engine("cpu"))
    )


def test_teacher_is_the_moving_average_of_the_students():
    student = method(decay=0.6, consistency_weight=0)
    name, weight = next((n, p) for n, p in student.network.named_parameters() if p.dim() == 5)
    seen = [weight.detach().clone()]
    for _ in train(student, student.optimizers(), [batch()] * 3, Schedule(steps=3), Engine("cpu")):
        seen.append(weight.detach().clone())
    # decays min(0.6, 1 - 1/2), min(0.6, 1 - 1/3), min(0.6, 1 - 1/4) = 0.5, 0.6, 0.6
    first = 0.5 * seen[0] + 0.5 * seen[1]
    expected = 0.6 * (0.6 * first + 0.4 * seen[2]) + 0.4 * seen[3]
    with student.teacher.used_by(student.network):
        teacher = student.network.state_dict()[name].clone()
    assert torch.allclose(teacher, expected, atol=1e-7)
    assert not torch.allclose(teacher, weight)


def test_prediction_is_the_teachers_unless_the_student_is_asked():
    teacher = method(decay=0.9)
    run(teacher)
    student = method(decay=0.9, predict_with="student")
    student.load_state_dict(teacher.state_dict())
    image = batch().target
    with torch.no_grad():
        logits = student.eval().network(image)
        assert torch.equal(student.predict(image), logits.softmax(dim=1))
        assert torch.equal(teacher.eval().predict(image), teacher.teacher.probabilities(teacher.network, image))
        assert not torch.allclose(teacher.predict(image), student.predict(image))


def test_without_a_difference_there_is_nothing_to_learn():
    nothing = {"curve": 0, "scale": 0, "shift": 0, "noise": 0}
    same = method(perturbation=nothing)
    update = next(same.updates(batch(), progress=0.5))
    assert update.losses["consistency"].item() < 1e-10  # the teacher is still a copy of the student
    other = method()
    assert next(other.updates(batch(), progress=0.5)).losses["consistency"].item() > 1e-6


def test_weight_rises_and_target_patches_are_left_alone_before():
    gentle = method(consistency_weight=8, consistency_begin=0.25, consistency_full=0.75)
    assert "consistency" not in next(gentle.updates(batch(), progress=0.25)).losses
    values = []
    for progress in (0.5, 0.75, 0.9):
        torch.manual_seed(5)
        values.append(next(gentle.updates(batch(), progress=progress)).losses["consistency"].item())
    assert values[1] == pytest.approx(2 * values[0], rel=1e-5)
    assert values[2] == pytest.approx(values[1], rel=1e-6)


def test_a_step_depends_on_its_number_only():
    one, two = run(method()), run(method())
    assert [record.losses for record in one] == [record.losses for record in two]


@pytest.mark.parametrize("kind", ["mse", "cross_entropy", "label"])
def test_consistency_pulls_the_student_to_the_teacher(kind):
    pulled = method(consistency=kind, cross_entropy_weight=1, dice_weight=1, l1=0, l2=0, predict_with="student")
    images = batch()
    with torch.no_grad():  # a teacher that sees class 1 everywhere
        bias = next(n for n, p in reversed(list(pulled.network.named_parameters())) if n.endswith("bias"))
        with pulled.teacher.used_by(pulled.network):
            pulled.network.state_dict()[bias][1] += 20

    def seen():
        with torch.no_grad():
            return pulled.predict(images.target)[:, 1].mean().item()

    before, optimizer = seen(), pulled.optimizers()["segmenter"]
    for _ in range(20):
        loss = next(pulled.updates(images, progress=0.5)).losses["consistency"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen() > before + 0.05


def test_teacher_takes_the_targets_statistics_with_the_targets_weights():
    own = method(norm="batch", statistics="target", decay=0.0, consistency_full=0.0)
    run(own)
    name = next(n for n, _ in own.network.named_buffers() if n.endswith("running_mean"))
    with own.teacher.used_by(own.network):
        teacher = own.network.state_dict()[name].clone()
    with own.statistics.used_by(own.network):
        assert torch.equal(own.network.state_dict()[name], teacher)
    assert not torch.allclose(own.network.state_dict()[name], teacher)


def test_shares_out_of_order_are_refused():
    with pytest.raises(UsageError, match="consistency_begin <= consistency_full"):
        build(Config, {"consistency_begin": 0.5, "consistency_full": 0.2})


def test_the_teacher_is_asked_as_it_will_predict():
    """Without dropout, by running statistics, which its look at the target leaves alone."""
    asked = method(norm="batch", dropout=0.5)
    name = next(n for n, _ in asked.network.named_buffers() if n.endswith("running_mean"))
    first, second = (asked.teacher.probabilities(asked.network.train(), batch().target) for _ in range(2))
    assert torch.equal(first, second)
    assert asked.network.training
    with torch.no_grad():
        assert torch.equal(first, asked.eval().predict(batch().target))
    with asked.teacher.used_by(asked.network):
        assert not asked.network.state_dict()[name].any()


def test_until_the_target_is_seen_its_statistics_are_the_sources():
    late = method(norm="batch", statistics="target", consistency_begin=0.5, consistency_full=0.6)
    name = next(n for n, _ in late.network.named_buffers() if n.endswith("running_mean"))
    for record in train(late, late.optimizers(), [batch()] * 4, Schedule(steps=4), Engine("cpu")):
        own = late.network.state_dict()[name].clone()
        with late.statistics.used_by(late.network):
            # progress is 0, 1/4, 2/4, 3/4: the weight is 0 in the first three steps
            assert torch.equal(late.network.state_dict()[name], own) == (record.step < 3)
