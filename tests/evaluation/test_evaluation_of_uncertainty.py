"""Standard deviations beside predictions: where they are scored, and what becomes of those that cannot be."""

import json
import math

import numpy as np
import pytest

from medgen.errors import InputError
from medgen.evaluation import evaluate_synthesis
from medgen.evaluation.provenance import calibration_notes
from medgen.metrics.image import UNITS
from medgen.metrics.uncertainty import UNITS as UNCERTAINTY
from medgen.report.content import read_scores
from medgen.volume import Volume, write_volume

SHAPE = (8, 6, 4)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def save(path, data, affine=AFFINE, kind="scalar"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_volume(Volume(np.asarray(data, dtype=np.float32)[None], affine), path, kind=kind)


def truth():
    """Soft tissue, a quarter of it bone; no air."""
    ct = np.full(SHAPE, 40.0)
    ct[:2] = 800
    return ct


def deviation():
    """The error of 10 HU is covered where this is 5 or more: in the bone, and in a third of the soft tissue."""
    sd = np.full(SHAPE, 4.0)
    sd[:2] = 20
    sd[2:4] = 5
    return sd


@pytest.fixture
def cohort(tmp_path):
    """Cases a, b and c with predictions off by 10 HU; only a has a standard deviation."""
    rows = ["case,split,ct,mask"]
    for case in "abc":
        save(tmp_path / "truth" / f"{case}_ct.nii.gz", truth())
        save(tmp_path / "truth" / f"{case}_mask.nii.gz", np.ones(SHAPE), kind="label")
        save(prediction_of(tmp_path, case), truth() + np.where(np.arange(4) < 2, 10, -10))
        rows.append(f"{case},test,truth/{case}_ct.nii.gz,truth/{case}_mask.nii.gz")
    save(sd_of(tmp_path, "a"), deviation())
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def prediction_of(folder, case):
    return folder / "predictions" / case / f"{case}_ct.nii.gz"


def sd_of(folder, case):
    return folder / "predictions" / case / f"{case}_ct_sd.nii.gz"


def score(folder, **options):
    return evaluate_synthesis(folder / "predictions", folder / "cases.csv", **options)


def test_a_case_with_a_standard_deviation_has_its_scores(cohort):
    scores = score(cohort)
    first, *others = scores.cases
    assert first["coverage"] == 0.5
    assert first["coverage_soft"] == pytest.approx(1 / 3)
    assert first["coverage_bone"] == 1
    assert math.isnan(first["coverage_air"])
    assert math.isnan(first["sd_error_correlation"])  # the error is 10 HU everywhere
    assert first["mae"] == 10
    assert all(set(row) == {"case", *UNITS} for row in others)
    assert (scores.summary["coverage"]["mean"], scores.summary["coverage"]["n"]) == (0.5, 1)
    assert (scores.summary["coverage_air"]["n"], scores.summary["coverage_air"]["n_failed"]) == (0, 1)
    assert scores.summary["mae"]["n"] == 3
    assert scores.settings["coverage_within_sd"] == 2
    assert "no standard deviation beside the prediction of b, c" in scores.notes
    assert not scores.failed


def judge(folder, **cases):
    """What ``predict`` records of cases: the score, and the verdict of a gate if there was one."""
    rows = [
        {"case": case, "output": f"{case}/{case}_ct.nii.gz", "measured": {"mean_sd": score, **verdict}}
        for case, (score, verdict) in cases.items()
    ]
    (folder / "predictions" / "prediction.json").write_text(json.dumps({"model": {}, "cases": rows}))


YES, NO = {"accepted": True}, {"accepted": False}


def test_the_curve_is_drawn_by_the_score_of_the_gate(cohort):
    """By the standard deviation in the mask, c would be rejected first; predict found b the least sure."""
    for number, case in enumerate("abc", start=1):
        save(prediction_of(cohort, case), truth() + 10 * number)
        save(sd_of(cohort, case), deviation() * number)
    judge(cohort, a=(1.0, YES), b=(9.0, NO), c=(2.0, YES))
    scores = score(cohort)
    assert [row["mean_sd"] for row in scores.cases] == [1, 9, 2]
    assert scores.details["accept_reject"] == {"accepted": pytest.approx([1 / 3, 2 / 3, 1]), "mae": [10, 20, 20]}
    gate = scores.details["gate"]
    assert (gate["accepted"]["mae"]["mean"], gate["accepted"]["mae"]["n"]) == (20, 2)
    assert (gate["rejected"]["mae"]["mean"], gate["rejected"]["mae"]["n"]) == (20, 1)
    assert "the gate: 2 accepted (MAE 20.0 HU), 1 rejected (MAE 20.0 HU)" in scores.notes
    assert not any("recorded no mean_sd" in note for note in scores.notes)


def test_a_verdict_without_a_standard_deviation_or_a_prediction(cohort):
    """The gate is known of b, whose file of the standard deviation is gone, and of c, which cannot be scored."""
    judge(cohort, a=(1.0, YES), b=(9.0, NO), c=(8.0, NO))
    save(prediction_of(cohort, "c"), np.full(SHAPE, np.nan))
    scores = score(cohort)
    assert [row.get("mean_sd") for row in scores.cases] == pytest.approx([1, 9, math.nan], nan_ok=True)
    assert scores.details["accept_reject"] == {"accepted": [0.5, 1], "mae": [10, 10]}
    assert scores.details["gate"]["rejected"]["mae"]["n_failed"] == 1
    assert "the gate: 1 accepted (MAE 10.0 HU), 2 rejected (MAE 10.0 HU, 1 without a score)" in scores.notes


def test_without_a_record_the_score_is_of_the_body_and_not_of_the_mask(cohort):
    """In the body, where it is not 0, the standard deviation is 4 on the left and 20 on the right; the mask is left."""
    sd, mask = np.full(SHAPE, 4.0), np.zeros(SHAPE)
    sd[4:], sd[:2], mask[2:4] = 20, 0, 1
    save(sd_of(cohort, "a"), sd)
    save(cohort / "truth" / "a_mask.nii.gz", mask, kind="label")
    judge(cohort, b=(7.0, {}))
    scores = score(cohort)
    assert [row.get("mean_sd") for row in scores.cases] == [pytest.approx(44 / 3), 7, None]
    assert "gate" not in scores.details
    assert any(note.startswith("predict recorded no mean_sd of a: ") for note in scores.notes)


def test_a_verdict_is_on_the_file_that_is_scored(cohort):
    """predict wrote another image of the case than the one that is scored here."""
    judge(cohort, a=(1.0, NO))
    report = cohort / "predictions" / "prediction.json"
    report.write_text(report.read_text().replace("a_ct", "a_t1"))
    scores = score(cohort)
    assert scores.cases[0]["mean_sd"] == pytest.approx(8.25)
    assert "gate" not in scores.details


@pytest.mark.parametrize("measured", [{}, 3, {"mean_sd": "x"}, {"mean_sd": None}, {"mean_sd": 1, "accepted": "no"}])
def test_a_damaged_record(cohort, measured):
    rows = [{"case": "a", "output": "a/a_ct.nii.gz", "measured": measured}]
    (cohort / "predictions" / "prediction.json").write_text(json.dumps({"model": {}, "cases": rows}))
    with pytest.raises(InputError, match="the prediction report is damaged"):
        score(cohort)


def test_without_any_nothing_changes(cohort):
    sd_of(cohort, "a").unlink()
    scores = score(cohort)
    assert list(scores.summary) == list(UNITS)
    assert "coverage_within_sd" not in scores.settings
    assert not any("standard deviation" in note for note in scores.notes)


def test_the_correlation_of_errors_that_differ(cohort):
    error = np.arange(truth().size, dtype=float).reshape(SHAPE)
    save(prediction_of(cohort, "a"), truth() - error)
    save(sd_of(cohort, "a"), error**2 + 1)
    assert score(cohort).cases[0]["sd_error_correlation"] == pytest.approx(1)


def test_it_is_no_prediction(cohort):
    """A case whose prediction is missing has failed, though its standard deviation is there."""
    prediction_of(cohort, "a").unlink()
    save(sd_of(cohort, "b"), deviation())
    scores = score(cohort)
    assert scores.failed == ({"case": "a", "reason": "there is no prediction"},)
    assert math.isnan(scores.cases[0]["coverage"])
    assert (scores.summary["coverage"]["n"], scores.summary["coverage"]["n_failed"]) == (1, 1)


def test_it_is_no_case_of_a_folder_of_references(cohort):
    for case in "abc":
        save(cohort / "bare" / f"{case}.nii.gz", truth())
        save(cohort / "bare" / f"{case}_sd.nii.gz", deviation())
    save(cohort / "bare" / "d_sd.nii.gz", truth())
    scores = evaluate_synthesis(cohort / "predictions", cohort / "bare")
    assert [row["case"] for row in scores.cases] == ["a", "b", "c", "d_sd"]
    assert [row["case"] for row in scores.failed] == ["d_sd"]


def broken(kind):
    sd = deviation()
    sd[3, 3, 3] = {"negative": -1.0, "infinite": np.inf}.get(kind, 5.0)
    return sd


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("negative", "negative or not finite in 1 voxels"),
        ("infinite", "negative or not finite in 1 voxels"),
        ("shifted", "2.00 mm apart"),
        ("cropped", "voxels"),
        ("damaged", ""),
    ],
)
def test_one_that_cannot_be_used_is_counted_and_the_prediction_still_scored(cohort, kind, said):
    affine = AFFINE.copy()
    affine[0, 3] = 2.0 * (kind == "shifted")
    save(sd_of(cohort, "a"), broken(kind)[:, :, 1 if kind == "cropped" else 0 :], affine)
    if kind == "damaged":
        sd_of(cohort, "a").write_bytes(sd_of(cohort, "a").read_bytes()[:-30])
    scores = score(cohort)
    assert scores.cases[0]["mae"] == 10
    assert all(math.isnan(scores.cases[0][name]) for name in UNCERTAINTY)
    assert scores.summary["coverage"]["n_failed"] == 1
    note = next(note for note in scores.notes if note.startswith("the standard deviation of a cannot be scored: "))
    assert said in note
    assert not scores.failed


