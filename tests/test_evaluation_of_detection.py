"""Folders of detection maps against the truth: what is found, refused, counted, compared, and what the file says."""

import json
import math

import numpy as np
import pytest
import SimpleITK

from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation import evaluate, evaluate_detection
from medgen.volume import Volume, write_volume

SHAPE = (12, 12, 6)
AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
TUMOUR = (slice(2, 6), slice(2, 6), slice(1, 3))  # 32 voxels
ELSEWHERE = (slice(8, 10), slice(8, 10), slice(3, 5))  # 8 voxels


def save(path, data, kind="scalar", affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(data, np.float32 if kind == "scalar" else np.uint8)
    return write_volume(Volume(data[None], affine), path, kind=kind, overwrite=True)


def volume(*places):
    """``(value, box)`` pairs on 0."""
    data = np.zeros(SHAPE)
    for value, box in places:
        data[box] = value
    return data


NOTHING = volume()
COHORT = {
    # truth (ISUP grade), detection map, label map (1 peripheral, 2 transition, 3 tumour)
    "hit": (volume((3, TUMOUR)), volume((0.9, TUMOUR)), volume((3, TUMOUR))),
    "half": (volume((2, TUMOUR)), volume((0.5, np.s_[2:4, 2:6, 1:3])), volume((3, np.s_[2:4, 2:6, 1:3]))),
    "missed": (volume((4, TUMOUR)), volume((0.7, ELSEWHERE)), volume((3, ELSEWHERE), (2, TUMOUR))),
    "healthy": (NOTHING, NOTHING, NOTHING),
    "indolent": (volume((1, TUMOUR)), volume((0.5, TUMOUR)), volume((3, TUMOUR))),
}


def cohort(folder, cases=COHORT, *, labels=True, flat=False, patients=None, mask=None):
    """Predictions as ``medgen predict`` writes them, and a table of the truth."""
    rows = ["case,split,lesion,mask,patient"]
    predictions = folder / "predictions"
    for case, (truth, found, label) in cases.items():
        save(folder / "truth" / f"{case}_lesion.nii.gz", truth, "label")
        if mask is not None:
            save(folder / "truth" / f"{case}_mask.nii.gz", mask, "label")
        place = predictions if flat else predictions / case
        if found is not None:
            save(place / f"{case}_detection_map.nii.gz", found)
            if labels:
                save(place / f"{case}_label.nii.gz", label, "label")
                (place / f"{case}_lesions.json").write_text('{"class": "tumour"}')
        region = f"truth/{case}_mask.nii.gz" if mask is not None else ""
        rows.append(f"{case},test,truth/{case}_lesion.nii.gz,{region},{(patients or {}).get(case, '')}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    if labels:
        model = {"classes": ["peripheral zone", "transition zone", "tumour"], "target": "label"}
        (predictions / "prediction.json").write_text(json.dumps({"model": model}))
    return predictions, folder / "cases.csv"


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
    low, high = scores.summary["auroc"]["ci95"]
    assert 0 <= low < 5.5 / 6 <= high <= 1


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


def test_one_class_is_not_applicable_with_the_reason(capsys, tmp_path):
    predictions, table = cohort(tmp_path, {name: COHORT[name] for name in ("healthy", "indolent")})
    code, out, err = run(capsys, "evaluate", "detection", str(predictions), str(table), "-o", str(tmp_path / "s.json"))
    assert code == 0, err
    assert "auroc\t–\t–\t–\t0\t0\t2\t–" in out.splitlines()
    assert "nan" not in out
    assert "auroc, ap, score" in err
    assert "none of the 2 cases has a lesion" in err
    assert "--least-grade 1" in err
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["summary"]["auroc"]["mean"] is None
    auroc = content["summary"]["auroc"]
    assert auroc["reason"] == "none of the 2 cases has a lesion"
    assert [auroc[key] for key in ("n", "n_failed", "n_not_applicable")] == [0, 0, 2]
    assert content["curves"]["roc"]["sensitivity"] == []
    predictions, table = cohort(tmp_path / "sick", {name: COHORT[name] for name in ("hit", "missed")})
    scores = evaluate_detection(predictions, table)
    assert scores.summary["auroc"]["reason"] == "all of the 2 cases have a lesion"
    assert scores.summary["ap"]["mean"] == pytest.approx(0.5)
    assert "reason" not in scores.summary["ap"]


def test_of_one_case_there_is_no_interval(capsys, tmp_path):
    predictions, table = cohort(tmp_path, {"hit": COHORT["hit"]})
    code, out, err = run(capsys, "evaluate", "detection", str(predictions), str(table), "-o", str(tmp_path / "s.json"))
    assert code == 0, err
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
    assert lines["auroc"] == ["–", "–", "–", "0", "0", "1", "–"]
    assert lines["ap"] == ["1.000", "–", "–", "1", "0", "0", "1"]
    assert lines["dice"][:3] == ["1.000", "–", "–"]
    assert "the only case has a lesion" in err
    predictions, table = cohort(tmp_path / "well", {"healthy": COHORT["healthy"]})
    notes = evaluate_detection(predictions, table).notes
    assert any("the only case has no lesion" in note for note in notes)
    assert any("do not apply to the case without a lesion" in note for note in notes)


def test_of_several_studies_of_one_patient_there_is_no_interval(tmp_path):
    cases = {f"{name}-{study}": COHORT[name] for name in ("hit", "half", "healthy") for study in range(2)}
    scores = evaluate_detection(*cohort(tmp_path, cases, patients=dict.fromkeys(cases, "one")))
    assert scores.summary["auroc"]["mean"] == 1
    assert all(math.isnan(edge) for each in scores.summary.values() for edge in each["ci95"])


@pytest.mark.parametrize("flat", [False, True])
def test_maps_without_a_reference_are_named(tmp_path, flat):
    strangers = {f"x{number}": COHORT["healthy"] for number in range(6)}
    predictions, table = cohort(tmp_path, COHORT | strangers | {"other": COHORT["hit"]}, flat=flat)
    rows = [row for row in table.read_text().splitlines() if not row.startswith("x")]
    table.write_text("\n".join(row.replace("other,test", "other,train") for row in rows) + "\n")
    notes = evaluate_detection(predictions, table).notes
    assert "6 detection maps have no reference: x0, x1, x2, x3, x4 and 1 more" in notes
    for case in strangers:
        (tmp_path / "truth" / f"{case}_lesion.nii.gz").unlink()
    (tmp_path / "truth" / "other_lesion.nii.gz").unlink()
    notes = evaluate_detection(predictions, tmp_path / "truth").notes
    assert "7 detection maps have no reference: other, x0, x1, x2, x3 and 2 more" in notes
    assert not any("no reference" in note for note in evaluate_detection(*cohort(tmp_path / "known")).notes)


def test_missing_and_damaged_predictions_have_failed(capsys, five):
    predictions, table = five
    (predictions / "hit" / "hit_detection_map.nii.gz").unlink()
    damaged = predictions / "healthy" / "healthy_detection_map.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    path = predictions / "scores.json"
    code, out, err = run(capsys, "evaluate", "detection", str(predictions), str(table), "-o", str(path))
    assert code == 4
    assert "hit: there is no prediction" in err
    content = json.loads(path.read_text())
    assert [row["case"] for row in content["failed"]] == ["hit", "healthy"]
    assert "incomplete" in content["failed"][1]["reason"]
    for name in ("auroc", "ap", "sensitivity_at_1", "false_positives", "voxel_specificity"):
        assert (content["summary"][name]["n"], content["summary"][name]["n_failed"]) == (3, 2)
    assert content["cases"][0] == {"case": "hit"} | dict.fromkeys(set(content["cases"][0]) - {"case"})
    assert "auroc\t" in out


def test_a_missing_label_map_fails_its_voxels_alone(five):
    (five[0] / "half" / "half_label.nii.gz").unlink()
    scores = evaluate_detection(*five)
    assert not scores.failed
    dice = scores.summary["dice"]
    assert [dice[key] for key in ("n", "n_failed", "n_not_applicable")] == [2, 1, 2]
    assert scores.summary["auroc"]["n"] == 5
    assert any("voxels of half not scored: there is no label map" in note for note in scores.notes)


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
def test_what_is_no_detection_map_is_refused_by_name(five, values, message):
    save(five[0] / "half" / "half_detection_map.nii.gz", values)
    with pytest.raises(InputError, match=message) as error:
        evaluate_detection(*five)
    assert "half_detection_map" in str(error.value.where)


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


def test_studies_of_a_patient_are_drawn_together(tmp_path):
    once = cohort(tmp_path / "once")
    thrice = {f"{name}-{study}": case for name, case in COHORT.items() for study in range(3)}
    patients = {name: name.split("-")[0] for name in thrice}
    grouped = evaluate_detection(*cohort(tmp_path / "grouped", thrice, patients=patients))
    naive = evaluate_detection(*cohort(tmp_path / "naive", thrice))
    alone = evaluate_detection(*once)
    assert grouped.settings["cohort"]["patients"] == 5
    for metric in ("auroc", "ap", "dice", "false_positives"):
        assert grouped.summary[metric]["mean"] == pytest.approx(naive.summary[metric]["mean"])
        assert grouped.summary[metric]["ci95"] == pytest.approx(alone.summary[metric]["ci95"], abs=0.12)
        assert np.ptp(grouped.summary[metric]["ci95"]) > 1.2 * np.ptp(naive.summary[metric]["ci95"])


def test_two_models(capsys, tmp_path):
    """Forty patients; the second model finds every second tumour only."""
    better, worse = {}, {}
    for number in range(40):
        truth, found, label = COHORT["hit" if number % 2 else "healthy"]
        better[f"c{number:02d}"] = truth, found, label
        worse[f"c{number:02d}"] = truth, NOTHING if number % 4 == 1 else found, label
    predictions, table = cohort(tmp_path / "one", better)
    others, _ = cohort(tmp_path / "two", worse)
    path = tmp_path / "scores.json"
    words = ["evaluate", "detection", str(predictions), str(table), "-o", str(path), "--compare", str(others)]
    code, out, err = run(capsys, *words)
    assert code == 0, err
    comparison = json.loads(path.read_text())["comparison"]
    assert (comparison["with"], comparison["n"], comparison["left_out"]) == ("two/predictions", 40, [])
    ap = comparison["metrics"]["ap"]
    assert ap["difference"] == pytest.approx(0.5)
    assert ap["ci95"][0] > 0.2
    assert ap["p"] < 0.01
    assert f"ap\t0.500\t{ap['ci95'][0]:.3f}" in out
    (others / "c03" / "c03_detection_map.nii.gz").unlink()
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "1 case is not in the comparison" in err
    assert json.loads(path.read_text())["comparison"]["left_out"] == ["c03"]


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_the_command_and_its_table(capsys, five):
    path = five[0].parent / "scores.json"
    code, out, err = run(capsys, "evaluate", "detection", *map(str, five), "-o", str(path), "--seed", "3")
    assert code == 0, err
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0] == ["metric", "mean", "sd", "95 % interval", "n", "failed", "not applicable", "lesions"]
    assert lines[1][:3] == ["auroc", "0.917", "–"]
    assert [line[-1] for line in lines[1:4]] == ["–", "3", "3"]
    assert [line[0] for line in lines[1:4]] == ["auroc", "ap", "score"]
    assert next(line for line in lines if line[0] == "dice")[4:] == ["3", "0", "2", "–"]
    assert json.loads(path.read_text())["settings"]["bootstrap"]["seed"] == 3


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
