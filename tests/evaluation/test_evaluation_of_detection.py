"""Folders of detection maps against the truth: what is found, what is refused, and what the file says."""

import json
import math
import re

import numpy as np
import pytest
import SimpleITK
from detection_folders import AFFINE, COHORT, NOTHING, SHAPE, TUMOUR, cohort, save, volume

from medgen.errors import InputError, UsageError
from medgen.evaluation import evaluate, evaluate_detection
from medgen.volume import write_volume


@pytest.fixture
def five(tmp_path):
    return cohort(tmp_path)


def test_numbers_worked_out_by_hand(five):
    scores = evaluate_detection(*five)
    values = {name: each["mean"] for name, each in scores.summary.items()}
    # Confidences of the three with a tumour .9 .5 .7, of the two without 0 .5: five pairs are right, one is a tie.
    assert values["auroc"] == pytest.approx(5.5 / 6)
    # .9: 1 of 1 right. .7: none. .5: 2 of 4 right. Three lesions.
    assert values["ap"] == pytest.approx((1 + 2 / 4) / 3)
    assert values["score"] == pytest.approx((5.5 / 6 + 0.5) / 2)
    assert [values[f"sensitivity_at_{rate}"] for rate in ("0.1", "0.25", "0.5", "1", "2")] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3]
    )
    rows = {row["case"]: row for row in scores.cases}
    assert [(rows[c]["lesions_true"], rows[c]["lesions_found"], rows[c]["false_positives"]) for c in COHORT] == [
        (1, 1, 0),
        (1, 1, 0),
        (1, 0, 1),
        (0, 0, 0),
        (0, 0, 1),
    ]
    assert rows["half"]["confidence"] == pytest.approx(0.5)
    assert rows["half"]["dice"] == pytest.approx(2 * 16 / 48)
    assert rows["half"]["voxel_sensitivity"] == 0.5
    assert rows["hit"]["voxel_specificity"] == 1
    assert rows["missed"]["dice"] == rows["missed"]["voxel_sensitivity"] == 0
    assert rows["missed"]["voxel_specificity"] == pytest.approx(1 - 8 / (864 - 32))
    assert math.isnan(rows["indolent"]["dice"])
    assert rows["indolent"]["voxel_specificity"] == pytest.approx(1 - 32 / 864)
    dice = scores.summary["dice"]
    assert dice["mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert [dice[key] for key in ("n", "n_failed", "n_not_applicable")] == [3, 0, 2]
    assert scores.summary["voxel_specificity"]["n"] == 5
    assert any("do not apply to 2 cases without" in note for note in scores.notes)
    assert scores.settings["cohort"] == {"cases": 5, "patients": 5, "cases_with_lesion": 3, "lesions": 3}
    assert np.isnan(scores.summary["auroc"]["ci95"]).all()  # of five patients


def test_six_patients_have_an_interval(tmp_path):
    scores = evaluate_detection(*cohort(tmp_path, COHORT | {"healthy2": COHORT["healthy"]}))
    low, high = scores.summary["auroc"]["ci95"]
    assert 0 <= low < 8.5 / 9 <= high <= 1


def test_the_file_holds_what_a_report_draws(five):
    content = json.loads(evaluate("detection", *five).write(five[0] / "scores.json").read_text())
    assert content["task"] == "detection"
    froc = content["curves"]["froc"]
    assert froc["false_positives"] == pytest.approx([0, 0, 0.2, 0.4])
    assert froc["sensitivity"] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])
    assert froc["threshold"] == [None, pytest.approx(0.9), pytest.approx(0.7), 0.5]
    assert set(content["curves"]["roc"]) == {"false_positive_rate", "sensitivity", "threshold"}
    assert set(content["curves"]["precision_recall"]) == {"recall", "precision", "threshold"}
    assert content["findings"]["missed"] == [[1, 0, 0], [0, pytest.approx(0.7), 0]]
    assert content["findings"]["healthy"] == []
    settings = content["settings"]
    assert (settings["role"], settings["least_grade"], settings["overlap"]) == ("lesion", 2, 0.1)
    assert settings["voxels"] == "value 3 of <case>_label.nii.gz, 'tumour'"
    assert len(settings["references"]["sha256"]) == 64
    assert "comparison" not in content


