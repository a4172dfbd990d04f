import json

import pytest
import yaml
from two_domains import RECIPE

from medgen.benchmark.plan import Plan, choose_regimes, load_plan
from medgen.benchmark.regimes import (
    REGIMES,
    derive_recipe,
    shifted_input,
    titled,
)
from medgen.benchmark.runs import titles_of
from medgen.errors import UsageError
from medgen.methods.catalogue import method_names, resolve
from medgen.preparation.task import SEGMENTATION
from medgen.recipe.settings import load_recipe

BASE = load_recipe(RECIPE, ["config.adversarial_weight=0.2", "patches.size=[24,24,24]"])


def derived(name: str, seed: int = 0, **changes):
    regime = choose_regimes([name], **changes)[0]
    return derive_recipe(BASE, regime, shifted="ge|swi", seed=seed)


def test_the_second_view_lacks_the_shifted_channel_wherever_it_stands():
    for inputs, hidden in ((["ge|swi", "t1"], [0]), (["t1", "ge|swi"], None)):
        base = load_recipe(RECIPE, [f"data.inputs={json.dumps(inputs)}"])
        for name in ("confirmed_candidates", "shared_channels", "adapted"):
            (regime,) = choose_regimes([name])
            assert derive_recipe(base, regime, shifted="ge|swi", seed=0).config.get("hidden") == hidden
        assert "hidden" not in derive_recipe(base, REGIMES["source_only"], shifted="ge|swi", seed=0).config


def test_inputs_of_each_regime():
    inputs = {name: derived(name).data.inputs for name in REGIMES}
    assert inputs.pop("without_shifted") == ("t1",)
    assert inputs.pop("both_separate") == ("t1", "ge?", "swi?")
    assert set(inputs.values()) == {("t1", "ge|swi")}


def test_methods_and_seeds():
    assert {name: derived(name).method for name in REGIMES} == {
        **dict.fromkeys(REGIMES, "segmentation"),
        "adapted": "domain_adversarial",
    }
    assert [derived("both", seed).seed for seed in (0, 1, 2)] == [5, 6, 7]


def test_budget_and_network_are_shared_and_the_adversary_is_not():
    for name in REGIMES:
        recipe = derived(name)
        assert (recipe.schedule, recipe.patches) == (BASE.schedule, BASE.patches)
        resolve(recipe.method).config_class.model_validate(recipe.config)
    shared = {"network": "unet", "width": 0.125, "optimizer": "adam"}
    assert derived("source_only").config == shared
    assert derived("adapted").config == {**RECIPE["config"], "adversarial_weight": 0.2}


def test_a_recipe_of_the_supervised_method_keeps_the_adversary_at_its_defaults():
    base = load_recipe({**RECIPE, "method": "segmentation", "config": {"network": "unet", "dropout": 0.1}})
    recipe = derive_recipe(base, REGIMES["adapted"], shifted="ge|swi", seed=0)
    assert recipe.config == {"network": "unet", "dropout": 0.1}


def test_intensity_follows_the_shifted_channel():
    base = load_recipe(RECIPE, ["preparation.intensity={'ge|swi': {percentiles: [1, 99]}, t1: zscore}"])
    found = {
        name: set(derive_recipe(base, REGIMES[name], shifted="ge|swi", seed=0).preparation.intensity)
        for name in ("both", "without_shifted", "both_separate")
    }
    assert found == {
        "both": {"ge|swi", "t1"},
        "without_shifted": {"t1"},
        "both_separate": {"ge?", "swi?", "t1"},
    }


def test_only_what_sees_images_of_the_target_takes_over_their_intensities(tmp_path):
    base = load_recipe({**RECIPE, "patches": {"transfer": {"input": "ge|swi"}}})
    regimes = choose_regimes([*REGIMES, "mean_teacher"])
    recipes = {regime.name: derive_recipe(base, regime, shifted="ge|swi", seed=0) for regime in regimes}
    assert {name for name, recipe in recipes.items() if recipe.patches.transfer} == {"adapted", "mean_teacher"}
    titles = titles_of(base, regimes)
    assert titles["source_only"] == "train on S (no transfer)"
    assert titles["adapted"] == "train on S, adapted to T without labels"
    assert titles_of(BASE, regimes)["source_only"] == "train on S"


def test_an_optional_input_never_comes_first():
    base = load_recipe(RECIPE, ["data.inputs=['ge|swi', t1]"])
    assert derive_recipe(base, REGIMES["both_separate"], shifted="ge|swi", seed=0).data.inputs == ("t1", "ge?", "swi?")
    alone = load_recipe(RECIPE, ["data.inputs=['ge|swi']"])
    with pytest.raises(UsageError, match="the only input"):
        derive_recipe(alone, REGIMES["without_shifted"], shifted="ge|swi", seed=0)


