"""What is wrong with a recipe is said before a case is read."""

from pathlib import Path

import pytest
import tiny
import tiny_domains
import torch

from medgen.cases import Case
from medgen.errors import InputError, UsageError
from medgen.preparation import Roles
from medgen.recipe.check import check_recipe, require_images
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import prepare, train
from medgen.sampling.batches import Adaptation, Labelled, Paired, Unpaired

DEEPMEDIC = {"network": "deepmedic", "preset": "small"}


def refused(values, *overrides):
    with pytest.raises(UsageError) as caught:
        check_recipe(load_recipe(values, overrides))
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "number"),
    [("channels", "[0, 7]", 7), ("channel_dropout", "{2: 0.1, 1: 0.1}", 2), ("channels", "[2]", 2)],
)
@pytest.mark.parametrize("method", ["strong_augmentation", "mean_teacher", "self_training"])
def test_a_channel_that_no_input_has(method, key, value, number):
    said = refused(tiny_domains.recipe(method=method), f"config.perturbation.{key}={value}")
    assert f"config.perturbation.{key} names channel {number}, and the recipe has 2 inputs" in said
    assert "0 t1, 1 ge|swi" in said


def test_the_last_channel_is_one():
    settings = {"channels": [1], "channel_dropout": {1: 0.1}}
    recipe = tiny_domains.recipe(method="strong_augmentation", config={"perturbation": settings})
    _, kind, config = check_recipe(load_recipe(recipe))
    assert kind.__name__ == "StrongAugmentation"
    assert config.perturbation.channels == (1,)


@pytest.mark.parametrize(
    ("config", "size", "fitting", "said"),
    [
        (DEEPMEDIC, 62, 61, "sides of at least 55 and equal to 52 plus a multiple of 3"),
        (DEEPMEDIC, 52, 55, "sides of at least 55"),
        ({"network": "unet"}, 20, 24, "sides of at least 8 and divisible by 8"),
    ],
)
def test_patches_that_a_network_cannot_take(config, size, fitting, said):
    recipe = tiny_domains.recipe(config=config)
    found = refused(recipe, f"patches.size=[{fitting}, {fitting}, {size}]")
    assert f"the patches are [{fitting}, {fitting}, {size}] voxels" in found
    assert said in found
    check_recipe(load_recipe(recipe, [f"patches.size=[{fitting}, {fitting}, {fitting}]"]))


def test_an_adversary_alone_in_few_steps_gives_a_warning(caplog):
    recipe = tiny_domains.recipe(method="adversarial_detector") | {"config": {"preset": "paper"}}

    def warnings(*overrides):
        caplog.clear()
        check_recipe(load_recipe(recipe, ["patches.size=[32, 32, 4]", *overrides]))
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    (said,) = warnings("schedule.steps=400")
    assert said.startswith("adversarial_weight is 1 in a training of 400 steps")
    assert not warnings("schedule.steps=4000")
    assert not warnings("schedule.steps=400", "config.adversarial_weight=0.99")


def test_thick_slices_may_be_few_but_not_small():
    config = {"network": "unet", "slices": "thick"}
    recipe = tiny_domains.recipe(config=config)
    assert "sides of at least 16, 16 and 1" in refused(recipe, "patches.size=[15, 16, 1]")
    check_recipe(load_recipe(recipe, ["patches.size=[17, 16, 1]"]))


def test_an_augmentation_that_names_a_channel_which_no_input_has():
    said = refused(tiny_domains.recipe(), "patches.augmentation={channel_dropout: {7: 0.1}}")
    assert "patches.augmentation.channel_dropout names channel 7" in said


def test_the_networks_that_are_built_to_look_at_them_use_no_chance():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_recipe(load_recipe(tiny.recipe()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("command", [train, prepare])
def test_nothing_is_prepared_of_a_recipe_that_cannot_be_trained(command, tmp_path):
    cases = tiny_domains.write_domains(tmp_path / "data", train=1)
    recipe = tiny_domains.recipe(patches={"size": [9, 9, 9]}, data={"domains": ["source"]})
    with pytest.raises(UsageError, match=r"the patches are \[9, 9, 9\] voxels"):
        command(recipe, cases, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def case(name, split, domain, *roles):
    return Case(name, split, domain, {role: Path(role) for role in roles})


CASES = [
    case("a", "train", "source", "t1", "ge", "label"),
    case("b", "val", "target", "t1", "swi", "mask"),
    case("c", "test", "target", "t1"),
]


def test_every_role_that_cases_lack_is_told_at_once():
    segments = Roles(inputs=("t1", "ge|swi", "t2?"), labels="label", mask="mask")
    with pytest.raises(InputError) as caught:
        require_images(CASES, segments, Labelled, where="cases.csv")
    assert caught.value.what == (
        "cases to learn from have no image for mask in 1 of 3 (a); label in 2 of 3 (b, c); ge|swi in 1 of 3 (c)"
    )
    with pytest.raises(InputError, match=r"for mask in 1 of 2 \(a\)\n"):
        require_images(CASES[:2], segments, Adaptation, where="cases.csv")
    require_images(CASES[1:2], segments, Adaptation, where="cases.csv")


def test_beside_a_target_nobody_needs_labels_and_a_test_case_no_target():
    makes = Roles(inputs=("t1",), target="swi", labels="label")
    require_images(CASES[1:], makes, Paired, where="cases.csv")
    with pytest.raises(InputError, match=r"for swi in 1 of 3 \(a\)\n"):
        require_images(CASES, makes, Paired, where="cases.csv")


def test_one_side_of_an_unpaired_set_is_enough():
    makes = Roles(inputs=("t1", "ge"), target="swi", labels="label")
    require_images(CASES[:2], makes, Unpaired, where="cases.csv")
    with pytest.raises(InputError, match=r"for ge in 1 of 1 \(d\)\n"):
        require_images([case("d", "train", None, "t1")], makes, Unpaired, where="cases.csv")


@pytest.mark.parametrize("intensity", [{"ct": {"window": [-1000, 3000]}}, {"ct": {"percentiles": [1, 99]}}])
def test_a_target_of_which_tissues_cannot_be_told_gives_a_warning(intensity, caplog):
    """Air, soft tissue and bone are told by prepared values, which mean HU in the usual window alone."""
    settings = {"method": "supervised", "data": {"inputs": ["t1"], "target": "ct"}}

    def told(config, preparation):
        caplog.clear()
        check_recipe(load_recipe({**settings, "config": config, "preparation": preparation}))
        return [record.getMessage() for record in caplog.records if "tissues are told" in record.getMessage()]

    (warning,) = told({}, {"intensity": intensity})
    assert "tissue_weights: [1, 1, 1]" in warning
    assert "region: mask" in warning
    assert not told({}, {})
    assert not told({"tissue_weights": [1, 1, 1], "region": "mask"}, {"intensity": intensity})
    assert not told({"preset": "paper"}, {"intensity": intensity})
