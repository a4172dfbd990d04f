"""A result of a study is skipped only if it was made with the settings of today."""

from pathlib import Path

import pytest

from medgen.recipe.settings import load_recipe

FOLDER = Path(__file__).parents[2] / "pipelines" / "generation"


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    import kept

    return kept


def test_a_result_of_other_settings_is_refused(kept, tmp_path):
    result = tmp_path / "vae_0.json"
    kept.require_same(result, {"steps": 400, "cases": Path("cases.csv")})
    result.write_text("{}")
    kept.require_same(result, {"steps": 400, "cases": Path("cases.csv")})
    with pytest.raises(SystemExit, match="other settings"):
        kept.require_same(result, {"steps": 550, "cases": Path("cases.csv")})


def test_a_result_of_which_nobody_knows_the_settings_is_refused(kept, tmp_path):
    (tmp_path / "vae_0").mkdir()
    with pytest.raises(SystemExit, match="other settings"):
        kept.require_same(tmp_path / "vae_0", {})


def test_a_default_of_the_method_is_a_setting(kept):
    """``vae_gan.yaml`` does not name gamma."""
    recipe = load_recipe(FOLDER / "vae_gan.yaml")
    assert "gamma" not in recipe.config
    assert kept.of_recipe(recipe)["config"]["gamma"] == 0.01