def test_outside_the_mask_anything_goes(cohort):
    mask = np.ones(SHAPE)
    mask[3, 3, 3] = 0
    save(cohort / "truth" / "a_mask.nii.gz", mask, kind="label")
    save(sd_of(cohort, "a"), broken("negative"))
    assert score(cohort).cases[0]["coverage"] == pytest.approx(95 / 191)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_the_score_of_the_gate_needs_the_whole_file(cohort, value):
    """One voxel outside the mask is not finite: the scores of the mask stand, that of the whole file is left out."""
    mask, sd = np.ones(SHAPE), deviation()
    mask[3, 3, 3], sd[3, 3, 3] = 0, value
    save(cohort / "truth" / "a_mask.nii.gz", mask, kind="label")
    save(sd_of(cohort, "a"), sd)
    scores = score(cohort)
    assert math.isnan(scores.cases[0]["mean_sd"])
    assert scores.cases[0]["coverage"] == pytest.approx(95 / 191)
    said = "mean_sd of a is left out: its standard deviation is not finite in 1 voxels outside the mask"
    assert said in scores.notes
    judge(cohort, a=(7.0, {}))
    recorded = score(cohort)
    assert recorded.cases[0]["mean_sd"] == 7
    assert said not in recorded.notes


def test_the_record_of_a_single_file_is_that_of_its_cohort(cohort):
    judge(cohort, a=(7.0, YES), b=(9.0, NO))
    table = cohort / "one.csv"
    table.write_text("".join((cohort / "cases.csv").read_text().splitlines(keepends=True)[:2]))
    scores = evaluate_synthesis(prediction_of(cohort, "a"), table)
    assert scores.cases[0]["mean_sd"] == 7
    assert scores.details["gate"]["accepted"]["mae"]["n"] == 1
    assert not any("recorded no mean_sd" in note for note in scores.notes)
    copy = cohort / "predictions/other/a_ct.nii.gz"  # no file that the record names
    copy.parent.mkdir()
    copy.write_bytes(prediction_of(cohort, "a").read_bytes())
    assert "mean_sd" not in evaluate_synthesis(copy, table).cases[0]


