"""Presets of the methods for registered pairs, the context that is corrected, and when the adversary begins."""

import pytest
import torch

from medgen.config import build
from medgen.errors import UsageError
from medgen.inference.channels import dropped_in_training
from medgen.methods import adversarial_detector, context_aware_gan, domain_adversarial, segmentation, supervised
from medgen.methods._paired import covered, reconstruction
from medgen.methods.base import Shape
from medgen.methods.catalogue import method_names, resolve
from medgen.methods.context_aware_gan import Config, ContextAwareGAN
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import Schedule, complete, load_recipe, save_recipe
from medgen.sampling.batches import Paired
from medgen.training.engine import Engine
from medgen.training.loop import train

PATCH = (2, 1, 32, 32, 32)
RECIPE = {"method": "context_aware_gan", "data": {"inputs": ["t1"], "target": "ct"}}
SMALLER = {"cyclegan": {"width": 0.125}}
LESIONS = {"inputs": ["t1"], "labels": "label", "classes": {"lesion": [1]}}


@pytest.mark.parametrize(("preset", "weight", "reduction"), [("paper", 0.5, "mean"), ("code", 0.05, "sum")])
def test_published_presets_have_the_published_numbers(preset, weight, reduction):
    config = Config(preset=preset)
    assert (config.adversarial_weight, config.reduction) == (weight, reduction)
    assert (config.generator, config.context, config.residual) == ("fcn", "none", False)
    assert (config.l1_weight, config.mse_weight, config.gradient_difference_weight) == (0, 1, 1)
    assert (config.adversary_from, config.discriminator_width, config.discriminator_learning_rate) == (0, 1, None)
    assert (config.region, config.beta1) == ("patch", 0.5)
    assert config.tissue_weights == (1, 1, 1)


def test_a_named_key_wins_over_its_preset():
    config = Config(preset="code", generator="unet", adversarial_weight=0.25)
    assert (config.generator, config.adversarial_weight, config.mse_weight) == ("unet", 0.25, 1)


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_a_preset_in_name_only_is_a_warning(preset):
    """The recipe that a run writes names every key, so that a preset set on top of it changes nothing but its name."""
    (warning,) = Config(**{**Config().model_dump(mode="json"), "preset": preset}).warnings(100)
    assert preset in warning
    assert "generator" in warning
    assert not Config(preset=preset, generator="unet", adversarial_weight=0.25).warnings(100)
    assert not Config().warnings(100)


@pytest.mark.parametrize("preset", ["tuned", "paper", "code"])
@pytest.mark.parametrize("module", [context_aware_gan, supervised])
def test_a_saved_config_is_read_back_as_it_was(module, preset):
    config = module.Config(preset=preset, width=0.5)
    assert build(module.Config, config.model_dump(mode="json")) == config


def test_the_names_of_earlier_versions_are_read():
    l1 = Config(preset="code", distance="l1", distance_weight=3.0)
    assert (l1.l1_weight, l1.mse_weight) == (3, 0)
    mse = Config(preset="paper", distance="mse", adversarial_weight=None, reduction=None)
    assert (mse.l1_weight, mse.mse_weight, mse.adversarial_weight) == (0, 1, 0.5)


def test_the_recipe_of_the_user_wins_key_by_key():
    mine = load_recipe({**RECIPE, "schedule": {"steps": 7, "learning_rate": {"kind": "constant"}}})
    whole = complete(mine, Config().recipe())
    assert whole.schedule.batch == 2
    assert whole.schedule.steps == 7
    assert whole.schedule.learning_rate.kind == "constant"
    assert whole.schedule.learning_rate.warmup == 0  # a schedule of the rate is taken whole
    assert whole.inference.flips == ("x",)
    assert complete(whole, Config().recipe()) == whole
    assert complete(load_recipe(mine), Config().recipe()) == whole  # a recipe that was built before names no more
    assert complete(mine, Config(preset="paper").recipe()) == mine


def test_a_network_with_a_context_begins_as_its_context():
    method = ContextAwareGAN(Config(width=0.25), Shape(1, 1).with_context())
    image = torch.randn(2, 2, 16, 16, 16)
    assert torch.equal(method.predict(image), image[:, 1:])


