"""The contract that every method meets; a new file in medgen/methods is tested the moment it exists."""

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.base import Channels, Method, Update, stages_of
from medgen.methods.catalogue import create, list_methods, method_names, resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Paired
from medgen.training.checkpoint import load_stages, save_model
from medgen.training.engine import Engine
from medgen.training.loop import train

SMALL = {"width": 0.125, "generator": "unet", "network": "unet", "discriminator_width": 4, "discriminator_depth": 1}
"""Settings that make a method small enough for a test, where it knows them."""


@pytest.fixture(params=method_names())
def name(request) -> str:
    return request.param


def small(name: str, **changes) -> Method:
    kind = resolve(name)
    known = {key: value for key, value in {**SMALL, **changes}.items() if key in kind.config_class.model_fields}
    torch.manual_seed(0)
    return kind(build(kind.config_class, known), channels_of(kind))


def channels_of(kind: type[Method]) -> Channels:
    """One image in and one out, or two in and two classes out."""
    return Channels(1, 1) if kind.batch_class is Paired else Channels(2, 2)


def batch_for(method: Method, size: int | None = None):
    side = size or max(method.minimum, 2 * method.multiple, 2 * method.margin + 6)
    x = torch.randn(2, 1, side, side, side, generator=torch.Generator().manual_seed(1)).tanh()
    special = {"mask": torch.ones_like(x), "target_mask": torch.ones_like(x), "label": (x > 0).long()}
    images = x.expand(-1, method.channels.inputs, -1, -1, -1)
    fields = method.batch_class._fields
    return method.batch_class(*(special.get(field, images.roll(i, 2)) for i, field in enumerate(fields)))


def run(method: Method, schedule: Schedule, batch=None):
    batch = batch_for(method) if batch is None else batch
    batches = [batch] * schedule.steps
    return list(train(method, method.optimizers(), batches, schedule, Engine("cpu")))


def test_every_parameter_has_exactly_one_optimizer(name):
    method = small(name)
    owned = [id(p) for o in method.optimizers().values() for g in o.param_groups for p in g["params"]]
    assert sorted(owned) == sorted(map(id, method.parameters()))


def test_one_step_moves_every_parameter(name):
    method = small(name)
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    records = run(method, Schedule(steps=1, batch=2))
    still = [n for n, p in method.named_parameters() if torch.equal(before[n], p)]
    # a bias in front of a normalisation has no gradient by construction
    assert all(n.endswith("bias") for n in still), still
    assert all(torch.isfinite(torch.tensor(value)) for value in records[0].losses.values())


def test_an_update_gives_no_gradient_to_the_other_networks(name):
    method = small(name)
    optimizers = method.optimizers()
    for update in method.updates(batch_for(method), progress=0.5):
        assert isinstance(update, Update)
        own = {id(p) for g in optimizers[update.optimizer].param_groups for p in g["params"]}
        others = {n: p for n, p in method.named_parameters() if id(p) not in own}
        before = {n: None if p.grad is None else p.grad.clone() for n, p in others.items()}
        sum(update.losses.values()).backward(inputs=[p for p in method.parameters() if id(p) in own])
        for n, p in others.items():
            assert p.grad is before[n] is None or torch.equal(p.grad, before[n]), n
        optimizers[update.optimizer].step()


def test_predict_loses_the_margin_and_nothing_else(name):
    method = small(name).eval()
    side = max(method.minimum, 2 * method.multiple) + method.multiple
    with torch.no_grad():
        result = method.predict(torch.randn(1, method.channels.inputs, side, side, side))
    assert result.shape == (1, method.channels.outputs, *[side - 2 * method.margin] * 3)


def test_model_round_trip_is_exact(name, tmp_path):
    method = small(name).to(memory_format=torch.channels_last_3d).eval()
    x = batch_for(method)[0]
    save_model(tmp_path, [method], {"method": name, "stages": stages_of(method.config)})
    (loaded,), description = load_stages(tmp_path)
    assert description["research_use_only"] is True
    with torch.no_grad():
        assert torch.equal(method.predict(x), loaded.predict(x))


def test_learns_a_pair_by_heart(name):
    """Thirty steps on one batch must bring the generator's reconstruction down: the signs are right."""
    method = small(name, learning_rate=3e-3, adversarial_weight=0.01)  # alone, an adversary has nothing by heart
    records = run(method, Schedule(steps=30, batch=2))
    key = next(k for k in records[0].losses if k.endswith(("/mse", "/l1", "/reconstruction", "/cross_entropy")))
    assert records[-1].losses[key] < 0.8 * records[0].losses[key]


def test_bfloat16_runs_and_keeps_the_weights_in_32_bits(name):
    method = small(name)
    batch = batch_for(method)
    records = list(train(method, method.optimizers(), [batch], Schedule(steps=1), Engine("cpu", precision="bf16")))
    assert not records[0].skipped
    assert {p.dtype for p in method.parameters()} == {torch.float32}


def test_caller_may_leave_the_method_in_evaluation_mode(name):
    method = small(name)
    batches = [batch_for(method)] * 2
    for _ in train(method, method.optimizers(), batches, Schedule(steps=2), Engine("cpu")):
        assert method.training
        method.eval()


def test_models_are_listed_with_their_settings(name):
    row = next(row for row in list_methods() if row["name"] == name)
    assert row["summary"]
    assert row["config"] == resolve(name).config_class().model_dump(mode="json")


def test_create_from_plain_values(name):
    assert isinstance(create(name, {}, Channels(2, 2)), resolve(name))


@pytest.mark.parametrize("name", ["supervised", "context_aware_gan"])
def test_a_power_that_the_loss_refuses_is_refused_by_the_settings(name):
    with pytest.raises(UsageError, match="gradient_difference_power"):
        create(name, {"gradient_difference_power": 0.5}, Channels(1, 1))
