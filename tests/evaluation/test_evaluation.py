"""Folders of predictions against tables and folders of truth: what is scored, refused and counted."""

import json
import math

import numpy as np
import pytest

import medgen
from medgen.errors import InputError, UsageError
from medgen.evaluation import evaluate, evaluate_synthesis
from medgen.metrics.image import mae
from medgen.volume import Volume, write_volume

SHAPE = (14, 12, 10)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def save(path, data, affine=AFFINE, kind="hu"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(np.asarray(data, dtype=np.float32)[None], affine), path, kind=kind)


def head(number):
    """A block of soft tissue with a piece of bone and a sinus, in air."""
    ct = np.full(SHAPE, -1000.0)
    ct[2:12, 2:10, 1:9] = 40 + number
    ct[4:7, 4:7, 3:6] = 800
    ct[9, 5, 5] = -900
    return ct


@pytest.fixture
def cohort(tmp_path):
    """Three cases, of which b and c are in the test split; predictions off by +10 and -20 HU."""
    rows = ["case,split,ct,mask"]
    for number, (case, split) in enumerate([("a", "train"), ("b", "test"), ("c", "test")]):
        folder = tmp_path / "truth" / case
        mask = np.zeros(SHAPE)
        mask[2:12, 2:10, 1:9] = 1
        save(folder / f"{case}_ct.nii.gz", head(number))
        save(folder / f"{case}_mask.nii.gz", mask, kind="label")
        rows.append(f"{case},{split},truth/{case}/{case}_ct.nii.gz,truth/{case}/{case}_mask.nii.gz")
        error = (0, 10, -20)[number]
        prediction = np.where(mask > 0, head(number) + error, -1024)
        save(tmp_path / "predictions" / case / f"{case}_ct.nii.gz", prediction)
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_test_split_is_scored_and_said_so(cohort):
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    assert [row["case"] for row in scores.cases] == ["b", "c"]
    assert [row["mae"] for row in scores.cases] == [10, 20]
    assert [row["me"] for row in scores.cases] == [10, -20]
    assert scores.cases[0]["psnr"] == pytest.approx(20 * math.log10(4095 / 10))
    assert scores.summary["mae"]["mean"] == 15
    assert scores.summary["mae"]["n"] == 2
    assert scores.settings["split"] == "test"
    assert any("'test'" in note for note in scores.notes)
    assert not scores.failed


def test_another_split_on_request(cohort):
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", split="all")
    assert [row["case"] for row in scores.cases] == ["a", "b", "c"]
    # E8: identical volumes
    identical = scores.cases[0]
    assert (identical["mae"], identical["ssim"], identical["psnr"]) == (0, pytest.approx(1), math.inf)
    assert scores.summary["psnr"]["n_infinite"] == 1
    assert math.isfinite(scores.summary["psnr"]["mean"])


def test_the_truth_is_not_scored_against_itself(cohort):
    with pytest.raises(UsageError, match="the prediction of 'b' is the file of its own reference"):
        evaluate_synthesis(cohort / "truth", cohort / "cases.csv")
    link = cohort / "links"
    link.mkdir()
    for case in "bc":
        (link / f"{case}_ct.nii.gz").symlink_to(cohort / "truth" / case / f"{case}_ct.nii.gz")
    with pytest.raises(UsageError, match="its own reference"):
        evaluate_synthesis(link, cohort / "cases.csv")


def test_padding_of_a_scanner_is_air(cohort):
    padded, prediction = head(1), np.where(head(1) > 0, head(1), -1024)
    mask = np.ones(SHAPE)
    padded[:, :, 0], prediction[:, :, 0] = -3024, -1024
    prediction[head(1) <= 0] = head(1)[head(1) <= 0]
    prediction[:, :, 0] = -1024
    save(cohort / "padded" / "x_ct.nii.gz", padded)
    save(cohort / "padded" / "x_mask.nii.gz", mask, kind="label")
    save(cohort / "perfect" / "x_ct.nii.gz", prediction)
    scores = evaluate_synthesis(cohort / "perfect", cohort / "padded")
    assert (scores.cases[0]["mae"], scores.cases[0]["me"], scores.cases[0]["gradient_ratio"]) == (0, 0, 1)
    assert scores.settings["raised_to_hu"] == -1024
    (note,) = [note for note in scores.notes if "padding" in note]
    assert note.startswith(f"true CT of x: padding: {SHAPE[0] * SHAPE[1]} of {np.prod(SHAPE)} voxels")
    padded[:, :, 0] = 64511
    (cohort / "padded" / "x_ct.nii.gz").unlink()
    save(cohort / "padded" / "x_ct.nii.gz", padded, kind="scalar")
    with pytest.raises(InputError, match="lie above 31000 HU"):
        evaluate_synthesis(cohort / "perfect", cohort / "padded")