def losses(progress, **config):
    torch.manual_seed(0)
    method = ContextAwareGAN(Config(width=0.25, **config), Shape(1, 1))
    batch = Paired(torch.randn(PATCH), torch.rand(PATCH), torch.ones(PATCH), torch.ones(PATCH))
    return [key for update in method.updates(batch, progress) for key in update.losses]


def test_the_adversary_begins_when_it_should():
    reconstruction = ["l1", "gradient_difference"]
    assert losses(0.49) == reconstruction
    assert losses(0.5) == ["real", "fake", "adversarial", *reconstruction]
    assert losses(0.9, adversarial_weight=0) == reconstruction
    assert losses(0.0, adversary_from=0)[:2] == ["real", "fake"]


def test_outside_the_mask_the_discriminator_sees_the_truth():
    method = ContextAwareGAN(Config(width=0.25), Shape(1, 1))
    mask = torch.zeros(PATCH)
    mask[..., :16] = 1
    batch = Paired(torch.randn(PATCH), torch.rand(PATCH), mask, mask)
    real, judged = method._judged(torch.full(PATCH, -5.0), batch)
    assert real.shape == judged.shape == (2, 1, 16, 16, 16)
    assert torch.equal(judged[..., 8:], real[..., 8:])
    assert (judged[..., :8] == -5).all()


@pytest.mark.parametrize("preset", ["paper", "code"])
@pytest.mark.parametrize("module", [context_aware_gan, supervised])
def test_a_published_preset_has_the_published_optimiser_and_generator(module, preset):
    method = module.METHOD(build(module.Config, {"preset": preset}), Shape(1, 1))
    assert type(method.generator).__name__ == "ContextAwareFCN"
    assert method.window.margin == 8
    for optimizer in method.optimizers().values():
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"]) == (1e-4, (0.5, 0.999))


@pytest.mark.parametrize("preset", ["tuned", "code"])
def test_null_is_the_rate_of_the_generator_for_the_discriminator(preset):
    config = build(Config, {"preset": preset, "learning_rate": 3e-4, "discriminator_learning_rate": None})
    assert config.discriminator_learning_rate is None
    assert build(Config, config.model_dump(mode="json")) == config
    rates = {o.param_groups[0]["lr"] for o in ContextAwareGAN(config, Shape(1, 1)).optimizers().values()}
    assert rates == {3e-4}


def test_null_is_no_number_for_a_weight():
    with pytest.raises(UsageError, match="'l1_weight' is None"):
        build(Config, {"l1_weight": None})


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ({"distance_weight": 3.0}, (0, 3)),  # mse was the default
        ({"distance": "l1"}, (1, 0)),
        ({"distance": "l1", "distance_weight": 0.0}, (0, 0)),
        ({"distance": "l1", "mse_weight": 2.0}, (1, 2)),  # a key of today wins
        ({"preset": "code", "distance": "mse", "distance_weight": 2.0}, (0, 2)),
    ],
)
def test_each_name_of_earlier_versions_may_stand_alone(values, weights):
    config = build(supervised.Config, values)
    assert (config.l1_weight, config.mse_weight) == weights


def test_a_distance_that_never_was_is_refused():
    with pytest.raises(UsageError, match="'distance' is 'l3'"):
        build(Config, {"distance": "l3"})


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_every_choice_of_losses_can_be_trained(weights):
    """Even none: the generator then waits for its adversary."""
    l1, mse, difference = weights
    config = Config(width=0.25, l1_weight=l1, mse_weight=mse, gradient_difference_weight=difference)
    records = trained(ContextAwareGAN(config, Shape(1, 1)), steps=2)
    assert not any(record.skipped for record in records)
    assert "generator/adversarial" in records[1].losses


def test_a_recipe_object_is_completed_like_its_values():
    """As the demo trains: a recipe that was loaded before must not count as one with every key named."""
    plain = check_recipe(load_recipe(RECIPE))[0]
    assert plain.schedule.averaging == 0.99
    assert check_recipe(load_recipe(load_recipe(RECIPE)))[0] == plain
    named = load_recipe(load_recipe(RECIPE), ["schedule.batch=5"])
    assert check_recipe(named)[0] == plain.model_copy(
        update={"schedule": plain.schedule.model_copy(update={"batch": 5})}
    )


