"""The contract that every method meets, by what it can do; a new file in medgen/methods is tested the moment it exists.

Each method is tested on volumes, and on slices too where it can be built for them.
"""

import math

import pytest
import torch
from torch import nn

from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.methods.base import (
    Adapts,
    Encodes,
    HasDensity,
    HasFeatures,
    Method,
    Predicts,
    Samples,
    Shape,
    Translates,
    stages_of,
)
from medgen.methods.catalogue import create, list_methods, method_names, resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.parts import split
from medgen.training.engine import Engine, channels_last
from medgen.training.loop import train
from medgen.training.model_folder import exported_state, load_stages, save_model

SMALL = {
    "width": 0.125,
    "generator": "unet",
    "network": "unet",
    "discriminator_width": 4,
    "discriminator_depth": 1,
    "history": 2,
    "embedding": 8,
}
"""Settings that make a method small enough for a test, where it knows them."""
HEART = {
    "learning_rate": 1e-3,
    "discriminator_learning_rate": 1e-3,
    "adversarial_weight": 0.01,
    "crop": 1.0,
    "mirror": False,
}
"""For learning by heart: neither an adversary alone nor ever new views can be learnt so."""
SIDES = (16, 24, 32, 40, 48, 64)


INSTANCES = [(name, dimensions) for name in method_names() for dimensions in resolve(name).dimensions]


def small(name: str, dimensions: int = 3, sides: tuple[int, ...] = SIDES, **changes) -> Method:
    """The smallest instance of a method that its own window allows."""
    kind = resolve(name)
    known = {key: value for key, value in {**SMALL, **changes}.items() if key in kind.config_class.model_fields}
    config, channels = build(kind.config_class, known), 2 if kind.batch_class.task().labels else 1
    for side in sides:
        torch.manual_seed(0)
        method = kind(config, Shape(channels, channels, (side,) * dimensions))
        if all(side >= least for least in method.window.smallest(dimensions)) and not side % method.window.multiple:
            return method
    raise AssertionError(f"no side of {sides} suits {name}: {method.window}")


@pytest.fixture(params=INSTANCES, ids=lambda each: f"{each[0]}-{each[1]}d")
def instance(request) -> tuple[str, int]:
    return request.param


def made(instance: tuple[str, int], *abilities: type, **changes) -> Method:
    """The method, where it has one of the abilities; else the test is not for it."""
    name, dimensions = instance
    if abilities and not issubclass(resolve(name), abilities):
        pytest.skip(f"{name} is none of {', '.join(each.__name__ for each in abilities)}")
    return small(name, dimensions, **changes)


