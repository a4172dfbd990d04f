"""Folders of label maps against the truth: classes, empty masks, refusals, and what the file says of all that."""

import json
import math

import numpy as np
import pytest

from medgen.cases import from_nnunet, write_cases
from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation import evaluate, evaluate_segmentation
from medgen.volume import Volume, write_volume

SHAPE = (12, 10, 8)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
DIAGONAL = 2 * math.sqrt(12**2 + 10**2 + 8**2)


def save(path, data, kind="label", affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint8 if kind == "label" else np.float32
    write_volume(Volume(np.asarray(data, dtype=dtype)[None], affine), path, kind=kind)


def labels(**places):
    """A label map; ``v2=(3, 6)`` writes the value 2 to the columns 3 to 5 of one slice."""
    data = np.zeros(SHAPE, dtype=np.uint8)
    for value, (start, stop) in places.items():
        data[start:stop, 2:6, 2:6] = int(value[1:])
    return data


def cohort(folder, cases, *, split="test"):
    """``case=(truth, prediction)``, either None where there is no file."""
    rows = ["case,split,domain,label,mask"]
    for case, (truth, prediction) in cases.items():
        save(folder / "truth" / f"{case}_label.nii.gz", truth)
        rows.append(f"{case},{split},target,truth/{case}_label.nii.gz,")
        if prediction is not None:
            save(folder / "predictions" / case / f"{case}_label.nii.gz", prediction)
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "predictions", folder / "cases.csv"


@pytest.fixture
def four(tmp_path):
    """A hit (4 of 6 columns), a miss, an invention and a case without anything."""
    return cohort(
        tmp_path,
        {
            "hit": (labels(v1=(2, 6)), labels(v1=(4, 6))),
            "miss": (labels(v1=(2, 6)), labels()),
            "invention": (labels(), labels(v1=(2, 4))),
            "nothing": (labels(), labels()),
        },
    )


def test_a_hit_a_miss_an_invention_and_nothing(four):
    scores = evaluate_segmentation(*four)
    rows = {row["case"]: row for row in scores.cases}
    assert rows["hit"]["dice"] == pytest.approx(2 * 2 / 6)
    assert (rows["hit"]["recall"], rows["hit"]["precision"]) == (0.5, 1)
    assert rows["hit"]["volume_error"] == pytest.approx(-2 * 16 * 0.008)
    assert (rows["hit"]["lesions_true"], rows["hit"]["lesion_f1"]) == (1, 1)
    assert (rows["miss"]["dice"], rows["miss"]["nsd"], rows["miss"]["lesion_recall"]) == (0, 0, 0)
    assert rows["miss"]["hd95"] == pytest.approx(DIAGONAL)
    assert (rows["invention"]["dice"], rows["invention"]["lesion_precision"]) == (0, 0)
    assert rows["invention"]["hd95"] == pytest.approx(DIAGONAL)
    assert math.isnan(rows["invention"]["recall"])
    assert math.isnan(rows["nothing"]["dice"])
    assert rows["nothing"]["volume_error"] == 0
    summary = scores.summary["dice"]
    assert summary["mean"] == pytest.approx(2 / 3 / 3)
    assert [summary[key] for key in ("n", "n_failed", "n_not_applicable", "n_missed")] == [3, 0, 1, 1]
    assert scores.summary["hd95"]["mean"] == pytest.approx((4 + 2 * DIAGONAL) / 3, abs=0.2)
    assert scores.summary["recall"]["n_not_applicable"] == 2
    assert not scores.failed
    assert any("missed entirely in miss" in note for note in scores.notes)
    assert any("neither in the reference nor predicted in nothing" in note for note in scores.notes)


def test_the_file_says_what_the_numbers_depend_on(four):
    path = evaluate("segmentation", *four, tolerance=3.0, lesion_overlap=0.5).write(four[0] / "scores.json")
    content = json.loads(path.read_text())
    promised = {"dice", "hd95", "nsd", "volume_error", "recall", "precision"}
    assert content["task"] == "segmentation"
    assert promised <= set(content["summary"])
    assert promised | {"case", "lesion_f1", "volume_ml"} <= set(content["cases"][0])
    settings = content["settings"]
    assert "diagonal" in settings["empty_masks"]["prediction"]
    assert (settings["tolerance"], settings["lesion_overlap"], settings["split"]) == (3, 0.5, "test")
    assert len(settings["references"]["sha256"]) == 64
    assert content["cases"][3]["dice"] is None


def test_files_of_no_case_or_of_two_are_listed(tmp_path):
    good = labels(v1=(2, 6))
    four = cohort(tmp_path, {"a": (good, good), "b": (good, good), "c": (good, None), "c_label": (good, None)})
    folder = four[0]
    save(folder / "hti_label.nii.gz", good)
    save(folder / "typo.nii.gz", good)
    save(folder / "a.nii.gz", labels())
    save(folder / "b_sd.nii.gz", good)
    save(folder / "c_label.nii.gz", good)
    scores = evaluate_segmentation(*four)
    assert "2 predictions have no reference: hti, typo" in scores.notes
    assert "a has several predictions: a_label.nii.gz was scored, not a.nii.gz" in scores.notes
    assert {each["case"]: each["reason"] for each in scores.failed} == dict.fromkeys(
        ("c", "c_label"), "c_label.nii.gz is the prediction of another case, too"
    )
    assert scores.summary["dice"]["mean"] == 1


@pytest.mark.parametrize("layout", ["{0}/{0}", "{0}"])
def test_a_class_with_the_name_of_the_role_is_no_case(tmp_path, layout):
    """Its probability ends like a prediction: a_probability_skull.nii.gz beside a_skull.nii.gz."""
    skull = labels(v1=(2, 6))
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    for folder in (predictions, truth):
        for kind in ("skull", "probability_skull", "sd_skull"):
            save(folder / f"{layout.format('a')}_{kind}.nii.gz", skull, "label" if kind == "skull" else "scalar")
    save(predictions / f"{layout.format('typo')}_skull.nii.gz", skull)
    scores = evaluate_segmentation(predictions, truth, role="skull", classes={"skull": [1]})
    assert [row["case"] for row in scores.cases] == ["a"]
    assert scores.cases[0]["ece"] == 0
    assert [note for note in scores.notes if "no reference" in note] == ["1 prediction has no reference: typo"]


def test_the_tolerance_and_the_overlap_are_used(four):
    strict, loose = (
        evaluate_segmentation(*four, tolerance=mm, lesion_overlap=overlap).cases[0]
        for mm, overlap in ((2, 0.6), (5, 0.5))
    )
    assert strict["nsd"] < loose["nsd"] == 1
    assert (strict["lesion_f1"], loose["lesion_f1"]) == (0, 1)


def test_a_missing_and_a_damaged_prediction_have_failed_which_is_not_a_miss(tmp_path):
    truth = labels(v1=(2, 6))
    folder, table = cohort(tmp_path, {"a": (truth, truth), "b": (truth, None), "c": (truth, truth)})
    damaged = folder / "c" / "c_label.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    scores = evaluate_segmentation(folder, table)
    assert [row["case"] for row in scores.failed] == ["b", "c"]
    summary = scores.summary["dice"]
    assert [summary[key] for key in ("mean", "n", "n_failed", "n_missed", "n_not_applicable")] == [1, 1, 2, 0, 0]
    assert math.isnan(scores.cases[1]["volume_ml"])


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_one_prediction_that_is_no_label_map_fails_alone_and_all_are_refused(four, value):
    _replace(four[0] / "hit" / "hit_label.nii.gz", value)
    scores = evaluate_segmentation(*four)
    assert [each["case"] for each in scores.failed] == ["hit"]
    assert "integers" in scores.failed[0]["reason"]
    assert {row["case"]: row["dice"] for row in scores.cases}["miss"] == 0
    for name in ("miss", "invention", "nothing"):
        _replace(four[0] / name / f"{name}_label.nii.gz", value)
    with pytest.raises(InputError, match="no integers") as caught:
        evaluate_segmentation(*four)
    assert "_label" in str(caught.value.where)
    assert "probabilities" in caught.value.fix


def _replace(path, value):
    path.unlink()
    save(path, np.full(SHAPE, value), kind="scalar")


def test_the_reference_is_no_prediction(four):
    with pytest.raises(UsageError, match="the prediction of 'hit' is the file of its own reference"):
        evaluate_segmentation(four[0].parent / "truth", four[1])


@pytest.mark.parametrize("fault", ["shifted", "flipped", "cropped"])
def test_another_grid_is_refused(four, fault):
    path = four[0] / "hit" / "hit_label.nii.gz"
    path.unlink()
    data, affine = labels(v1=(4, 6)), AFFINE.copy()
    if fault == "shifted":
        affine[0, 3] = 2.0
    elif fault == "flipped":
        affine[0, 0], affine[0, 3] = -2.0, 2.0 * (SHAPE[0] - 1)
    else:
        data = data[:, :, 1:]
    save(path, data, affine=affine)
    with pytest.raises(InputError) as caught:
        evaluate_segmentation(*four)
    assert "predictions/hit/hit_label.nii.gz" in str(caught.value)
    assert "truth/hit_label.nii.gz" in str(caught.value)


def replaced(folder, data, **position):
    """The prediction of the case ``hit`` as other voxels, elsewhere: ``x=2.0`` lies 2 mm further to the left."""
    path = folder / "hit" / "hit_label.nii.gz"
    path.unlink()
    affine = AFFINE.copy()
    for axis, offset in position.items():
        affine["xyz".index(axis), 3] = offset
    return path, data, affine


def test_both_grids_are_named_and_the_way_out(four):
    path, data, affine = replaced(four[0], labels(v1=(4, 6))[:, :, 1:], x=4.0)
    affine[2, 2] = 3.0
    save(path, data, affine=affine)
    with pytest.raises(InputError, match="12 x 10 x 7 voxels of 2 x 2 x 3 mm") as caught:
        evaluate_segmentation(*four)
    assert "12 x 10 x 8 voxels of 2 x 2 x 2 mm (RAS)" in caught.value.what
    assert "--resample-to-reference" in caught.value.fix


@pytest.mark.parametrize(
    ("columns", "x", "dice"),
    [((4, 6), 0.1, 2 * 2 / 6), ((4, 6), 2.0, 2 * 1 / 6), ((2, 4), 4.8, 2 * 2 / 6), ((2, 4), 18.0, 0)],
)
def test_a_prediction_elsewhere_counts_where_it_lies_in_the_patient(four, columns, x, dice):
    """Columns of 2 mm, moved by x mm: the truth has columns 2 to 5."""
    path, data, affine = replaced(four[0], labels(v1=columns), x=x)
    save(path, data, affine=affine)
    scores = evaluate_segmentation(*four, resample_to_reference=True)
    assert scores.cases[0]["dice"] == pytest.approx(dice)
    assert scores.settings["resample_to_reference"] == "nearest neighbour"
    assert scores.settings.get("resampled", []) == (["hit"] if x > 0.2 else [])
    assert any("resampled to the grid of the reference" in note for note in scores.notes) == (x > 0.2)


def test_a_flipped_file_scores_as_the_one_that_is_not(four):
    expected = evaluate_segmentation(*four)
    path, data, affine = replaced(four[0], labels(v1=(4, 6))[::-1], x=2.0 * (SHAPE[0] - 1))
    affine[0, 0] = -2.0
    save(path, data, affine=affine)
    found = evaluate_segmentation(*four, resample_to_reference=True)
    for row, same in zip(found.cases, expected.cases, strict=True):
        assert row == pytest.approx(same, nan_ok=True)
    assert found.settings["resampled"] == ["hit"]
    assert expected.settings["resample_to_reference"] is None


def test_a_prediction_beside_its_reference_is_refused_in_any_case(four, tmp_path, capsys):
    path, data, affine = replaced(four[0], labels(v1=(4, 6)), z=900.0)
    save(path, data, affine=affine)
    with pytest.raises(InputError, match="does not overlap"):
        evaluate_segmentation(*four, resample_to_reference=True)
    path, data, affine = replaced(four[0], labels(v1=(4, 6)), x=2.0)
    save(path, data, affine=affine)
    command = ["evaluate", "segmentation", *map(str, four), "-o", str(tmp_path / "scores.json")]
    for words, code in ((command, 3), ([*command, "--resample-to-reference"], 0)):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == code
    assert "--resample-to-reference" in capsys.readouterr().err


def test_grouped_values_of_the_references(tmp_path):
    """Predictions hold class indices; the references hold what the expert drew."""
    truth = labels(v1=(2, 4), v4=(4, 6), v2=(7, 9), v9=(10, 11))
    prediction = labels(v1=(2, 6), v2=(7, 8))
    folder, table = cohort(tmp_path, {"a": (truth, prediction)})
    (row,) = evaluate_segmentation(folder, table, classes={"core": [1, 4], "oedema": [2]}).cases
    assert row["dice_core"] == 1
    assert row["dice_oedema"] == pytest.approx(2 / 3)
    assert row["dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert row["hd95_core"] == 0
    assert row["volume_true_ml_oedema"] == pytest.approx(2 * 16 * 0.008)
    scores = evaluate_segmentation(folder, table, classes={"core": [1, 4], "oedema": [2]})
    assert scores.settings["classes"] == {"core": [1, 4], "oedema": [2]}
    names = [line[0] for line in scores.table()]
    assert "hd95_core (mm)" in names
    assert "volume_true_ml_oedema" in names
    assert "volume_error_core (ml)" in names


def test_whole_tumour(tmp_path):
    truth = labels(v1=(2, 4), v2=(4, 6), v4=(6, 8))
    folder, table = cohort(tmp_path, {"a": (truth, labels(v1=(2, 8)))})
    (row,) = evaluate_segmentation(folder, table, classes={"tumour": [1, 2, 4]}).cases
    assert row["dice"] == 1
    assert "dice_tumour" not in row


def test_a_class_that_no_reference_holds_is_told(tmp_path):
    """Scored it is, and 0 wherever something is predicted: as if the model were that bad."""
    folder, table = cohort(tmp_path, {"a": (labels(v1=(2, 4)), labels(v1=(2, 4)))})
    scores = evaluate_segmentation(folder, table, classes={"a": [9, 7], "b": [1, 8]})
    assert scores.cases[0]["dice_a"] == 0
    said = [note for note in scores.notes if note.startswith("no reference contains")]
    assert said == ["no reference contains a value of class 'a' (7, 9)"]
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[6:] = 1
    save(tmp_path / "mask.nii.gz", mask)
    table.write_text(table.read_text().rstrip("\n") + "mask.nii.gz\n")
    masked = evaluate_segmentation(folder, table, classes={"b": [1]}, mask_role="mask")
    assert "no reference contains a value of class 'b' (1) inside the mask" in masked.notes


def test_predictions_that_hold_the_values_of_the_references(tmp_path):
    truth = labels(v1=(2, 4), v4=(4, 6))
    folder, table = cohort(tmp_path, {"a": (truth, truth)})
    with pytest.raises(InputError, match="value 4, but there are 1 classes") as caught:
        evaluate_segmentation(folder, table, classes={"tumour": [1, 4]})
    assert "--group-predictions" in caught.value.fix
    (row,) = evaluate_segmentation(folder, table, classes={"tumour": [1, 4]}, group_predictions=True).cases
    assert row["dice"] == 1


def test_the_classes_are_those_of_the_model_that_predicted(tmp_path):
    truth = labels(v1=(2, 4), v4=(4, 6), v2=(7, 9))
    folder, table = cohort(tmp_path, {"a": (truth, labels(v1=(2, 6), v2=(7, 9)))})
    (folder / "prediction.json").write_text(json.dumps({"model": {"classes": ["core", "oedema"]}}))
    right = {"core": [1, 4], "oedema": [2]}
    assert evaluate_segmentation(folder, table, classes=right).cases[0]["dice"] == 1
    for wrong in ({"oedema": [2], "core": [1, 4]}, {"core": [1, 4]}, None):
        with pytest.raises(UsageError, match="the classes 1 core, 2 oedema"):
            evaluate_segmentation(folder, table, classes=wrong)
    with pytest.raises(UsageError, match="already"):
        evaluate_segmentation(folder, table, classes=right, group_predictions=True)
    (folder / "prediction.json").write_text('{"model": ')
    with pytest.raises(InputError, match="damaged"):
        evaluate_segmentation(folder, table, classes=right)


def test_a_model_without_groups_predicts_values_which_are_grouped(tmp_path):
    truth = labels(v1=(2, 4), v2=(4, 6))
    folder, table = cohort(tmp_path, {"a": (truth, labels(v1=(2, 6)))})
    (folder / "prediction.json").write_text(json.dumps({"model": {"classes": ["1", "2"]}}))
    scores = evaluate_segmentation(folder, table, classes={"whole": [1, 2]})
    assert scores.cases[0]["dice"] == 1
    assert scores.settings["group_predictions"] is True
    assert evaluate_segmentation(folder, table).cases[0]["dice_2"] == 0


def test_without_classes_each_value_is_one_and_doubts_are_said(tmp_path):
    truth = labels(v1=(2, 4), v4=(4, 6))
    folder, table = cohort(tmp_path, {"a": (truth, labels(v1=(2, 6))), "b": (labels(v1=(2, 4)), labels(v1=(2, 4)))})
    scores = evaluate_segmentation(folder, table)
    first, second = scores.cases
    assert first["dice_1"] == pytest.approx(2 / 3)
    assert first["dice_4"] == 0
    assert first["dice"] == pytest.approx(1 / 3)
    assert second["dice"] == 1  # class 4 is not applicable
    assert scores.summary["dice_4"]["n_missed"] == 1
    assert scores.summary["dice_4"]["n_not_applicable"] == 1
    assert scores.summary["dice"]["n_missed"] == 1
    assert any("no prediction contains the label value 4" in note for note in scores.notes)


def test_outside_the_mask_nothing_counts(tmp_path):
    folder, table = cohort(tmp_path, {"a": (labels(v1=(2, 4)), labels(v1=(2, 8)))})
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[:4] = 1
    save(tmp_path / "mask.nii.gz", mask)
    table.write_text(table.read_text().rstrip("\n") + "mask.nii.gz\n")
    assert evaluate_segmentation(folder, table).cases[0]["dice"] == pytest.approx(0.5)
    assert evaluate_segmentation(folder, table, mask_role="mask").cases[0]["dice"] == 1


def test_one_domain(tmp_path):
    truth = labels(v1=(2, 4))
    folder, table = cohort(tmp_path, {"a": (truth, truth), "b": (truth, None)})
    table.write_text(table.read_text().replace("b,test,target", "b,test,source"))
    scores = evaluate_segmentation(folder, table, domain="target")
    assert [row["case"] for row in scores.cases] == ["a"]
    assert scores.settings["domain"] == "target"
    with pytest.raises(UsageError, match="domain 'target'"):
        evaluate_segmentation(folder, tmp_path / "truth", domain="target")


def test_folders_and_a_table_for_the_terminal(four):
    scores = evaluate_segmentation(four[0], four[1].parent / "truth")
    assert len(scores.cases) == 4
    rows = scores.table()
    assert rows[0] == ("metric", "mean", "sd", "95 % interval or the cases", "n", "failed", "missed", "not applicable")
    assert rows[1][0] == "dice"
    assert rows[1][4:] == ("3", "0", "1", "1")
    assert rows[2][0] == "hd95 (mm)"


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_the_command(capsys, four):
    path = four[0].parent / "scores.json"
    code, out, err = run(capsys, "evaluate", "segmentation", *map(str, four), "-o", str(path), "--classes", "lesion:1")
    assert code == 0, err
    assert out.splitlines()[1].startswith("dice\t0.222\t")
    assert "lesion is missed entirely in miss" in err
    assert json.loads(path.read_text())["settings"]["classes"] == {"lesion": [1]}


def test_the_command_names_the_case_that_failed(capsys, four):
    (four[0] / "hit" / "hit_label.nii.gz").unlink()
    path = four[0].parent / "scores.json"
    code, _, err = run(capsys, "evaluate", "segmentation", *map(str, four), "-o", str(path))
    assert code == 4
    assert "hit: there is no prediction" in err
    assert json.loads(path.read_text())["summary"]["dice"]["n_failed"] == 1


@pytest.mark.parametrize("words", [["tumour"], [":1"], ["a:x"], ["a:1,"], ["a:1", "a:2"]])
def test_classes_that_cannot_be_read(capsys, four, words):
    options = [part for word in words for part in ("--classes", word)]
    code, _, err = run(capsys, "evaluate", "segmentation", *map(str, four), *options)
    assert code == 2
    assert "do:" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": {"a": [1, 2], "b": [2]}}, "value 2 is in two classes"),
        ({"classes": {"a": [0]}}, "1 or more"),
        ({"classes": {"a": []}}, "1 or more"),
        ({"group_predictions": True}, "without classes"),
        ({"lesion_overlap": 1.5}, "lesion_overlap"),
        ({"tolerance": -1.0}, "tolerance"),
    ],
)
def test_what_contradicts_itself_is_refused(four, options, message):
    with pytest.raises(UsageError, match=message):
        evaluate_segmentation(*four, **options)