def test_a_complete_recipe_is_complete_from_its_file(tmp_path):
    """What a run folder holds, for its resumption."""
    whole = check_recipe(load_recipe(RECIPE))[0]
    save_recipe(whole, tmp_path / "recipe.yaml")
    assert check_recipe(load_recipe(tmp_path / "recipe.yaml"))[0] == whole


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": {"averaging": None, "precision": "32", "batch": 10}},
        {"patches": {"augmentation": {"flip": []}, "size": [24, 24, 24]}},
        {"inference": {"flips": []}},
    ],
)
def test_what_a_recipe_names_is_kept_even_if_it_is_the_default(values):
    mine = load_recipe({**RECIPE, **values})
    whole = complete(mine, Config().recipe())
    named = mine.model_dump(exclude_unset=True)
    for block in values:
        found = getattr(whole, block).model_dump()
        for key, value in named[block].items():
            inner = {name: found[key][name] for name in value} if isinstance(value, dict) else found[key]
            assert inner == value


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_a_published_preset_leaves_the_recipe_alone(preset):
    mine = load_recipe({**RECIPE, "config": {"preset": preset}})
    found, _, config = check_recipe(mine)
    assert found.model_copy(update={"config": mine.config}) == mine
    assert build(type(config), found.config) == config


def batch_of(method, mask=None):
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(2, method.shape.inputs, 32, 32, 32, generator=generator)
    return Paired(source, torch.rand(PATCH, generator=generator), *[torch.ones(PATCH) if mask is None else mask] * 2)


def trained(method, steps, watch=None):
    records = []
    for record in train(
        method, method.optimizers(), [batch_of(method)] * steps, Schedule(steps=steps, batch=2), Engine("cpu")
    ):
        records.append(record)
        if watch is not None:
            watch(record.step)
    return records


def test_the_discriminator_does_not_move_before_the_adversary_begins():
    torch.manual_seed(0)
    method = ContextAwareGAN(Config(width=0.25, adversary_from=0.5), Shape(1, 1))

    def state():
        return {name: value.clone() for name, value in method.discriminator.state_dict().items()}

    states = [state()]
    trained(method, 4, lambda _: states.append(state()))
    same = [all(torch.equal(states[0][name], value) for name, value in each.items()) for each in states]
    assert same == [True, True, True, False, False]


def test_the_generator_is_not_judged_by_what_it_makes_of_air():
    torch.manual_seed(0)
    config = Config(width=0.25, adversary_from=0, l1_weight=0, mse_weight=0, gradient_difference_weight=0)
    method = ContextAwareGAN(config, Shape(1, 1))
    mask = torch.zeros(PATCH)
    mask[..., :16] = 1
    made = []

    def predict(image):
        made.append(type(method).predict(method, image))
        made[0].retain_grad()
        return made[0]

    method.predict = predict
    _, update = method.updates(batch_of(method, mask), 0.5)
    update.losses["adversarial"].backward()
    (fake,) = made
    assert fake.grad[..., :16].any()
    assert not fake.grad[..., 16:].any()
    assert not fake.grad[..., :8].any()  # beyond the middle 16 voxels


def test_a_model_whose_context_was_made_from_all_channels_needs_them_all():
    content = {
        "preparation": {"config": {}},
        "recipe": {"patches": {"augmentation": {"channel_dropout": {"1": 0.2}}}},
    }
    assert dropped_in_training(content, ["t1", "t2"]) == {"t2": 0.2}
    assert dropped_in_training({**content, "context": {"kind": "voxelwise"}}, ["t1", "t2"]) == {}


def test_the_losses_look_into_the_mask_and_at_the_air_beside_it():
    """No rim grows where the prediction covers air; tissue outside the mask, such as a couch, teaches nothing."""
    mask, body, target = torch.zeros(PATCH), torch.zeros(PATCH), torch.full(PATCH, -1.0)
    mask[..., :10], body[..., :20] = 1, 1
    target[..., :10] = 0.2
    target[..., 15:20] = 0.1  # a couch
    batch = Paired(torch.zeros(PATCH), target, mask, body)
    where = covered(batch, target, Config())
    assert where[0, 0, 0, 0].tolist() == [1.0] * 15 + [0.0] * 17
    assert torch.equal(covered(batch, target, Config(region="mask")), mask)
    assert covered(batch, target, Config(preset="paper")) is None
    wrong = target.clone()
    wrong[..., 12] = 0.5
    assert reconstruction(wrong, batch, Config())["l1"] > 0
    assert reconstruction(wrong, batch, Config(region="mask"))["l1"] == 0


