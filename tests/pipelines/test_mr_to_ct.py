"""The statistics of the phantom study, by hand; its budget; the body of the porcine scan."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "mr_to_ct"


def write(out, row, seed, values):
    from tables import METRICS

    cases = [{"case": str(n), **dict.fromkeys(METRICS, 0.5), "mae": value} for n, value in enumerate(values)]
    path = out / f"seed{seed}" / "scores" / f"{row}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cases": cases}))


@pytest.fixture
def results(tmp_path):
    from tables import collect

    write(tmp_path, "neighbourhood", 0, [20.0, 24.0])
    for seed, values in ((0, [10.0, 14.0]), (1, [12.0, 16.0]), (2, [14.0, 18.0])):
        write(tmp_path, "gradient", seed, values)
    write(tmp_path, "gan", 1, [11.0, 15.0])  # one seed only, and not the first
    return collect(tmp_path, [0, 1, 2])


def test_means_over_cases_and_seeds(results):
    assert results["rows"]["gradient"]["mae"]["mean"] == pytest.approx(14.0)
    assert results["every_seed"]["gradient"] == {0: 12.0, 1: 14.0, 2: 16.0}
    assert results["rows"]["gan"]["seeds"] == 1


def test_a_row_is_compared_seed_by_seed(results):
    tests = {row: test["mean_difference"] for row, test in results["tests"].items()}
    assert tests == {
        "gradient - neighbourhood": pytest.approx(14.0 - 22.0),  # every seed against the one that boosting has
        "gan - neighbourhood": pytest.approx(13.0 - 22.0),
        "gan - gradient": pytest.approx(-1.0),  # against seed 1 alone: 13 - 14
    }


def test_the_table_has_every_row(results):
    from tables import markdown

    text = markdown(results)
    assert "| + gradient difference | 3 | 14.0" in text
    assert "12.0, 14.0, 16.0" in text


def test_every_network_of_the_study_has_a_valid_recipe_and_differs_in_what_it_is_about():
    from medgen.recipe.check import check_recipe
    from medgen.recipe.settings import load_recipe

    from study import NETWORKS, Budget
    from tables import BEFORE

    checked = {name: check_recipe(load_recipe(Budget().recipe(name, 1, steps=5))) for name in NETWORKS}
    assert len({recipe.schedule for name, (recipe, *_) in checked.items() if name != "published"}) == 1
    configs = {name: config.model_dump() for name, (_, _, config) in checked.items()}
    different = {
        row: {key for key in configs[row] if key in configs[other] and configs[row][key] != configs[other][key]}
        for row, other in BEFORE.items()
    }
    assert different == {
        "context": {"context"},
        "trees": {"context"},
        "gradient": {"gradient_difference_weight"},
        "gan": set(),
        "stage2": {"stages", "context_folds"},
    }


def test_rows_of_other_settings_are_not_mixed_in_one_folder(tmp_path):
    from medgen.errors import UsageError

    from run import _require_same_rows
    from study import Budget

    _require_same_rows(tmp_path, Budget())
    _require_same_rows(tmp_path, Budget())
    with pytest.raises(UsageError, match="other settings"):
        _require_same_rows(tmp_path, Budget(adversarial_weight=0.5))
    (tmp_path / "rows.json").unlink()
    (tmp_path / "misaligned_0mm" / "seed0" / "scores").mkdir(parents=True)
    with pytest.raises(UsageError, match="earlier medgen"):
        _require_same_rows(tmp_path, Budget())


def test_the_training_slab_is_cut_into_two_parts_with_a_gap():
    from porcine import GAP, VALIDATION, _part

    from medgen.volume import Volume

    data = np.broadcast_to(np.arange(166.0), (1, 2, 2, 166))
    slab = Volume(data, np.diag([1.0, 1.0, 2.0, 1.0]))
    training, validation = _part(slab, "train"), _part(slab, "test")
    assert validation.data[0, 0, 0].tolist() == list(range(VALIDATION))
    assert training.data[0, 0, 0, 0] == VALIDATION + GAP
    assert training.affine[2, 3] == 2.0 * (VALIDATION + GAP)


@pytest.mark.parametrize("name", ["recipe.yaml", "gpu.yaml", "porcine.yaml"])
def test_recipes_on_disk_are_valid(name):
    from medgen.config import build
    from medgen.methods.catalogue import resolve
    from medgen.recipe.settings import load_recipe

    recipe = load_recipe(FOLDER / name)
    build(resolve(recipe.method).config_class, recipe.config)


def test_the_table_under_the_meat_is_no_part_of_the_body():
    from porcine import body

    ct = np.full((30, 30, 12), -1000.0)
    ct[5:25, 5:20, 1:11] = 50
    ct[12:15, 10:13, 5:7] = -1000  # a cavity belongs to the body
    ct[:, 20:22, :] = 100  # a plate that touches it
    mask = body(ct)
    assert mask[13, 11, 6]
    assert mask[15, 10, 6]
    assert not mask[1, 20, 6]


def test_answers_of_the_blinded_look_are_counted_by_row():
    from blinded import count

    key = {f"pair_{n:02d}": {"left": "gan", "right": "gradient"} for n in range(4)}
    key["pair_04"] = {"left": "gradient", "right": "gan"}
    answers = {"pair_00": "left", "pair_01": "left", "pair_02": "equal", "pair_03": "right", "pair_04": "right"}
    assert count(answers, key) == {"gan": 3, "gradient": 1, "equal": 1, "p": pytest.approx(0.625)}


def test_a_copy_without_flips_leaves_the_model_as_it_was(tmp_path):
    from uncertainty import without_flips

    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "weights.safetensors").write_bytes(b"weights")
    (model / "model.json").write_text(json.dumps({"inference": {"flips": ["x"], "overlap": 0.5}}))
    copy = without_flips(tmp_path / "run", tmp_path / "copy")
    assert json.loads((copy / "model.json").read_text()) == {"inference": {"flips": [], "overlap": 0.5}}
    assert (copy / "weights.safetensors").read_bytes() == b"weights"
    assert json.loads((model / "model.json").read_text())["inference"]["flips"] == ["x"]


def test_one_case_has_no_interval_in_the_table_of_deviations():
    from uncertainty import COLUMNS, markdown

    nan = float("nan")
    row = markdown({"flips": {key: {"mean": 0.5, "ci95": [nan, nan]} for key in COLUMNS}}).splitlines()[-1]
    assert row == "| flips | 0.5 |" + " 0.50 |" * 5