def test_real_lesions_against_themselves_and_moved(real_data, tmp_path):
    """A drawn label map of a scanner's grid: equal is perfect, one voxel off is that far off."""
    from medgen.volume import read_label

    path = real_data / "brain_tumour" / "brats_2013_pat0003" / "labels.nii.gz"
    truth = read_label(path)
    write_volume(truth, tmp_path / "same.nii.gz", kind="label")
    write_volume(truth.with_data(np.roll(truth.data, 1, axis=1)), tmp_path / "moved.nii.gz", kind="label")
    everything = {"classes": {"all": list(range(1, 256))}, "group_predictions": True}
    (same,) = evaluate_segmentation(tmp_path / "same.nii.gz", path, **everything).cases
    (moved,) = evaluate_segmentation(tmp_path / "moved.nii.gz", path, **everything).cases
    assert (same["dice"], same["hd95"], same["nsd"], same["lesion_f1"]) == (1, 0, 1, 1)
    assert moved["hd95"] == pytest.approx(truth.spacing[0], abs=1e-3)
    assert 0.5 < moved["dice"] < 1


def probable(folder, case, values, name="1", **options):
    save(folder / case / f"{case}_probability_{name}.nii.gz", values, "scalar", **options)


def test_probabilities_beside_the_label_maps_have_a_calibration_error(tmp_path):
    """Of a, 32 of the 96 voxels at 0.8 lack the class and no other has it; b is right throughout."""
    cases = {name: (labels(v1=(2, 6)), labels(v1=(2, 8))) for name in "abc"}
    places = cohort(tmp_path, cases)
    probable(places[0], "a", 0.8 * labels(v1=(2, 8)))
    probable(places[0], "b", labels(v1=(2, 6)))
    scores = evaluate_segmentation(*places)
    expected = abs(0.8 * 96 - 64) / np.prod(SHAPE)
    assert [row["ece"] for row in scores.cases] == pytest.approx([expected, 0, math.nan], nan_ok=True)
    assert [scores.summary["ece"][key] for key in ("n", "n_failed", "n_not_applicable")] == [2, 1, 0]
    table = scores.details["reliability"]["1"]
    assert table["frequency"][8] == pytest.approx(2 / 3)
    assert table["share"][8:] == pytest.approx([48 / 960, 32 / 960])
    assert "no probabilities beside the prediction of c" in scores.notes
    assert "10 equal bins" in scores.settings["ece"]