def test_padding_of_a_prediction_is_air_before_it_is_resampled(cohort):
    prediction = head(2)
    prediction[:2] = -3024
    moved(cohort, prediction, 0.9)
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", resample_to_reference=True)
    shown = next(row for row in scores.cases if row["case"] == "c")
    prediction[:2] = -1024
    moved(cohort, prediction, 0.9)
    again = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", resample_to_reference=True)
    assert shown == next(row for row in again.cases if row["case"] == "c")


def test_a_copy_of_the_truth_is_named(cohort):
    copy = cohort / "predictions" / "b" / "b_ct.nii.gz"
    copy.write_bytes((cohort / "truth" / "b" / "b_ct.nii.gz").read_bytes())
    notes = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv").notes
    assert [note for note in notes if "copy" in note] == [
        "the prediction is a copy of its own reference, byte for byte: b"
    ]


def test_the_file_has_the_promised_shape(cohort):
    path = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv").write(cohort / "scores.json")
    content = json.loads(path.read_text())
    assert content["task"] == "synthesis"
    promised = {"mae", "me", "psnr", "ssim", "ms_ssim", "mae_air", "mae_soft", "mae_bone", "dice_bone"}
    assert promised <= set(content["summary"])
    assert promised | {"case"} <= set(content["cases"][0])
    assert {"mean", "sd", "ci95", "n", "n_failed"} <= set(content["summary"]["mae"])
    assert len(content["summary"]["mae"]["ci95"]) == 2
    # E8: the ranges are printed; E10: the split is identified
    assert content["settings"]["clip"] == [-1024, 3071]
    assert content["settings"]["data_range"] == 4095
    assert len(content["settings"]["references"]["sha256"]) == 64
    assert str(cohort) not in path.read_text()


def test_the_same_scores_every_time(cohort):
    first = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv").write(cohort / "1.json")
    again = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv").write(cohort / "2.json")
    assert first.read_bytes() == again.read_bytes()


def test_missing_and_damaged_and_not_finite_predictions_have_failed(cohort):
    folder = cohort / "predictions"
    (folder / "a" / "a_ct.nii.gz").unlink()
    damaged = folder / "b" / "b_ct.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    broken = head(2)
    broken[5, 5, 5] = np.nan
    (folder / "c" / "c_ct.nii.gz").unlink()
    save(folder / "c" / "c_ct.nii.gz", broken, kind="scalar")
    save(folder / "d_ct.nii.gz", head(1))
    with (cohort / "cases.csv").open("a") as table:
        table.write("d,test,truth/b/b_ct.nii.gz,truth/b/b_mask.nii.gz\n")
    scores = evaluate_synthesis(folder, cohort / "cases.csv", split="all")
    assert [row["case"] for row in scores.failed] == ["a", "b", "c"]
    assert scores.failed[0]["reason"] == "there is no prediction"
    assert "1 voxels" in scores.failed[2]["reason"]
    assert (scores.summary["mae"]["n"], scores.summary["mae"]["n_failed"]) == (1, 3)
    assert all(math.isnan(scores.cases[0][name]) for name in scores.summary)
    assert [row["mae"] for row in scores.cases][3] == 0


def test_a_mask_with_nothing_in_it_fails_the_case(cohort):
    save_over = cohort / "truth" / "b" / "b_mask.nii.gz"
    save_over.unlink()
    save(save_over, np.zeros(SHAPE), kind="label")
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    assert scores.failed == ({"case": "b", "reason": "the mask is empty"},)


