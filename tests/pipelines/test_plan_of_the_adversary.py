"""The ablation of the adversary: each control differs by alpha alone."""

from pathlib import Path

from medgen.benchmark.plan import choose_regimes, load_plan
from medgen.benchmark.regimes import derive_recipe, shifted_input
from medgen.recipe.settings import load_recipe

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"


def test_controls_and_layers():
    base = load_recipe(FOLDER / "deepmedic.yaml")
    rows = {row.name: row for row in choose_regimes((), plan=load_plan(FOLDER / "adversary.yaml"))}
    recipes = {name: derive_recipe(base, row, shifted=shifted_input(base), seed=0) for name, row in rows.items()}
    fair, candidates, control = (recipes[name].config for name in ("fair", "candidates", "candidates_control"))
    assert candidates == {**fair, "candidates": 0.2}
    assert control == {**candidates, "adversarial_weight": 1e-9}
    against = {"published": "published_control", "shared": "shared_control", "separate": "separate_control"}
    for name, other in {**against, "fair": "control"}.items():
        assert recipes[other].config == {**recipes[name].config, "adversarial_weight": 1e-9}
        assert rows[name].start == rows[other].start
    assert rows["candidates"].start == rows["candidates_control"].start == "views"
    assert recipes["layer4"].config == {**fair, "layers": ["4"]}
