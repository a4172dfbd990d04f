"""The case tables of the real lesion data on tiny volumes, the brain mask that is made, what is printed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_domains import write_domains
from torch import nn

from medgen.benchmark import choose_regimes, load_plan
from medgen.benchmark.regimes import derive_recipe, shifted_input
from medgen.cases import read_cases
from medgen.config import build
from medgen.errors import InputError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create, resolve
from medgen.phantom.head.pairs import PAIRS
from medgen.preparation.task import SEGMENTATION
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.volume import Volume, read_label, write_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"
TUMOURS = ("flair", "t1c", "labels", "brain_mask")
SHAPE = (8, 9, 7)


def brain():
    """A box with a hole in each image and a speck far from it."""
    data = np.zeros(SHAPE, np.float32)
    data[1:7, 1:7, 1:6] = 40
    data[3, 3, 3] = 0
    return data


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(data[None], np.eye(4)), path, kind="scalar")


@pytest.fixture
def folders(tmp_path):
    for patient in ("pat_b", "pat_a", "pat_c"):
        for name in TUMOURS:
            save(brain(), tmp_path / "tumour" / patient / f"{name}.nii.gz")
    for patient in ("ms_1", "ms_2"):
        flair, t1 = brain(), brain()
        flair[7, 8, 6] = 3
        t1[1, 1, 1], t1[7, 1, 1] = 0, -2  # dark in one image, and the ringing of an interpolation
        save(flair, tmp_path / "ms" / patient / "flair.nii.gz")
        save(t1, tmp_path / "ms" / patient / "t1.nii.gz")
        save(np.ones(SHAPE, np.float32), tmp_path / "ms" / patient / "lesions.nii.gz")
    return tmp_path


def test_one_tumour_patient_is_held_out(folders):
    from tumour import make_table, patients_of

    patients = patients_of(folders / "tumour")
    last = read_cases(make_table(patients, folders / "last", held_out=2))
    assert [(case.name, case.split) for case in last.cases] == [
        ("pat_a", "train"),
        ("pat_b", "train"),
        ("pat_c", "test"),
    ]
    first = read_cases(make_table(patients, folders / "first", held_out=0))
    assert [case.split for case in first.cases] == ["test", "train", "train"]
    assert first.cases[0].path("label") == folders / "tumour/pat_a/labels.nii.gz"
    assert first.cases[0].path("mask") == folders / "tumour/pat_a/brain_mask.nii.gz"


def test_dice_of_a_tumour_at_other_thresholds(tmp_path):
    """0.25 beside the tumour, 0.45 and 0.9 in it, and a speck of 0.9 that the recipe removes."""
    from tumour import RECIPE, dice_by_threshold

    recipe = load_recipe(RECIPE, ["inference.minimum_ml=0.05"])
    probability, labels = np.zeros((2, 20, 10, 10), np.float32)
    for x, value in ((2, 0.25), (6, 0.45), (10, 0.9)):
        probability[x : x + 4, 2:8, 2:8] = value
    probability[18, 5, 5] = 0.9
    labels[6:10], labels[10:14] = 4, 1
    labels[:, :2] = labels[:, 8:] = labels[:, :, :2] = labels[:, :, 8:] = 0
    save(probability, tmp_path / "p/pat/pat_probability_tumour.nii.gz")
    save(labels, tmp_path / "pat/labels.nii.gz")
    found = dice_by_threshold(tmp_path / "p", tmp_path / "pat", recipe)
    assert found["0.2"] == pytest.approx(2 * 2 / (3 + 2))
    assert found["0.3"] == found["0.4"] == 1
    assert found["0.5"] == pytest.approx(2 * 1 / (1 + 2))


def test_the_two_domains_in_one_table(folders):
    from health import make_table

    table = read_cases(make_table(folders / "tumour", folders / "ms", folders / "out"))
    assert [(case.name, case.split, case.domain) for case in table.cases] == [
        ("pat_a", "train", "source"),
        ("pat_b", "train", "source"),
        ("pat_c", "val", "source"),
        ("ms_1", "train", "target"),
        ("ms_2", "val", "target"),
    ]
    assert {case.path("t1c|t1").name for case in table.cases[:3]} == {"t1c.nii.gz"}
    for case in table.cases[3:]:
        assert set(case.images) == {"flair", "t1", "mask"}  # no label, and no file of lesions
        assert case.path("t1c|t1").name == "t1.nii.gz"


def test_the_brain_is_where_an_image_is_not_zero_without_specks_and_holes(folders):
    from health import make_table

    table = read_cases(make_table(folders / "tumour", folders / "ms", folders / "out"))
    mask = read_label(table.cases[3].path("mask")).data[0]
    expected = np.zeros(SHAPE, int)
    expected[1:7, 1:7, 1:6] = 1  # the hole at (3, 3, 3) and the corner that T1 lacks belong to it
    expected[7, 1, 1] = 1  # touches it
    np.testing.assert_array_equal(mask, expected)


def test_images_on_two_grids_make_no_mask():
    from health import brain_mask

    moved = np.eye(4)
    moved[0, 3] = 2.0
    with pytest.raises(InputError):
        brain_mask([Volume(brain()[None], np.eye(4)), Volume(brain()[None], moved)])


def test_every_look_and_the_verdict_are_printed(tmp_path):
    from health import summary

    healthy = {"source_dice": 0.7, "volume_source": 60.0, "volume_target": 50.0, "entropy_source": 0.03}
    healthy |= {"entropy_target": 0.03, "agreement_target": 0.9}
    records = [("warming up", 9, healthy), ("collapsed", 19, {**healthy, "source_dice": 0.2})]
    lines = [{"part": "stage0", "step": step, "health": look, "verdict": word} for word, step, look in records]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    heading, first, second, verdict, limits, rule = summary(tmp_path).splitlines()
    assert heading.split()[:2] == ["step", "source_dice"]
    assert first.split()[:4] == ["10", "(before)", "0.700", "60.000"]
    assert second.split()[:2] == ["20", "0.200"]
    assert verdict.startswith("verdict: collapsed (the source Dice fell to 0.20 from 0.70")
    assert "nor whether another disease" in limits
    assert rule.startswith("rule: COLLAPSED")


@pytest.mark.parametrize("name", ["deepmedic.yaml", "tumour.yaml", "health.yaml", "published.yaml"])
def test_recipes_of_lesions_are_valid(name):
    recipe = load_recipe(FOLDER / name)
    build(resolve(recipe.method).config_class, recipe.config)
    assert resolve(recipe.method).batch_class.task() is SEGMENTATION


@pytest.mark.parametrize("name", ["rows.yaml", "adversary.yaml", "pairs.yaml"])
def test_every_row_of_a_plan_makes_a_recipe(name):
    base = load_recipe(FOLDER / "deepmedic.yaml")
    for regime in choose_regimes(plan=load_plan(FOLDER / name)):
        recipe = derive_recipe(base, regime, shifted=shifted_input(base), seed=0)
        build(resolve(recipe.method).config_class, recipe.config)
        check_recipe(recipe)


def test_the_claim_rests_on_rows_of_the_plan():
    from run import ACCEPTED, CLAIM

    plan = load_plan(FOLDER / "rows.yaml")
    assert {*plan.references, *CLAIM} <= plan.regimes.keys()
    assert set(plan.references) - set(CLAIM) == {"more_steps"}  # the control of rows that the first pair alone has
    assert set(ACCEPTED) <= PAIRS.keys()


def test_the_published_schedule():
    recipe = load_recipe(FOLDER / "published.yaml")
    epoch = recipe.schedule.steps // 35
    assert (epoch, recipe.schedule.batch) == (2000, 10)
    rates = [
        recipe.schedule.learning_rate.factor(step / recipe.schedule.steps) for step in range(recipe.schedule.steps)
    ]
    halved = [step for step in range(1, len(rates)) if rates[step] < rates[step - 1]]
    assert halved == [17 * epoch, 22 * epoch, 27 * epoch, 30 * epoch, 33 * epoch]
    assert rates[-1] == 1 / 32
    method = create(recipe.method, recipe.config, Shape(5, 2))
    alphas = {number: method.adversary.alpha(number / 35) for number in (9.99, 22.5, 35)}
    assert alphas == pytest.approx({9.99: 0.0, 22.5: 0.025, 35: 0.05}, abs=1e-6)
    first, *_, last = [layer for layer in method.discriminator.modules() if isinstance(layer, nn.Conv3d)]
    assert first.weight.shape == (100, 130 + 130 + 150, 3, 3, 3)  # layers 4, 6 and 8 of both pathways, and 10
    assert last.weight.shape == (2, 100, 1, 1, 1)
    segment = torch.zeros(1, 5, *recipe.patches.size)
    assert method.predict(segment).shape == (1, 2, 9, 9, 9)


def test_the_published_recipe_trains(tmp_path):
    cases = write_domains(tmp_path / "data")
    small = ["schedule.steps=1", "schedule.batch=1", "schedule.workers=0", "data.inputs=[t1, 'ge|swi']"]
    overrides = [*small, "preparation.spacing=null"]
    run = train(FOLDER / "published.yaml", cases, tmp_path / "run", overrides=overrides, device="cpu")
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert {name.split("/")[0] for name in line["losses"]} == {"discriminator", "segmenter"}
    assert {"segmenter/cross_entropy", "segmenter/l1", "segmenter/l2"} <= line["losses"].keys()
