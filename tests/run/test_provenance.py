"""``model.json`` says under which terms the weights are, and what they learnt from, without a name of a case."""

import hashlib
import json
from collections import namedtuple

import pytest
import tiny

from medgen import train
from medgen.errors import UsageError
from medgen.recipe.settings import load_recipe
from medgen.run.provenance import provenance

Stored = namedtuple("Stored", "split domain")


class Prepared:
    cases = (Stored("train", "source"), Stored("train", "target"), Stored("train", "target"), Stored("val", None))

    def select(self, split):
        return [case for case in self.cases if case.split == split]


def test_a_trained_model_says_where_it_comes_from(tmp_path):
    table = tiny.write_cases(tmp_path, train=2, test=0)
    recipe = tiny.recipe(config={"context": "none"}, schedule={"steps": 1})
    run = train({**recipe, "inference": {"licence": "CC-BY-4.0"}}, table, tmp_path / "run", device="cpu")
    text = (run / "model" / "model.json").read_text()
    assert json.loads(text)["provenance"] == {
        "licence": "CC-BY-4.0",
        "roles": ["t1", "ct", "mask"],
        "data": {"train": {"cases": 2, "domains": {}}, "val": {"cases": 1, "domains": {}}},
        "recipe_sha256": hashlib.sha256((run / "recipe.yaml").read_bytes()).hexdigest(),
        "cases_sha256": hashlib.sha256((run / "cases.json").read_bytes()).hexdigest(),
    }
    assert not any(name in text for name in ("case0", "case1", "case2", str(tmp_path)))


def test_domains_are_counted_and_a_licence_that_nobody_states_is_not_stated(tmp_path):
    for name in ("recipe.yaml", "cases.json"):
        (tmp_path / name).write_text("{}")
    found = provenance(load_recipe(tiny.RECIPE), Prepared(), tmp_path)
    assert found["licence"] == "not stated"
    assert found["data"] == {
        "train": {"cases": 3, "domains": {"source": 1, "target": 2}},
        "val": {"cases": 1, "domains": {}},
    }


@pytest.mark.parametrize("licence", ["", "MIT\nand more", "x" * 201])
def test_a_licence_is_one_line(licence):
    with pytest.raises(UsageError, match="licence"):
        load_recipe({**tiny.RECIPE, "inference": {"licence": licence}})