def test_flat_folders_of_the_challenge(tmp_path):
    predictions, _ = cohort(tmp_path, labels=False, flat=True)
    truth = tmp_path / "labels"
    for case, (grades, _, _) in COHORT.items():
        save(truth / f"{case}.nii.gz", grades, "label")
    bare = evaluate_detection(predictions, truth)
    for case in COHORT:
        (truth / f"{case}.nii.gz").rename(truth / f"{case}_label.nii.gz")
    named = evaluate_detection(predictions, truth, least_grade=2)
    for scores in (bare, named):
        assert scores.summary["auroc"]["mean"] == pytest.approx(5.5 / 6)
        assert "dice" not in scores.summary
        assert any("voxels: not scored" in note for note in scores.notes)
    assert named.settings["role"] == "label"


def test_maps_and_labels_in_one_folder_are_not_mixed_up(tmp_path):
    """Where the truth lies beside the maps, it must not be taken for the model's own labels, nor for its maps."""
    predictions, _ = cohort(tmp_path, labels=False, flat=True)
    for case, (grades, _, _) in COHORT.items():
        save(predictions / f"{case}_label.nii.gz", grades, "label")
    scores = evaluate_detection(predictions, predictions, tumour="3", least_grade=2)
    assert scores.summary["auroc"]["mean"] == pytest.approx(5.5 / 6)
    assert "dice" not in scores.summary
    for case in COHORT:
        (predictions / f"{case}_detection_map.nii.gz").unlink()
        (predictions / f"{case}_label.nii.gz").rename(predictions / f"{case}.nii.gz")
    with pytest.raises(InputError, match="no detection map"):
        evaluate_detection(predictions, predictions)


def test_metaimages(tmp_path):
    predictions, table = cohort(tmp_path, labels=False, flat=True)
    for case, (_, found, _) in COHORT.items():
        (predictions / f"{case}_detection_map.nii.gz").unlink()
        image = SimpleITK.GetImageFromArray(found.astype(np.float32).transpose(2, 1, 0))
        image.SetSpacing((0.5, 0.5, 3.0))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        SimpleITK.WriteImage(image, str(predictions / f"{case}_detection_map.mha"), useCompression=True)
    assert evaluate_detection(predictions, table).summary["ap"]["mean"] == pytest.approx(0.5)


def test_other_grades_and_overlaps(five):
    scores = evaluate_detection(*five, least_grade=1)
    assert scores.settings["cohort"]["lesions"] == 4
    assert scores.summary["auroc"]["mean"] == 1
    assert evaluate_detection(*five, least_grade=3).settings["cohort"]["lesions"] == 2
    assert evaluate_detection(*five, overlap=0.51).cases[1]["lesions_found"] == 0
    for wrong in ({"least_grade": 0}, {"overlap": 0.0}, {"overlap": 1.1}):
        with pytest.raises(UsageError, match="least_grade must be"):
            evaluate_detection(*five, **wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (volume((1.2, TUMOUR)), "0 to 1.2"),
        (volume((-0.1, TUMOUR)), "-0.1"),
        (volume((np.nan, TUMOUR)), "nan"),
        (np.random.default_rng(0).random(SHAPE), "several confidences"),
        (volume((0.4, TUMOUR), (0.5, np.s_[6:8, 2:6, 1:3])), r"several confidences \(0.4, 0.5\)"),
    ],
)
def test_one_map_that_is_none_fails_alone_and_all_are_refused_by_name(five, values, message):
    save(five[0] / "half" / "half_detection_map.nii.gz", values)
    scores = evaluate_detection(*five)
    assert [each["case"] for each in scores.failed] == ["half"]
    assert re.search(message, scores.failed[0]["reason"])
    assert [row["lesions_found"] for row in scores.cases if row["case"] == "hit"] == [1]
    for path in five[0].glob("*/*_detection_map.nii.gz"):
        save(path, values)
    with pytest.raises(InputError, match=message) as error:
        evaluate_detection(*five)
    assert "detection_map" in str(error.value.where)