def test_a_voxel_counts_by_the_weight_of_its_tissue_in_the_voxelwise_losses():
    """-1000, 0 and 1000 HU in one image: an error of 0.5 in air, 0.1 in soft tissue, 0.3 in bone."""
    target = torch.tensor([-1000.0, 0.0, 1000.0]).add(1024).div(1512).sub(1).reshape(1, 1, 1, 1, 3)
    wrong = target + torch.tensor([0.5, 0.1, 0.3])
    batch = Paired(torch.zeros_like(target), target, *[torch.ones_like(target)] * 2)
    for region in ("body", "patch"):
        config = Config(tissue_weights=(0.5, 4, 1.5), mse_weight=1, gradient_difference_weight=0, region=region)
        losses = reconstruction(wrong, batch, config)
        torch.testing.assert_close(losses["l1"], torch.tensor((0.5 * 0.5 + 4 * 0.1 + 1.5 * 0.3) / 6))
        torch.testing.assert_close(losses["mse"], torch.tensor((0.5 * 0.25 + 4 * 0.01 + 1.5 * 0.09) / 6))
    even = reconstruction(wrong, batch, Config(tissue_weights=(2, 2, 2), region="patch"))["l1"]
    torch.testing.assert_close(even, torch.tensor(0.3))


PUBLISHED = {"network": "deepmedic", "optimizer": "rmsprop", "learning_rate": 1e-3, "l1": 1e-6, "l2": 1e-4}


def test_the_published_training_of_a_segmenter_comes_with_its_preset():
    config = build(segmentation.Config, {"preset": "small"})
    assert {key: getattr(config, key) for key in PUBLISHED} == PUBLISHED
    assert (config.dice_weight, dict(config.recipe())) == (0, {})
    assert build(domain_adversarial.Config, {"preset": "small"}).discriminator_padding == "valid"
    named = build(segmentation.Config, {"preset": "small", "optimizer": "adam", "network": "unet"})
    assert (named.optimizer, named.network, named.learning_rate) == ("adam", "unet", 1e-3)


def test_a_segmenter_takes_the_patches_that_are_a_default_and_sees_lesions_in_half_of_them():
    recipe, _, config = check_recipe(load_recipe({"method": "segmentation", "data": LESIONS}))
    assert (config.network, recipe.patches.size, recipe.patches.sampling) == ("unet", (32, 32, 32), "balanced")
    deepmedic = load_recipe({"method": "segmentation", "config": {"preset": "res2016"}, "data": LESIONS})
    with pytest.raises(UsageError, match="sides of at least 55"):
        check_recipe(deepmedic)


@pytest.mark.parametrize("preset", ["tuned", "res2016"])
def test_a_saved_segmenter_is_read_back_as_it_was(preset):
    config = build(segmentation.Config, {"preset": preset, "width": 0.5})
    assert build(segmentation.Config, config.model_dump(mode="json")) == config


def test_the_adversary_of_a_detector_is_alone_in_the_paper_only():
    assert build(adversarial_detector.Config, {}).adversarial_weight == 0.03
    assert build(adversarial_detector.Config, {"preset": "paper"}).adversarial_weight == 1
    saved = {**build(adversarial_detector.Config, {"preset": "paper"}).model_dump(mode="json"), "preset": "res2016"}
    assert build(adversarial_detector.Config, saved).adversarial_weight == 1  # as earlier versions saved it


@pytest.mark.parametrize("name", method_names())
def test_every_method_takes_the_patches_that_are_a_default(name):
    kind = resolve(name)
    images = {"inputs": ["t1"], "target": "ct"}
    data = {**LESIONS, "inputs": ["t1", "t2"]} if kind.batch_class.task().labels else images
    size = {} if 3 in kind.dimensions else {"size": [32, 32]}
    check_recipe(load_recipe({"method": name, "config": SMALLER.get(name, {}), "data": data, "patches": size}))