def test_an_interval_that_cannot_be_used_is_said_without_a_standard_deviation_too(cohort):
    sd_of(cohort, "a").unlink()
    for end, shift in (("lower", 20), ("upper", -20)):
        save(prediction_of(cohort, "a").with_name(f"a_ct_{end}.nii.gz"), truth() + shift)
    assert any(note.startswith("the interval of a cannot be scored: its upper end") for note in score(cohort).notes)


def test_it_is_resampled_with_its_prediction(cohort):
    """Both have one column more on each side than their reference."""
    padding = ((1, 1), (0, 0), (0, 0))
    affine = AFFINE.copy()
    affine[0, 3] = -2.0
    save(prediction_of(cohort, "a"), np.pad(truth() + 10, padding, mode="edge"), affine)
    save(sd_of(cohort, "a"), np.pad(deviation(), padding, mode="edge"), affine)
    row = score(cohort, resample_to_reference=True).cases[0]
    assert (row["coverage"], row["mae"]) == (0.5, 10)


def test_the_file_is_read_by_the_report(cohort):
    path = score(cohort).write(cohort / "scores.json")
    content = json.loads(path.read_text())
    assert content["cases"][0]["coverage_air"] is None
    assert "coverage" not in content["cases"][1]
    assert "coverage_bone" in read_scores(path).metrics


@pytest.mark.parametrize(
    ("split", "table", "told"),
    [("val", "a", True), ("all", "a", True), ("test", "a", False), ("val", "b", False), ("all", None, False)],
)
def test_scores_of_the_cases_of_a_calibration_have_a_note(tmp_path, split, table, told):
    report = {"model": {}, "calibration": {"split": "val", "cases_sha256": "a"}}
    (tmp_path / "prediction.json").write_text(json.dumps(report))
    settings = {"split": split, **({"references": {"sha256": table}} if table else {})}
    assert bool(calibration_notes(tmp_path, settings)) == told
    (tmp_path / "prediction.json").write_text(json.dumps({"model": {}}))
    assert not calibration_notes(tmp_path, settings)
    (tmp_path / "prediction.json").write_text(json.dumps({"model": {}, "calibration": {"split": "val"}}))
    with pytest.raises(InputError, match="the prediction report is damaged"):
        calibration_notes(tmp_path, settings)