@pytest.mark.parametrize("which", ["detection_map", "label"])
def test_another_grid_is_refused(five, which):
    path = five[0] / "half" / f"half_{which}.nii.gz"
    shifted = AFFINE.copy()
    shifted[0, 3] = 0.5
    save(path, NOTHING, "scalar" if which == "detection_map" else "label", affine=shifted)
    with pytest.raises(InputError, match=r"lie 0\.50 mm apart") as error:
        evaluate_detection(*five)
    assert path.name in str(error.value.where)
    assert "half_lesion" in str(error.value.where)


def test_the_region_of_the_specificity(tmp_path):
    gland = volume((1, np.s_[0:6, :, :]))
    cases = {"missed": COHORT["missed"], "hit": COHORT["hit"], "indolent": COHORT["indolent"]}
    predictions, table = cohort(tmp_path, cases, mask=gland)
    inside = {row["case"]: row for row in evaluate_detection(predictions, table).cases}
    whole = {row["case"]: row for row in evaluate_detection(predictions, table, mask_role=None).cases}
    assert inside["missed"]["voxel_specificity"] == 1  # the invention lies outside
    assert inside["indolent"]["voxel_specificity"] == pytest.approx(1 - 32 / 432)
    assert whole["missed"]["voxel_specificity"] < 1
    assert inside["missed"]["false_positives"] == whole["missed"]["false_positives"] == 1
    assert inside["missed"]["dice"] == whole["missed"]["dice"] == 0


def test_the_class_of_the_voxels(five):
    assert evaluate_detection(*five, tumour="transition zone").cases[2]["dice"] == 1
    assert evaluate_detection(*five, tumour=2).settings["voxels"] == "value 2 of <case>_label.nii.gz, '2'"
    for wrong in ("cancer", "4", 0):
        with pytest.raises(UsageError, match="no class") as error:
            evaluate_detection(*five, tumour=wrong)
        assert "3 tumour" in error.value.fix
    (five[0] / "prediction.json").unlink()
    for case in COHORT:
        (five[0] / case / f"{case}_lesions.json").unlink()
    assert "dice" not in evaluate_detection(*five).summary
    assert evaluate_detection(*five, tumour="3").cases[0]["dice"] == 1
    (five[0] / "prediction.json").write_text('{"model": {"classes": ["tumour"], "target": "label"}}')
    assert evaluate_detection(*five).settings["voxels"] == "value 1 of <case>_label.nii.gz, 'tumour'"
    (five[0] / "hit" / "hit_lesions.json").write_text("{")
    with pytest.raises(InputError, match="list of lesions is damaged"):
        evaluate_detection(*five)


def test_real_lesions(real_data, tmp_path):
    """One patient with an ISUP 3 lesion, one without: found, and moved by more than itself."""
    from medgen.volume import read_label

    rows = ["case,split,lesion"]
    for name in ("ProstateX-0000", "ProstateX-0001"):
        path = real_data / "prostate" / name / "lesion_isup.nii.gz"
        truth = read_label(path)
        found = (truth.data >= 2).astype(np.float32) * 0.8
        write_volume(truth.with_data(found), tmp_path / "p" / f"{name}_detection_map.nii.gz", kind="scalar")
        rows.append(f"{name},test,{path}")
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    scores = evaluate_detection(tmp_path / "p", tmp_path / "cases.csv")
    assert scores.summary["score"]["mean"] == 1
    assert scores.settings["cohort"] == {"cases": 2, "patients": 2, "cases_with_lesion": 1, "lesions": 1}