def image_for(method: Method, channels: int, count: int = 2) -> torch.Tensor:
    """(count, channels, *size): smooth shapes, and a little noise, in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    size = method.shape.size
    coarse = torch.randn(count, 1, *[4] * len(size), generator=generator)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    smooth = nn.functional.interpolate(coarse, size=size, mode=mode)
    noisy = smooth + 0.1 * torch.randn(count, channels, *size, generator=generator)
    return noisy.tanh()


def batch_for(method: Method):
    x = image_for(method, method.shape.inputs, 2 * method.draws)
    ones = torch.ones_like(x[:, :1])
    special = {"mask": ones, "body": ones, "target_mask": ones, "label": (x[:, :1] > 0).long()}
    fields = method.batch_class._fields
    return method.batch_class(*(special.get(field, x.roll(i, 2)) for i, field in enumerate(fields)))


def run(method: Method, schedule: Schedule, batch=None, **options):
    batch = batch_for(method) if batch is None else batch
    batches = [batch] * schedule.steps
    return list(train(method, method.optimizers(), batches, schedule, Engine("cpu"), **options))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_parameter_has_an_optimizer(instance):
    method = made(instance)
    owned = {id(p) for o in method.optimizers().values() for g in o.param_groups for p in g["params"]}
    assert owned == set(map(id, method.parameters()))


def test_two_steps_move_every_parameter(instance):
    """Two, since an adversary may begin half-way, and a network whose last layer starts at 0 moves from its end."""
    method = made(instance)
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    records = run(method, Schedule(steps=2, batch=2))
    still = [n for n, p in method.named_parameters() if torch.equal(before[n], p)]
    # a bias in front of a normalisation has no gradient by construction
    assert all(n.endswith("bias") for n in still), still
    assert all(torch.isfinite(torch.tensor(value)) for value in records[0].losses.values())


def test_bfloat16_runs_and_keeps_the_weights_in_32_bits(instance):
    method = made(instance)
    batch = batch_for(method)
    records = list(train(method, method.optimizers(), [batch], Schedule(steps=1), Engine("cpu", precision="bf16")))
    assert not records[0].skipped
    assert {p.dtype for p in method.parameters()} == {torch.float32}


def test_it_learns_a_batch_by_heart(instance):
    """Fifty steps on one batch must bring the loss that the method names down: the signs are right.

    It ends early where the loss is down for good: five steps in a row.
    """
    method = made(instance, **HEART)
    batches = [batch_for(method)] * 50
    losses = []
    for record in train(method, method.optimizers(), batches, Schedule(steps=50, batch=2), Engine("cpu")):
        losses.append(record.losses[method.learns])
        down = [loss < losses[0] - 0.2 * abs(losses[0]) for loss in losses]
        if all(down[-5:]):
            return
    assert down[-1]


def test_it_resumes_exactly(instance):
    """Four steps at once, or two, a new object with the saved state, and two more: the same weights and memory."""

    def trained(method: Method, optimizers, start: int, stop: int) -> None:
        schedule = Schedule(steps=4, batch=2)
        batches = [batch_for(method)] * (4 - start)
        for record in train(method, optimizers, batches, schedule, Engine("cpu"), start=start):
            if record.step + 1 == stop:
                break

    whole = channels_last(made(instance))
    trained(whole, whole.optimizers(), 0, 4)
    first, second = channels_last(made(instance)), channels_last(made(instance))
    optimizers, others = first.optimizers(), second.optimizers()
    trained(first, optimizers, 0, 2)
    second.load_state_dict(first.state_dict())
    for name, optimizer in others.items():
        optimizer.load_state_dict(optimizers[name].state_dict())
    for name, memory in second.memory().items():
        memory.load_state_dict(first.memory()[name].state_dict())
    trained(second, others, 2, 4)
    state = second.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())
    kept, again = tensors_of(whole.memory()), tensors_of(second.memory())
    assert bool(kept) == bool(whole.memory())
    assert all(torch.equal(one, two) for one, two in zip(kept, again, strict=True))


def test_memory_is_no_part_of_the_weights(instance):
    """Training fills the memory; what is saved as weights stays as large, and shares no tensor with it."""
    method = made(instance)
    names = set(method.state_dict())
    run(method, Schedule(steps=1, batch=2))
    assert set(method.state_dict()) == names
    weights = {tensor.data_ptr() for tensor in method.state_dict().values()}
    assert not weights & {tensor.data_ptr() for tensor in tensors_of(method.memory())}


def tensors_of(memory) -> list[torch.Tensor]:
    """All tensors that the state of a memory holds, however deep."""
    states = {name: part.state_dict() for name, part in memory.items()}
    return [leaf for leaf in torch.utils._pytree.tree_leaves(states) if torch.is_tensor(leaf)]


def test_model_round_trip_is_exact(instance, tmp_path):
    name, _ = instance
    method = channels_last(made(instance))
    run(method, Schedule(steps=2, batch=2))  # at the start a part that is not saved may be right
    method = method.eval()
    save_model(tmp_path, [method], {"method": name, "stages": stages_of(method.config)})
    (loaded,), description = load_stages(tmp_path)
    assert description["research_use_only"] is True
    assert loaded.shape == method.shape
    saved = exported_state(method)
    assert all(torch.equal(tensor, saved[key]) for key, tensor in exported_state(loaded).items())
    whole = set(saved) == set(method.state_dict())  # a discriminator stays in the checkpoints of its run
    with torch.no_grad():
        for one, two in zip(results(method, features=whole), results(loaded, features=whole), strict=True):
            assert torch.equal(one, two)


def results(method: Method, *, features: bool = True) -> list[torch.Tensor]:
    """Everything that a trained method can be asked for."""
    image = image_for(method, method.shape.inputs)
    found = []
    if isinstance(method, Predicts):
        found.append(method.predict(image, seeded()))
    if isinstance(method, Translates):
        found += [method.predict(image, direction, seeded()) for direction in ("forward", "backward")]
    if isinstance(method, Samples):
        found.append(method.sample(2, seeded()))
    if isinstance(method, Encodes):
        found.append(method.encode(image))
    if isinstance(method, HasDensity):
        found.append(method.log_prob(image))
    if features and isinstance(method, HasFeatures):
        found += method.features(image)
    return found


def test_features_are_of_each_image_alone(instance):
    """One row an image, whatever else is in the batch, and no chance: two sets of images can be compared by them."""
    method = made(instance, HasFeatures).eval()
    image = image_for(method, method.shape.inputs, 3)
    with torch.no_grad():
        maps, alone = method.features(image), method.features(image[1:2])
    assert len(maps) == len(alone) > 0
    for whole, one in zip(maps, alone, strict=True):
        assert whole.dim() >= 2
        assert len(whole) == 3
        torch.testing.assert_close(whole[1:2], one, rtol=1e-3, atol=1e-4)
        assert not torch.equal(whole[0], whole[1])


def test_it_can_be_used_for_something(instance):
    method = made(instance).eval()
    with torch.no_grad():
        assert results(method)


def test_caller_may_leave_the_method_in_evaluation_mode(instance):
    method = made(instance)
    batches = [batch_for(method)] * 2
    for _ in train(method, method.optimizers(), batches, Schedule(steps=2), Engine("cpu")):
        assert method.training
        method.eval()


def test_scores_are_finite_numbers(instance):
    method = made(instance).eval()
    (batch, *_) = split(batch_for(method), method.draws)
    with torch.no_grad():
        assert all(math.isfinite(value) for value in method.score(batch).values())


def test_predict_loses_the_margin_and_nothing_else(instance):
    method, window = made(instance, Predicts).eval(), made(instance, Predicts).window
    grown = [side + (0 if window.exact else max(window.multiple, window.align)) for side in method.shape.size]
    with torch.no_grad():
        result = method.predict(torch.randn(1, method.shape.inputs, *grown))
    assert result.shape == (1, method.shape.outputs, *[side - 2 * window.margin for side in grown])


def test_every_tile_is_predicted_with_the_same_noise(instance):
    """Tiles in one batch, or one after the other with a generator in the same state, come out the same."""
    method = made(instance, Predicts, Translates).eval()
    image = image_for(method, method.shape.inputs, 1)
    options = () if isinstance(method, Predicts) else ("forward",)
    with torch.no_grad():
        both = method.predict(image.expand(2, *image.shape[1:]), *options, seeded())
        again = method.predict(image, *options, seeded())
    assert torch.allclose(both[0], both[1], atol=1e-5)
    assert torch.allclose(both[0], again[0], atol=1e-5)


def test_a_prediction_with_chance_differs_from_seed_to_seed(instance):
    method = made(instance, Predicts, Translates)
    if method.stochastic:  # away from the start, where the last layer may be 0
        run(method, Schedule(steps=2, batch=2))
    method = method.eval()
    image = image_for(method, method.shape.inputs, 1)
    options = () if isinstance(method, Predicts) else ("forward",)
    with torch.no_grad():
        one, two = (method.predict(image, *options, seeded(seed)) for seed in (0, 1))
    assert torch.equal(one, two) != method.stochastic


def test_both_directions_make_the_channels_of_the_other_side(instance):
    method = made(instance, Translates).eval()
    method = type(method)(method.config, Shape(2, 1, method.shape.size)).eval()
    inputs, outputs, size, _ = method.shape
    with torch.no_grad():
        assert method.predict(torch.randn(1, inputs, *size), "forward").shape == (1, outputs, *size)
        assert method.predict(torch.randn(1, outputs, *size), "backward").shape == (1, inputs, *size)


def test_same_seed_same_sample(instance):
    method = made(instance, Samples).eval()
    with torch.no_grad():
        one, two, three = (method.sample(2, seeded(seed)) for seed in (0, 0, 1))
        cold = method.sample(2, seeded(), temperature=0.1)
    assert one.shape == (2, method.shape.inputs, *method.shape.size)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(one, cold)
    assert torch.isfinite(one).all()


def test_a_decoded_code_has_the_shape_of_the_image(instance):
    method = made(instance, Encodes).eval()
    image = image_for(method, method.shape.inputs)
    with torch.no_grad():
        code = method.encode(image)
        assert torch.equal(code, method.encode(image))
        assert method.decode(code).shape == image.shape


def test_images_and_codes_of_another_shape_are_refused(instance):
    """By encoding and decoding, before a layer deep inside complains."""
    method = made(instance, Encodes, Samples).eval()
    inputs, _, size, _ = method.shape
    sides, code = list(size), method.code_shape
    odd = [inputs, sides[0] + 1, *sides[1:]]  # no halving takes it
    for shape in (odd, [inputs + 1, *sides], [inputs, *sides, sides[0]]) if isinstance(method, Encodes) else ():
        with pytest.raises(InputError, match="but the model was trained on"):
            method.encode(torch.zeros(2, *shape))
    for shape in ((code[0] + 1, *code[1:]), (*code, 1), ()):
        with pytest.raises(InputError, match="but those of this model have"):
            method.decode(torch.zeros(2, *shape))


def test_density_has_one_number_an_image(instance):
    method = made(instance, HasDensity).eval()
    image = image_for(method, method.shape.inputs)
    with torch.no_grad():
        density, alone = method.log_prob(image), method.log_prob(image[1:])
    assert density.shape == (2,)
    assert torch.isfinite(density).all()
    assert torch.allclose(alone, density[1:], rtol=1e-5), "it depends on the other images of the batch"


def test_an_exact_density_follows_from_code_and_jacobian(instance):
    """Of a flow: the inverse is right, and the log-determinant is that of autograd's Jacobian, over all voxels."""
    kind = resolve(instance[0])
    if not issubclass(kind, HasDensity) or not issubclass(kind, Encodes) or kind.bound:
        pytest.skip("no exact density with a code")
    method = made(instance, sides=(2, 4, 8))
    run(method, Schedule(steps=3, batch=2))  # away from the start, where a flow may be the identity
    method = method.eval().double()
    image = image_for(method, method.shape.inputs, 1).double()
    with torch.no_grad():
        code = method.encode(image)
        assert torch.allclose(method.decode(code), image, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(lambda x: method.encode(x).flatten(), image)
    determinant = torch.linalg.slogdet(jacobian.reshape(code.numel(), -1)).logabsdet
    normal = -0.5 * (code.square().sum() + code.numel() * math.log(2 * math.pi))
    assert torch.allclose(method.log_prob(image), normal + determinant, rtol=1e-5)


def test_a_method_adapts_where_one_of_its_domains_has_no_labels(instance):
    kind = resolve(instance[0])
    assert issubclass(kind, Adapts) == any(stream.domain == "target" for stream in kind.batch_class.streams())


@pytest.mark.parametrize("name", method_names())
def test_models_are_listed_with_their_settings(name):
    row = next(row for row in list_methods() if row["name"] == name)
    assert row["summary"]
    assert row["config"] == resolve(name).config_class().model_dump(mode="json")


@pytest.mark.parametrize("name", method_names())
def test_create_from_plain_values(name):
    assert isinstance(create(name, {}, Shape(2, 2)), resolve(name))


@pytest.mark.parametrize("name", ["supervised", "context_aware_gan"])
def test_a_power_that_the_loss_refuses_is_refused_by_the_settings(name):
    with pytest.raises(UsageError, match="gradient_difference_power"):
        create(name, {"gradient_difference_power": 0.5}, Shape(1, 1))
