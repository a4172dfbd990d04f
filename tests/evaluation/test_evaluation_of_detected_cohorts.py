"""A cohort of detection maps: what is missing or does not apply, intervals, two models, the command and its table."""

import json
import math

import numpy as np
import pytest
from detection_folders import COHORT, NOTHING, cohort

from medgen.cli import main
from medgen.evaluation import evaluate_detection


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.fixture
def five(tmp_path):
    return cohort(tmp_path)


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
    assert lines["dice"][:3] == ["1.000", "–", "1.000"]
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
    assert "6 predictions have no reference: x0, x1, x2, x3, x4 and 1 more" in notes
    for case in strangers:
        (tmp_path / "truth" / f"{case}_lesion.nii.gz").unlink()
    (tmp_path / "truth" / "other_lesion.nii.gz").unlink()
    notes = evaluate_detection(predictions, tmp_path / "truth").notes
    assert "7 predictions have no reference: other, x0, x1, x2, x3 and 2 more" in notes
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
    assert any("voxels not scored in half: there is no label map" in note for note in scores.notes)


def test_studies_of_a_patient_are_drawn_together(tmp_path):
    patients = COHORT | {f"{name}2": case for name, case in COHORT.items()}
    once = cohort(tmp_path / "once", patients)
    thrice = {f"{name}-{study}": case for name, case in patients.items() for study in range(3)}
    patients = {name: name.split("-")[0] for name in thrice}
    grouped = evaluate_detection(*cohort(tmp_path / "grouped", thrice, patients=patients))
    naive = evaluate_detection(*cohort(tmp_path / "naive", thrice))
    alone = evaluate_detection(*once)
    assert grouped.settings["cohort"]["patients"] == 10
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


def test_the_command_and_its_table(capsys, five):
    path = five[0].parent / "scores.json"
    code, out, err = run(capsys, "evaluate", "detection", *map(str, five), "-o", str(path), "--seed", "3")
    assert code == 0, err
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0] == [
        "metric",
        "mean",
        "sd",
        "95 % interval or the cases",
        "n",
        "failed",
        "not applicable",
        "lesions",
    ]
    assert lines[1][:3] == ["auroc", "0.917", "–"]
    assert [line[-1] for line in lines[1:4]] == ["–", "3", "3"]
    assert [line[0] for line in lines[1:4]] == ["auroc", "ap", "score"]
    assert next(line for line in lines if line[0] == "dice")[4:] == ["3", "0", "2", "–"]
    assert json.loads(path.read_text())["settings"]["bootstrap"]["seed"] == 3
