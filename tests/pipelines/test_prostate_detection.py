"""The study of few patients: its rows differ in what they say and in nothing else, its curves are what was scored."""

import json
from pathlib import Path

import numpy as np
import pytest

from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.volume import Volume, write_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "prostate_detection"


def test_the_rows_differ_in_their_losses_alone():
    from rows import ROWS

    recipes = [
        load_recipe(FOLDER / "recipe.yaml", [f"{key}={value}" for key, value in changes.items()])
        for _, changes in ROWS.values()
    ]
    for recipe in recipes:
        check_recipe(recipe)
    rest = [recipe.model_dump(exclude={"config": {"adversarial_weight", "dice_weight"}}) for recipe in recipes]
    assert all(each == rest[0] for each in rest)
    assert [recipe.config["adversarial_weight"] for recipe in recipes[:3]] == [0, 0, 1]


def table(folder, sick, well):
    """Patients of one voxel each; the first have a tumour."""
    lines = ["case,split,label"]
    for number in range(sick + well):
        name = f"p{number:02d}"
        (folder / name).mkdir(parents=True)
        value = 3 if number < sick else 1
        write_volume(
            Volume(np.full((1, 2, 2, 2), value, np.uint8), np.eye(4)), folder / name / "l.nii.gz", kind="label"
        )
        lines.append(f"{name},train,{name}/l.nii.gz")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder / "cases.csv"


def test_smaller_training_sets_are_part_of_larger_ones_and_half_of_each_is_sick(tmp_path):
    from medgen.cases import read_cases

    from rows import Job

    data = table(tmp_path / "data", sick=5, well=7)
    chosen = {
        (size, seed): [case.name for case in read_cases(Job("dice", size, seed, data, tmp_path / "out")._table()).cases]
        for size in (4, 8)
        for seed in (0, 1)
    }
    assert set(chosen[4, 0]) < set(chosen[8, 0])
    assert chosen[8, 0] != chosen[8, 1]
    assert sum(name < "p05" for name in chosen[8, 0]) == 4
    with pytest.raises(ValueError, match="12 patients"):
        Job("dice", 12, 0, data, tmp_path / "out")._table()


def scores(job, quality, names=tuple(f"c{n}" for n in range(8))):
    """Eight patients, four with a lesion; ``quality`` is the confidence of the true ones, 0.5 that of the false."""
    job.folder.mkdir(parents=True)
    cases = [
        {
            "case": names[n],
            "confidence": quality if n < 4 else 0.5,
            "dice": quality if n < 4 else None,
            "voxel_sensitivity": quality if n < 4 else None,
            "voxel_specificity": 1.0,
        }
        for n in range(8)
    ]
    findings = {c["case"]: [[int(n < 4), c["confidence"], 0.5 if n < 4 else 0.0]] for n, c in enumerate(cases)}
    job.scores.write_text(json.dumps({"cases": cases, "findings": findings}))


def test_curves_are_means_over_seeds_with_paired_differences(tmp_path):
    from curves import METRICS, _curves, write_tables
    from rows import Job

    jobs = [Job(row, 8, seed, tmp_path, tmp_path) for row in ("cross_entropy", "both") for seed in (0, 1)]
    for job, quality in zip(jobs, (0.4, 0.6, 0.8, 0.9), strict=True):
        scores(job, quality)
    text = write_tables(tmp_path, [*jobs, Job("dice", 8, 0, tmp_path, tmp_path)])  # the last was not run
    rows = json.loads((tmp_path / "study.json").read_text())["rows"]
    first, second = rows
    assert first["metrics"]["dice"]["mean"] == pytest.approx(0.5)
    assert first["metrics"]["auroc"]["seeds"] == [0.0, 1.0]  # below and above the 0.5 of those without a lesion
    assert second["metrics"]["auroc"]["mean"] == 1.0
    assert second["metrics"]["dice"]["difference"] == pytest.approx(0.35)
    low, high = second["metrics"]["dice"]["difference_ci95"]
    assert low == pytest.approx(0.3)
    assert high == pytest.approx(0.4)
    assert "| 8 | cross-entropy + adversary | 2 |" in text
    assert text.count("| patients | training | seeds | Dice | sensitivity | specificity | AUROC | AP |") == 2
    panels = _curves(rows).axes
    assert [axes.get_title() for axes in panels] == list(METRICS.values())
    for axes, metric in zip(panels, METRICS, strict=True):
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8"]
        drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata())}
        assert drawn == {
            "cross-entropy": [first["metrics"][metric]["mean"]],
            "cross-entropy + adversary": [second["metrics"][metric]["mean"]],
        }
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("places", "named"),
    [
        ([("cross_entropy", 8, 0), ("cross_entropy", 8, 1)], ("cross_entropy/n8/seed0", "cross_entropy/n8/seed1")),
        ([("cross_entropy", 8, 0), ("both", 8, 0)], ("cross_entropy, 8 patients", "both, 8 patients")),
        ([("both", 8, 0), ("both", 16, 0)], ("both, 8 patients", "both, 16 patients")),
    ],
)
def test_rows_of_other_patients_are_not_drawn_together(tmp_path, places, named):
    """The same number of patients, in another order: nothing else would show it."""
    from curves import write_tables
    from rows import Job

    jobs = [Job(*place, tmp_path, tmp_path) for place in places]
    for job, names in zip(jobs, ([f"c{n}" for n in range(8)], [f"c{n}" for n in (1, 0, *range(2, 8))]), strict=True):
        scores(job, 0.8, names)
    with pytest.raises(ValueError, match="same patients") as error:
        write_tables(tmp_path, jobs)
    assert all(name in str(error.value) for name in named)