def test_the_shifted_channel_is_found_or_asked_for():
    assert shifted_input(BASE) == "ge|swi"
    assert shifted_input(BASE, "t1") == "t1"
    with pytest.raises(UsageError, match="is not an input"):
        shifted_input(BASE, "flair")
    with pytest.raises(UsageError, match="several inputs"):
        shifted_input(load_recipe(RECIPE, ["data.inputs=['t1|t2', 'ge|swi']"]))
    plain = load_recipe(RECIPE, ["data.inputs=[t1, ge]"])
    assert shifted_input(plain) is None
    assert derive_recipe(plain, REGIMES["source_only"], shifted=None, seed=0).data.inputs == ("t1", "ge")
    with pytest.raises(UsageError, match="needs to know which input differs"):
        derive_recipe(plain, REGIMES["without_shifted"], shifted=None, seed=0)
    with pytest.raises(UsageError, match="a single column"):
        derive_recipe(plain, REGIMES["both_separate"], shifted="ge", seed=0)


def test_titles():
    assert titled(REGIMES["both_separate"], "ge|swi") == "train on S + T, GE and SWI as different channels"


def test_the_six_are_the_default_and_all_is_every_method_that_segments():
    assert [regime.name for regime in choose_regimes()] == list(REGIMES)
    names = [regime.name for regime in choose_regimes(["all"])]
    segments = {name for name in method_names() if resolve(name).batch_class.task() is SEGMENTATION}
    others = segments - {"segmentation", "domain_adversarial"}
    assert {"adabn", "entropy_minimisation", "mean_teacher", "self_training"} <= others
    assert names == [*REGIMES, *sorted(others)]


def test_a_method_is_a_regime_that_sees_the_target_where_it_adapts():
    adversarial, supervised = choose_regimes(["domain_adversarial", "segmentation"])
    assert (adversarial.method, adversarial.labelled, adversarial.unlabelled) == (
        "domain_adversarial",
        ("source",),
        ("target",),
    )
    assert supervised.unlabelled == ()


def test_a_method_that_looks_at_the_target_only_when_asked_does_not_say_that_it_does():
    teacher, student = choose_regimes(["confirmed_candidates", "mean_teacher"])
    assert teacher.unlabelled == student.unlabelled == ("target",)
    assert teacher.title == "train on S, confirmed candidates"
    assert student.title == "train on S, mean teacher with T unlabelled"


def test_a_method_of_ones_own_may_ask_for_settings(monkeypatch):
    kind = resolve("mean_teacher")

    class Asks(kind.config_class):
        needed: float

    monkeypatch.setattr(kind, "config_class", Asks)
    (regime,) = choose_regimes(["mean_teacher"])
    assert regime.title == "train on S, mean teacher with T unlabelled"


def test_a_plan_has_rows_of_its_own(tmp_path):
    rows = {
        "source_only": None,
        "strong": {"like": "adapted", "seeds": 2, "set": {"config.begin": 0.5, "patches.size": [8, 8, 8]}},
        "named": {"like": "both", "title": "all there is"},
    }
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"regimes": rows}, sort_keys=False))
    plan = load_plan(tmp_path / "rows.yaml")
    first, strong, named = choose_regimes(plan=plan, overrides=["strong:config.begin=0.6"])
    assert (first.name, first.title, first.seeds) == ("source_only", "train on S", None)
    assert (strong.title, strong.seeds) == ("train on S, adapted to T without labels: strong", 2)
    assert named.title == "all there is"
    recipe = derive_recipe(BASE, strong, shifted="ge|swi", seed=0)
    assert (recipe.method, recipe.config["begin"]) == ("domain_adversarial", 0.6)  # the later one wins
    assert recipe.patches.size == (8, 8, 8)
    assert [regime.name for regime in choose_regimes(["named", "target_only"], plan)] == ["named", "target_only"]


def test_a_plan_names_its_references(tmp_path):
    path = tmp_path / "rows.yaml"
    path.write_text("regimes: {source_only: , residual: {like: both}}\n")
    assert load_plan(path).references == ("source_only", "without_shifted")
    path.write_text("references: [residual]\nregimes: {source_only: , residual: {like: both}}\n")
    assert load_plan(path).references == ("residual",)


@pytest.mark.parametrize(
    ("names", "overrides", "said"),
    [
        (["adaptd"], [], "unknown regime or method 'adaptd'"),
        (["both", "both"], [], "listed twice"),
        (["both"], ["adapted:seed=1"], "is for a regime that is not run"),
    ],
)
def test_wrong_names_are_told(names, overrides, said):
    with pytest.raises(UsageError, match=said):
        choose_regimes(names, overrides=overrides)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("regimes: {}", "names no regime"),
        ("- a", "names no regime"),
        ("regimes: [", "not YAML"),
        ("regimes: {both: {sed: 2}}", "unknown key"),
        ("regimes: {both: {seeds: 0}}", "seeds"),
        ("{regimes: {both: {}}, references: [adapted]}", "'adapted' is not a row of the plan; its rows are both"),
        ("{regimes: {both: {}}, references: [both, both]}", "listed twice"),
    ],
)
def test_a_wrong_plan_is_told(tmp_path, text, said):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as told:
        load_plan(path)
    assert told.value.where == path
    with pytest.raises(UsageError, match="the plan does not exist"):
        load_plan(tmp_path / "other.yaml")
    with pytest.raises(UsageError, match="cannot name a file"):
        choose_regimes(plan=Plan.model_validate({"regimes": {"../up": {"like": "both"}}}))
