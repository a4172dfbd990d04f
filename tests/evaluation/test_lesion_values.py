"""Which values of the references are lesion: ISUP grades, or the tumour's class in a label map of several classes."""

import json

import numpy as np
import pytest

from medgen.cases import Case
from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation import evaluate_detection
from medgen.inference.report import _class_values
from medgen.report.images import _truth
from medgen.volume import Volume, read_label, to_ras, write_volume

TUMOUR = np.s_[2:6, 2:6, 1:3]
ZONES = {"peripheral zone": [1], "transition zone": [2], "tumour": [3]}


def save(path, *places, kind="label"):
    data = np.zeros((1, 12, 12, 6), np.uint8 if kind == "label" else np.float32)
    for value, box in places:
        data[0][box] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(data, np.diag([0.5, 0.5, 3, 1])), path, kind=kind, overwrite=True)


def two_patients(folder, *, values=ZONES, tumour=3):
    """One with a tumour that is found, one without; both have a gland of two zones, and a class above the tumour."""
    zones = ((1, np.s_[1:11, 1:7, :]), (2, np.s_[1:11, 7:11, :]), (9, np.s_[0:1, :, :]))
    for case, found in (("ill", [TUMOUR]), ("well", [])):
        save(folder / "truth" / f"{case}_label.nii.gz", *zones, *((tumour, box) for box in found))
        place = folder / "predictions" / case
        save(place / f"{case}_detection_map.nii.gz", *((0.8, box) for box in found), kind="scalar")
        (place / f"{case}_lesions.json").write_text('{"class": "tumour"}')
    model = {"classes": list(ZONES), "target": "label", **({"class_values": values} if values else {})}
    (folder / "predictions" / "prediction.json").write_text(json.dumps({"model": model}))
    return folder / "predictions", folder / "truth"


@pytest.mark.parametrize("tumour", [3, 5])
def test_the_tumour_of_the_training_labels_alone_is_lesion(tmp_path, tumour):
    """Neither the zones below it nor the class above it; its value need not be its number."""
    predictions, truth = two_patients(tmp_path, values={**ZONES, "tumour": [tumour]}, tumour=tumour)
    table = tmp_path / "cases.csv"
    table.write_text("case,split,label\n" + "".join(f"{c},test,truth/{c}_label.nii.gz\n" for c in ("ill", "well")))
    single = truth / "ill_label.nii.gz"
    for references, role in ((truth, None), (truth, "label"), (table, "label"), (single, None)):
        scores = evaluate_detection(predictions, references, role=role, draws=20)
        assert scores.settings["cohort"]["lesions"] == 1
        assert scores.summary["ap"]["mean"] == 1
        assert (scores.settings["lesion_values"], scores.settings["least_grade"]) == ([tumour], None)
        assert f"lesions: voxels of value {tumour} in the true label maps, the class 'tumour'" in scores.notes


def test_values_that_were_given_win(tmp_path):
    predictions, truth = two_patients(tmp_path)
    scores = evaluate_detection(predictions, truth, least_grade=3, draws=20)
    assert (scores.settings["lesion_values"], scores.settings["least_grade"]) == (None, 3)
    assert scores.settings["cohort"]["lesions"] == 3  # the class above the tumour, too


@pytest.mark.parametrize("missing", ["class_values", "prediction.json", "class"])
def test_labels_of_unknown_values_are_refused(tmp_path, capsys, missing):
    predictions, truth = two_patients(tmp_path, values=None if missing == "class_values" else ZONES)
    if missing == "prediction.json":
        (predictions / missing).unlink()
    if missing == "class":
        for case in ("ill", "well"):
            (predictions / case / f"{case}_lesions.json").unlink()
    with pytest.raises(UsageError, match="unknown which values of the true label maps are lesions") as error:
        evaluate_detection(predictions, truth)
    assert "--least-grade" in error.value.fix
    words = ["evaluate", "detection", str(predictions), str(truth), "-o", str(tmp_path / "s.json")]
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert "--least-grade" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--least-grade", "3", "--tumour", "3"])
    assert not exit_.value.code


def test_lesion_files_keep_their_grades(tmp_path):
    predictions, truth = two_patients(tmp_path)
    for case in ("ill", "well"):
        save(truth / f"{case}_lesion.nii.gz", *([(2, TUMOUR)] if case == "ill" else []))
    scores = evaluate_detection(predictions, truth, draws=20)
    assert (scores.settings["role"], scores.settings["least_grade"], scores.settings["cohort"]["lesions"]) == (
        "lesion",
        2,
        1,
    )


def test_damaged_values(tmp_path):
    predictions, truth = two_patients(tmp_path, values={"tumour": ["three"]})
    with pytest.raises(InputError, match="prediction report is damaged"):
        evaluate_detection(predictions, truth)


def test_a_report_records_the_values_of_the_recipe():
    class Model:
        classes = ("rim", "core")
        description = {"recipe": {"data": {"classes": {"rim": [2], "core": [1, 4]}}}}

    assert _class_values(Model()) == {"rim": [2], "core": [1, 4]}
    Model.description = {}
    assert _class_values(Model()) == {}


def test_the_picture_outlines_these_values_alone(tmp_path):
    path = tmp_path / "label.nii.gz"
    save(path, (1, np.s_[1:11, 1:7, :]), (3, TUMOUR), (9, np.s_[0:1, :, :]))
    case, grid = Case("ill", "test", None, images={"label": path}), to_ras(read_label(path))
    values, least = _truth(case, {"role": "label", "lesion_values": [3], "least_grade": None}, grid)
    assert ((values >= least) == (grid.data[0] == 3)).all()
    assert values.max() == 1
    values, least = _truth(case, {"role": "label", "least_grade": 3}, grid)
    assert ((values >= least) == (grid.data[0] >= 3)).all()