@pytest.mark.parametrize("fault", ["shifted", "flipped", "cropped"])
def test_another_grid_is_refused_and_both_files_named(cohort, fault):
    path = cohort / "predictions" / "c" / "c_ct.nii.gz"
    path.unlink()
    data, affine = head(2), AFFINE.copy()
    if fault == "shifted":
        affine[0, 3] = 2.0
    elif fault == "flipped":
        affine[0, 0], affine[0, 3] = -2.0, 2.0 * (SHAPE[0] - 1)
    else:
        data = data[:, :, 1:]
    save(path, data, affine)
    with pytest.raises(InputError) as caught:
        evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    assert "predictions/c/c_ct.nii.gz" in str(caught.value)
    assert "truth/c/c_ct.nii.gz" in str(caught.value)


def moved(cohort, data, x):
    """The prediction of case c as other voxels, ``x`` mm further along the first axis."""
    path = cohort / "predictions" / "c" / "c_ct.nii.gz"
    path.unlink()
    affine = AFFINE.copy()
    affine[0, 3] = x
    save(path, data, affine)


def test_a_prediction_half_a_voxel_off_is_interpolated(cohort):
    predicted = head(2) - 20
    moved(cohort, predicted, 1.0)
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", resample_to_reference=True)
    there = predicted.copy()
    there[1:] = (predicted[1:] + predicted[:-1]) / 2  # voxels are 2 mm
    inside = (slice(2, 12), slice(2, 10), slice(1, 9))
    assert scores.cases[1]["mae"] == pytest.approx(np.abs(there - head(2))[inside].mean(), rel=1e-5)
    assert scores.settings["resample_to_reference"] == "linear"
    assert scores.settings["resampled"] == ["c"]
    assert "resampled to the grid of the reference (linear): c" in scores.notes


@pytest.mark.parametrize(("first", "fails"), [(2, False), (4, True)])
def test_a_prediction_that_ends_inside_the_mask_has_failed(cohort, first, fails):
    """The mask begins at column 2."""
    whole = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    moved(cohort, np.where(head(2) > -1000, head(2) - 20, -1024)[first:], 2.0 * first)
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", resample_to_reference=True)
    failed = {
        "case": "c",
        "reason": "the prediction is NaN, infinite or outside its field of view in 128 voxels of the mask",
    }
    assert scores.failed == ((failed,) if fails else ())
    if not fails:
        assert scores.cases[1] == pytest.approx(whole.cases[1], nan_ok=True)


def test_a_mask_on_another_grid_is_refused(cohort):
    path = cohort / "truth" / "b" / "b_mask.nii.gz"
    path.unlink()
    save(path, np.ones((4, 4, 4)), kind="label")
    with pytest.raises(InputError, match=r"b_mask|grid|shape"):
        evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")


def test_without_a_mask_the_body_is_scored_and_said_so(cohort):
    table = cohort / "cases.csv"
    table.write_text("case,split,ct\nb,test,truth/b/b_ct.nii.gz\n")
    scores = evaluate_synthesis(cohort / "predictions", table)
    # the body is the block with its sinus: the same voxels as the mask
    assert scores.cases[0]["mae"] == 10
    assert scores.cases[0]["mae_air"] == 10
    assert any("no mask for b" in note and "-300" in note for note in scores.notes)


@pytest.mark.parametrize("layout", ["nested", "named", "bare"])
def test_folders_as_references(tmp_path, layout):
    name = {"nested": "{0}/{0}_ct.nii.gz", "named": "{0}_ct.nii.gz", "bare": "{0}.nii.gz"}[layout]
    for case, error in (("p1", 5), ("p2", 7)):
        save(tmp_path / "truth" / name.format(case), head(0))
        save(tmp_path / "predictions" / case / f"{case}_ct.nii.gz", head(0) + error)
    mask = np.zeros(SHAPE)
    mask[5, 5, 4] = 1
    mask_name = "p2/p2_mask.nii.gz" if layout == "nested" else "p2_mask.nii.gz"
    save(tmp_path / "truth" / mask_name, mask, kind="label")
    scores = evaluate_synthesis(tmp_path / "predictions", tmp_path / "truth")
    assert [(row["case"], row["mae"]) for row in scores.cases] == [("p1", 5), ("p2", 7)]
    assert math.isnan(scores.cases[1]["mae_soft"])  # one voxel of bone is all of its mask
    assert any("no mask for p1:" in note for note in scores.notes)