def test_without_probabilities_nothing_changes(four):
    scores = evaluate_segmentation(*four)
    assert not {"ece"} & {*scores.summary, *scores.settings, *scores.cases[0]}
    assert not scores.details


def test_the_probability_of_each_class_in_the_mask(tmp_path):
    """Class scar (3) is nowhere in the image; its probability is 0.25 in the mask and 0 outside."""
    truth = labels(v2=(2, 6))
    places = cohort(tmp_path, {"a": (truth, (truth > 0).astype(np.uint8))})
    inside = np.zeros(SHAPE, np.uint8)
    inside[:6] = 1
    save(tmp_path / "truth" / "mask.nii.gz", inside)
    places[1].write_text(places[1].read_text().replace("_label.nii.gz,\n", "_label.nii.gz,truth/mask.nii.gz\n"))
    probable(places[0], "a", truth > 0, name="white-matter")
    probable(places[0], "a", 0.25 * inside, name="scar")
    scores = evaluate_segmentation(*places, classes={"white matter": [2], "scar": [3]}, mask_role="mask")
    row = scores.cases[0]
    assert (row["ece_white matter"], row["ece_scar"], row["ece"]) == (0, 0.25, 0.125)
    assert (row["volume_ml_scar"], row["dice"]) == (0, 1)
    assert scores.details["reliability"]["scar"]["share"][2] == 1


