"""The explained recipe of each method is the recipe of its defaults, and the schema takes what medgen takes."""

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from medgen.cli import main
from medgen.errors import UsageError
from medgen.methods.catalogue import method_names
from medgen.recipe.check import check_recipe
from medgen.recipe.explained import explained_recipe, recipe_schema
from medgen.recipe.settings import load_recipe
from medgen.recipe.yaml import read_yaml

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").rglob("*.yaml"))
RECIPES = [path for path in PIPELINES if {"method", "data"} <= set(yaml.safe_load(path.read_text()))]


def completed(values):
    recipe, _, _ = check_recipe(load_recipe(values))
    return recipe.model_dump(mode="json")


@pytest.fixture(scope="module")
def schema():
    found = recipe_schema()
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("name", method_names())
def test_what_is_commented_out_is_what_holds(name, schema):
    text = explained_recipe(name)
    as_it_is = read_yaml(text)
    bare = {key: value for key, value in as_it_is.items() if value is not None}
    assert bare.keys() <= {"method", "data", "patches", "schedule", "seed"}
    every = read_yaml(re.sub(r"(?m)^( *)#(?! (?:  )*\S|$)", r"\1", text))
    assert completed(as_it_is) == completed(bare) == completed(every)
    blocks = completed(bare)
    for block in ("config", "data", "preparation", "patches", "schedule", "inference"):
        assert every[block].keys() == blocks[block].keys()
    schema.validate(every)
    schema.validate(as_it_is)
    assert_explained(text.splitlines())


def assert_explained(lines):
    """Nearly every key has a comment above it; the names of the others say it all; no line is long."""
    assert max(map(len, lines)) <= 120
    keys = [place for place, line in enumerate(lines) if re.match(r" *#? *\w+:", line) and "# " not in line]
    bare = [lines[place] for place in keys if "# " not in lines[place - 1]]
    assert len(bare) < 0.2 * len(keys), bare


def test_limits_and_choices_are_named():
    text = explained_recipe("context_aware_gan")
    assert "One of: tuned, paper, code." in text
    assert re.search(r"Of Adam\..* Above 0\.\n  #learning_rate: 0\.0005", text)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recipes_of_the_pipelines_fit_the_schema(path, schema):
    schema.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": -1}, "minimum"),
        ({"patches": {"size": [32, 32, 32], "jiter": 1}}, "jiter"),
        ({"config": {"preset": "papr"}}, "papr"),
        ({"config": {"entropy_weight": 1}}, "entropy_weight"),
        ({"method": "context_aware"}, "context_aware"),
    ],
)
def test_what_medgen_refuses_the_schema_refuses(schema, change, said):
    values = {"method": "context_aware_gan", "data": {"inputs": ["t1"], "target": "ct"}, **change}
    assert said in " ".join(error.message for error in schema.iter_errors(values))
    with pytest.raises(UsageError):
        completed(values)


def test_the_commands_write_what_the_library_makes(tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as exit_:
            main(words)
        return exit_.value.code or 0, *capsys.readouterr()

    assert run("recipe", "vae") == (0, explained_recipe("vae"), "")
    path = tmp_path / "recipe.yaml"
    assert run("recipe", "vae", "-o", str(path))[0] == 0
    assert path.read_text() == explained_recipe("vae")
    code, _, error = run("recipe", "gan", "-o", str(path))
    assert code == 2
    assert "the output exists" in error
    code, _, error = run("recipe", "vea")
    assert code == 2
    assert "vae" in error
    assert run("schema", "-o", str(tmp_path / "schema.json"))[0] == 0
    assert read_yaml((tmp_path / "schema.json").read_text()) == recipe_schema()