def test_a_folder_with_a_table_is_read_by_its_table(cohort):
    assert [row["case"] for row in evaluate_synthesis(cohort / "predictions", cohort).cases] == ["b", "c"]


def test_one_volume_against_one(tmp_path):
    save(tmp_path / "x.nii.gz", head(0) + 3)
    save(tmp_path / "patient_ct.nii.gz", head(0))
    (row,) = evaluate_synthesis(tmp_path / "x.nii.gz", tmp_path / "patient_ct.nii.gz").cases
    assert (row["case"], row["mae"]) == ("patient", 3)


def test_what_is_refused(cohort):
    with pytest.raises(InputError, match="none of the 2 cases has a prediction") as caught:
        evaluate_synthesis(cohort / "truth" / "a", cohort / "cases.csv")
    assert "b/b_ct.nii.gz" in caught.value.fix
    with pytest.raises(UsageError, match="2 cases"):
        evaluate_synthesis(cohort / "predictions" / "b" / "b_ct.nii.gz", cohort / "cases.csv")
    with pytest.raises(UsageError, match="split 'test'"):
        evaluate_synthesis(cohort / "predictions", cohort / "truth", split="test")
    with pytest.raises(InputError, match="no true ct"):
        evaluate_synthesis(cohort / "predictions", cohort / "nowhere")
    with pytest.raises(InputError, match="split 'val'"):
        evaluate_synthesis(cohort / "predictions", cohort / "cases.csv", split="val")
    with pytest.raises(UsageError, match="weather"):
        evaluate("weather", cohort, cohort)


def test_a_reference_that_is_not_finite_is_refused(cohort):
    path = cohort / "truth" / "b" / "b_ct.nii.gz"
    path.unlink()
    broken = head(1)
    broken[5, 5, 5] = np.nan
    save(path, broken, kind="scalar")
    with pytest.raises(InputError, match="NaN or infinity") as caught:
        evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    assert caught.value.where == path


def test_cases_without_a_truth_are_named(cohort):
    with (cohort / "cases.csv").open("a") as table:
        table.write("z,test,,truth/b/b_mask.nii.gz\n")
    scores = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv")
    assert any("missing reference 'ct': z" in note for note in scores.notes)


def test_table_for_the_terminal(cohort):
    rows = evaluate_synthesis(cohort / "predictions", cohort / "cases.csv").table()
    assert rows[0] == ("metric", "mean", "sd", "95 % interval or the cases", "n", "failed")
    assert rows[1] == ("mae (HU)", "15.0", "7.1", "10.0  20.0", "2", "0")
    assert {len(row) for row in rows} == {6}


def test_progress_is_told(cohort):
    told = []
    medgen.evaluate(
        "synthesis", cohort / "predictions", cohort / "cases.csv", progress=lambda *state: told.append(state)
    )
    assert told == [(0, 2, "b"), (1, 2, "c"), (2, 2, "scores")]


def test_a_real_ct_against_itself_with_noise(real_data, tmp_path):
    """A known error on a scanner's CT comes back."""
    from medgen.volume import read_volume

    path = real_data / "mr_ct" / "porcine" / "test_ct.nii.gz"
    truth = read_volume(path)
    noise = np.random.default_rng(0).normal(0, 40, truth.data.shape).astype(np.float32)
    write_volume(truth.with_data(truth.data + noise), tmp_path / "sct.nii.gz", kind="hu")
    (row,) = evaluate_synthesis(tmp_path / "sct.nii.gz", path).cases
    assert row["mae"] == pytest.approx(40 * math.sqrt(2 / math.pi), rel=0.01)
    assert row["psnr"] == pytest.approx(20 * math.log10(4095 / 40), abs=0.05)
    assert abs(row["me"]) < 0.2
    assert row["mae"] < mae(np.full_like(truth.data[0], 47), truth.data[0])