def test_a_class_without_its_probability_fails_and_is_named(tmp_path):
    """Of a both classes have one, of b the second one's file is gone: no mean of the first one alone."""
    truth = labels(v1=(2, 4), v2=(5, 7))
    places = cohort(tmp_path, {"a": (truth, truth), "b": (truth, truth)})
    for case, index in (("a", 1), ("a", 2), ("b", 1)):
        probable(places[0], case, truth == index, name=str(index))
    scores = evaluate_segmentation(*places)
    assert [row["ece"] for row in scores.cases] == pytest.approx([0, math.nan], nan_ok=True)
    assert [row["ece_1"] for row in scores.cases] == [0, 0]
    counts = {key: (scores.summary[key]["n"], scores.summary[key]["n_failed"]) for key in ("ece", "ece_1", "ece_2")}
    assert counts == {"ece": (1, 1), "ece_1": (2, 0), "ece_2": (1, 1)}
    assert scores.summary["ece"]["n_not_applicable"] == scores.summary["ece_2"]["n_not_applicable"] == 0
    assert scores.summary["dice"]["n_failed"] == 0
    assert "no probability of 2 beside the prediction of b: no ece there" in scores.notes


@pytest.mark.parametrize("kind", ["negative", "nan", "shifted", "damaged"])
def test_probabilities_that_cannot_be_used(tmp_path, kind):
    places = cohort(tmp_path, {"a": (labels(v1=(2, 6)), labels(v1=(2, 6)))})
    values = labels(v1=(2, 6)).astype(np.float32)
    values[0, 0, 0] = {"negative": -0.5, "nan": np.nan}.get(kind, 0)
    probable(places[0], "a", values, affine=AFFINE + np.eye(4, k=3) * (kind == "shifted"))
    file = places[0] / "a" / "a_probability_1.nii.gz"
    if kind == "damaged":
        file.write_bytes(file.read_bytes()[:-30])
    scores = evaluate_segmentation(*places)
    assert scores.cases[0]["dice"] == 1
    assert math.isnan(scores.cases[0]["ece"])
    assert [scores.summary["ece"][key] for key in ("n", "n_failed", "n_not_applicable")] == [0, 1, 0]
    assert any(note.startswith("the probability of 1 in a cannot be scored: ") for note in scores.notes)


