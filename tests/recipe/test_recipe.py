"""Recipes: what is read, what is overridden, and what is refused in words."""

import pytest
import tiny
import yaml

from medgen.errors import UsageError
from medgen.recipe.settings import load_recipe, save_recipe
from medgen.recipe.yaml import read_yaml


def test_what_is_saved_is_read_again(tmp_path):
    recipe = load_recipe(tiny.RECIPE)
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**tiny.RECIPE, "seed": 0}).replace("seed: 0", "seed: 010"))
    assert load_recipe(path).seed == 10
    assert load_recipe(path, ["config.learning_rate=1e-4"]).config["learning_rate"] == 1e-4
    with pytest.raises(UsageError, match=r"preparation\.spacing\.2"):
        load_recipe(path, ["preparation.spacing=[4, 4, 1:30]"])


def test_overrides_reach_inside_and_leave_the_rest(tmp_path):
    recipe = load_recipe(tiny.RECIPE, ["schedule.steps=7", "patches.size=[8,8,16]", "seed=1"])
    assert (recipe.schedule.steps, recipe.schedule.batch) == (7, 2)
    assert (recipe.patches.size, recipe.seed) == ((8, 8, 16), 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "not key=value"),
        ("=3", "not key=value"),
        ("schedule.steps=[1", "not YAML"),
        ("schedule.step=3", "step"),
        ("schedule.steps=0", "steps"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override, message):
    with pytest.raises(UsageError, match=message):
        load_recipe(tiny.RECIPE, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"- a list", "not a table"), (b"method: [", "not plain YAML"), (b"\xff\xfe\x00", "not plain YAML")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        load_recipe(path)
    assert error.value.where == path


@pytest.mark.parametrize("text", ["seed: 1\nmethod: vae\nseed: 2\n", "data: {inputs: [t1], inputs: [t2]}\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"the key '(seed|inputs)' stands twice in one table"):
        load_recipe(path)


def test_a_key_may_replace_one_that_is_merged():
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\nd: {<<: *a}\ne: [*a, *a]\n"
    assert read_yaml(text)["c"] == {"x": 3, "y": 4}
    assert read_yaml(text)["e"] == [{"x": 1, "y": 2}] * 2


def test_no_file_and_a_folder_are_said_in_words(tmp_path):
    with pytest.raises(UsageError, match="no such recipe"):
        load_recipe(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="the recipe is a folder"):
        load_recipe(tmp_path)


def test_a_recipe_cannot_make_python_objects(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.RECIPE) + "\nevil: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UsageError, match="not plain YAML"):
        load_recipe(path)