def test_probabilities_are_resampled_with_their_label_map(tmp_path):
    places = cohort(tmp_path, {"a": (labels(v1=(2, 6)), None)})
    moved = AFFINE.copy()
    moved[0, 3] = -4.0
    padding = ((2, 2), (0, 0), (0, 0))
    save(places[0] / "a" / "a_label.nii.gz", np.pad(labels(v1=(2, 6)), padding), affine=moved)
    probable(places[0], "a", np.pad(labels(v1=(2, 6)), padding), affine=moved)
    assert evaluate_segmentation(*places, resample_to_reference=True).cases[0]["ece"] == pytest.approx(0, abs=1e-6)


def test_an_output_folder_of_nnunet_is_scored_as_it_is(tmp_path):
    """CASE.nii.gz beside what nnU-Net leaves there, for a table out of its dataset; 1 and 3 are the classes."""
    dataset, output = tmp_path / "Dataset001_Head", tmp_path / "output"
    for name in ("head_001", "head_002"):
        save(dataset / f"imagesTs/{name}_0000.nii.gz", np.zeros(SHAPE), kind="scalar")
        save(dataset / f"labelsTs/{name}.nii.gz", labels(v1=(2, 6), v3=(7, 9)))
        save(output / f"{name}.nii.gz", labels(v1=(4, 8), v3=(9, 11)))
    save(dataset / "imagesTr/head_000_0000.nii.gz", np.zeros(SHAPE), kind="scalar")
    described = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "core": 1, "rim": 3}}
    for folder in (dataset, output):
        (folder / "dataset.json").write_text(json.dumps(described))
    for name in ("plans.json", "predict_from_raw_data_args.json"):
        (output / name).write_text("{}")
    np.savez(output / "head_001.npz", probabilities=np.zeros(3))
    write_cases(from_nnunet(dataset), tmp_path / "cases.csv")
    classes = {"core": [1], "rim": [3]}
    for references in (tmp_path / "cases.csv", dataset / "labelsTs"):
        scores = evaluate_segmentation(output, references, classes=classes, group_predictions=True)
        assert [row["case"] for row in scores.cases] == ["head_001", "head_002"]
        assert [row["dice_core"] for row in scores.cases] == pytest.approx([0.5, 0.5])
        assert [row["dice_rim"] for row in scores.cases] == [0, 0]
