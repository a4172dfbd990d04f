"""The report of a study whose predictions are detection maps."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from medgen.errors import InputError
from medgen.evaluation import evaluate_detection
from medgen.inference.candidates import find_candidates
from medgen.inference.lesions import Detected, write_lesions
from medgen.recipe.prediction import DetectionConfig
from medgen.report import write_report
from medgen.report.charts import detection_chart
from medgen.report.content import MethodScores, Summary, read_scores
from medgen.report.detection import Patient, choose_examples, lesion_rows, read_patients
from medgen.report.drawing import LIGHT
from medgen.report.figures import draw_figures
from medgen.report.images import load_detected, target_of
from medgen.report.montage import montage
from medgen.report.slices import CaseImages
from medgen.report.sources import find_sources
from medgen.volume import Volume, write_volume

SHAPE = (20, 16, 8)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
TUMOUR = np.s_[3:8, 4:9, 2:4]
ELSEWHERE = np.s_[13:16, 10:13, 6:7]
SETTINGS = DetectionConfig.model_validate({"class": "tumour"})
COHORT = {
    # (grade, place) of the truth; (confidence, place) of the candidates
    "sure": ([(3, TUMOUR)], [(0.9, TUMOUR), (0.2, ELSEWHERE)]),
    "faint": ([(2, TUMOUR)], [(0.3, np.s_[3:8, 4:9, 2:3])]),
    "missed": ([(4, TUMOUR)], [(0.6, ELSEWHERE)]),
    "invented": ([], [(0.7, ELSEWHERE)]),
    "indolent": ([(1, TUMOUR)], [(0.5, TUMOUR)]),
    "healthy": ([], []),
}
RECIPE = (
    'method: adversarial_detector\ndata:\n  inputs: [t2w, adc, "hbv?"]\n  labels: label\n'
    "  classes: {peripheral zone: [1], transition zone: [2], tumour: [3]}\n"
)


def drawn(places):
    data = np.zeros(SHAPE, np.float32)
    for value, place in places:
        data[place] = value
    return data


def save(path, data, kind="scalar", affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(np.asarray(data, np.uint8 if kind == "label" else np.float32)[None], affine), path, kind=kind)


def make_reader_study(folder):
    rows = ["case,split,t2w,adc,hbv,lesion"]
    for name, (truth, found) in COHORT.items():
        data = folder / "data" / name
        save(data / f"{name}_t2w.nii.gz", np.indices(SHAPE)[0])
        save(data / f"{name}_adc.nii.gz", np.indices((10, 8, 8))[0] * 2 + 0.5, affine=ADC_AFFINE)
        save(data / f"{name}_lesion.nii.gz", drawn(truth), "label")
        rows.append(f"{name},test,{name}/{name}_t2w.nii.gz,{name}/{name}_adc.nii.gz,,{name}/{name}_lesion.nii.gz")
        place, probability = folder / "predictions" / name, drawn(found)
        candidates = find_candidates(probability, (1, 1, 3), SETTINGS, affine=AFFINE)
        volume = Volume(candidates.map[None], AFFINE)
        regions = ("peripheral zone",) * len(candidates.lesions)
        detected = Detected(volume, candidates.lesions, regions, candidates.score, SETTINGS)
        save(place / f"{name}_detection_map.nii.gz", candidates.map)
        save(place / f"{name}_label.nii.gz", 1 + 2 * (probability > 0.4), "label")
        write_lesions(
            place / f"{name}_lesions.json", detected, case=name, detection_map=f"{name}_detection_map.nii.gz", model={}
        )
    (folder / "data/cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "data/phantom.json").write_text("{}")
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(RECIPE)
    model = {"classes": ["peripheral zone", "transition zone", "tumour"], "target": "label"}
    (folder / "predictions/prediction.json").write_text(json.dumps({"model": model}))
    scores = evaluate_detection(folder / "predictions", folder / "data/cases.csv", draws=50)
    scores.write(folder / "scores.json")
    return folder


ADC_AFFINE = np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 3, 0], [0, 0, 0, 1.0]])
"""Twice as coarse in the plane: its value is the x of the map's grid where both lie."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_reader_study(tmp_path_factory.mktemp("detected") / "study")


@pytest.fixture(scope="module")
def sources(study):
    return find_sources(study)


@pytest.fixture(scope="module")
def written(study):
    """The page, and what was told on the way."""
    told = []
    return write_report(study, progress=lambda *each: told.append(each)).read_text(), told


@pytest.fixture(scope="module")
def page(written):
    return written[0]


@pytest.fixture(scope="module")
def text(page):
    assert "://" not in page
    body = re.sub(r"<(style|picture|script).*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_says_what_it_must(text):
    for said in (
        "Research software, not for clinical use.",
        "Research use only: no diagnosis.",
        "virtual patients whose lesions are known",
        "T2W + ADC + HBV to peripheral zone, transition zone, tumour: adversarial detector",
        "AUROC 0.667",  # of the nine pairs 0.9 wins three, 0.6 two and 0.3 one
        "sure: a true lesion that was found, confidence 0.90",
        "faint: a true lesion that was found, confidence 0.30",
        "missed: a true lesion that was missed",
        "invented: a false positive, confidence 0.70",
        "The axial slice with most of the true lesion, whose centre is at 5.0, 6.0, 7.5 mm",
        "The case has no hbv.",
        "What the scores mean",
        "0.300 75 5.0, 6.0, 6.0 peripheral zone hit, overlap 0.50",
        "– – – – – missed lesion",
        "healthy 0.000 – – – – – no lesion and no candidate",
    ):
        assert said in text, said
    assert "HU" not in text
    assert "true CT" not in text


def test_pictures_are_written(study, page):
    names = {path.name for path in (study / "figures").iterdir()}
    cases = ("sure", "faint", "missed", "invented", "indolent")
    assert names == {"detection.png", *(f"lesion_{case}.png" for case in cases)}


def test_progress_counts_what_is_drawn(written):
    figures, patients = written[1][:7], written[1][7:]
    assert [done for done, _, _ in figures] == [0, 1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in figures} == {6}
    order = ["missed", "invented", "indolent", "sure", "faint", "healthy"]  # misses, then false positives
    assert [what for _, _, what in patients] == [*(f"patient {name}" for name in order), "done"]


def test_a_line_for_each_candidate_and_each_miss(sources):
    rows = lesion_rows(read_patients(sources))
    assert [(row.case, row.score, row.confidence, row.verdict, row.good) for row in rows] == [
        ("sure", "0.900", "0.900", "hit, overlap 1.00", True),
        ("sure", "0.900", "0.200", "false positive", False),
        ("invented", "0.700", "0.700", "false positive", False),
        ("missed", "0.600", "0.600", "false positive", False),
        ("missed", "0.600", "–", "missed lesion", False),
        ("indolent", "0.500", "0.500", "false positive", False),
        ("faint", "0.300", "0.300", "hit, overlap 0.50", True),
        ("healthy", "0.000", "–", "no lesion and no candidate", True),
    ]
    assert (rows[0].volume, rows[0].centre) == ("150", "5.0, 6.0, 7.5")


def test_a_candidate_that_is_in_no_finding_lies_on_a_lesion_that_was_found():
    patient = Patient("a", 0.9, (), ((True, 0.9, 0.4), (False, 0.2, 0.0), (True, 0.2, 0.3)))
    assert patient.verdict(0.5) == ("on a lesion that another candidate finds", None)
    assert patient.verdict(0.2) == ("hit or false positive: several of this confidence", None)
    assert Patient("a", 0.9, (), None).verdict(0.9) == ("–", None)


def test_hits_misses_and_false_positives_are_chosen_and_no_case_twice(sources):
    patients = read_patients(sources)
    assert [(example.case, example.kind) for example in choose_examples(patients)] == [
        ("sure", "hit"),
        ("faint", "hit"),
        ("missed", "miss"),
        ("invented", "false positive"),
        ("indolent", "false positive"),
    ]
    unknown = [Patient(each.case, each.score, each.lesions, None) for each in patients]
    assert [example.case for example in choose_examples(unknown, 1)] == ["sure", "invented"]


def test_inputs_are_brought_onto_the_grid_of_the_map(sources):
    images, notes = load_detected(sources, "sure")
    assert list(images.inputs) == ["t2w", "adc"]
    assert notes == ["the case has no hbv"]
    np.testing.assert_allclose(images.inputs["adc"][1:-1], images.inputs["t2w"][1:-1], atol=1e-4)
    np.testing.assert_array_equal(images.truth, drawn([(3, TUMOUR)]))


@pytest.mark.parametrize(
    ("case", "where"),
    [("sure", TUMOUR), ("faint", np.s_[3:8, 4:9, 2:3]), ("missed", TUMOUR), ("invented", ELSEWHERE)],
)
def test_what_an_example_is_about(sources, case, where):
    example = next(each for each in choose_examples(read_patients(sources)) if each.case == case)
    images, _ = load_detected(sources, case)
    np.testing.assert_array_equal(target_of(images, example), drawn([(1, where)]) > 0)


def test_of_two_lesions_the_one_that_was_missed_is_shown(sources):
    truth = drawn([(3, TUMOUR), (3, ELSEWHERE)])
    images = CaseImages({}, drawn([(0.9, TUMOUR)]), truth, None, (1, 1, 3), affine=AFFINE, least_grade=2)
    example = next(each for each in choose_examples(read_patients(sources)) if each.kind == "miss")
    np.testing.assert_array_equal(target_of(images, example), drawn([(1, ELSEWHERE)]) > 0)


def test_the_picture_shows_each_input_with_and_without_the_candidates(sources):
    images, _ = load_detected(sources, "sure")
    figure = montage(replace(images, target=drawn([(1, TUMOUR)]) > 0), title="sure")
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["T2W", "ADC"]
    plain, _, marked, _ = figure.axes[:4]  # two columns, above and below
    assert len(plain.images) == 1
    overlay = marked.images[1].get_array()
    assert overlay.count() == 5 * 5  # the slice of the tumour, not that of the other candidate
    assert overlay.max() == np.float32(0.9)
    assert marked.images[1].get_clim() == (0, 1)
    # The patient's right is on the left of the picture: a high x comes first.
    shown = plain.images[0].get_array()
    assert shown[0, 0] > shown[0, -1]
    across = np.flatnonzero(~overlay.mask.all(axis=0))
    np.testing.assert_array_equal(shown[0, across], [7, 6, 5, 4, 3])
    labels = [entry.get_text() for entry in figure.legends[0].get_texts()]
    assert labels == ["true lesion (grade 2 or more)"]
    assert [text.get_text() for text in figure.texts] == ["sure", "Research software, not for clinical use."]


def test_a_lesion_that_need_not_be_found_has_a_line_of_its_own(sources):
    images, _ = load_detected(sources, "indolent")
    figure = montage(replace(images, target=images.prediction > 0), title="indolent")
    labels = [entry.get_text() for entry in figure.legends[0].get_texts()]
    assert labels == ["true lesion (grade 2 or more)", "lesion of a lower grade"]


def test_an_empty_target_goes_through_the_middle_of_the_organ():
    """The whole image has more slices than the organ."""
    organ = drawn([(1, np.s_[5:15, 4:12, 0:2])])
    images = CaseImages({"t2w": np.indices(SHAPE)[2]}, drawn([]), None, organ, (1, 1, 30), target=drawn([]) > 0)
    figure = montage(images, title="empty")
    assert (figure.axes[0].images[0].get_array() == 1).all()


def test_the_curves_are_those_of_the_scores(study):
    method = read_scores(study / "scores.json")
    assert method.of_lesions
    assert not method.of_labels
    roc, precision, froc = detection_chart([method], LIGHT).axes
    assert [axes.get_title(loc="left") for axes in (roc, precision, froc)] == ["ROC", "Precision and recall", "FROC"]
    line = roc.lines[-1]
    assert line.get_label().startswith("AUROC: 0.667 [")
    # 0.9 has a lesion, 0.7 none, 0.6 a lesion, 0.5 none, 0.3 a lesion, 0 none.
    np.testing.assert_allclose(line.get_xdata(), np.array([0, 0, 1, 1, 2, 2, 3]) / 3)
    np.testing.assert_allclose(line.get_ydata(), np.array([0, 1, 1, 2, 2, 3, 3]) / 3)
    line, dots = froc.lines
    assert line.get_drawstyle() == "steps-post"
    # Hits at 0.9 and 0.3, false positives at 0.7, 0.6, 0.5 and 0.2, six cases.
    np.testing.assert_allclose(line.get_xdata()[:7], np.array([0, 0, 1, 2, 3, 3, 4]) / 6)
    np.testing.assert_allclose(line.get_ydata(), np.array([0, 1, 1, 1, 1, 2, 2, 2]) / 3)
    assert line.get_xdata()[-1] > 2
    assert list(dots.get_xdata()) == [0.1, 0.25, 0.5, 1, 2]
    np.testing.assert_allclose(dots.get_ydata(), np.array([1, 1, 2, 2, 2]) / 3)


def test_of_one_class_the_chart_says_so():
    curves = {
        "roc": {"false_positive_rate": [], "sensitivity": []},
        "precision_recall": {"recall": [], "precision": []},
        "froc": {"false_positives": [], "sensitivity": []},
    }
    summary = {name: Summary(None, None, None, 3, 0) for name in ("auroc", "ap", "sensitivity_at_1")}
    method = MethodScores("unet", {}, summary, details={"curves": curves})
    axes = detection_chart([method], LIGHT).axes[0]
    assert axes.lines[-1].get_label() == "AUROC: not applicable"


def test_curves_of_unequal_length_are_damaged(study, tmp_path):
    content = json.loads((study / "scores.json").read_text())
    content["curves"]["froc"]["sensitivity"].pop()
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"scores are damaged \(.*unequal length: .*false_positives") as error:
        find_sources(tmp_path)
    assert error.value.where == tmp_path / "scores.json"


def test_several_detections_are_compared(study, tmp_path):
    for name in ("dice", "adversarial"):
        target = tmp_path / "scores" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text((study / "scores.json").read_text())
    sources = find_sources(tmp_path)
    assert [picture.name for picture in draw_figures(sources)] == ["detection", "scores"]


def test_maps_of_the_challenge_without_lists_are_reported(study, tmp_path):
    (tmp_path / "predictions").mkdir()
    for name in COHORT:
        source = study / f"predictions/{name}/{name}_detection_map.nii.gz"
        (tmp_path / f"predictions/{source.name}").write_bytes(source.read_bytes())
    sources = find_sources(tmp_path, cases=study / "data/cases.csv")
    assert sources.detects
    assert sources.predictions == {}
    rows = lesion_rows(read_patients(sources))
    assert {row.verdict for row in rows} == {"no candidate"}  # nothing but images is there
    (tmp_path / "scores.json").write_text((study / "scores.json").read_text())
    rows = lesion_rows(read_patients(find_sources(tmp_path, cases=study / "data/cases.csv")))
    assert [(row.case, row.confidence, row.volume) for row in rows[:2]] == [
        ("sure", "0.900", "–"),
        ("sure", "0.200", "–"),
    ]


def test_a_map_beside_a_label_map_is_no_prediction(sources):
    assert sources.predictions["sure"].name == "sure_label.nii.gz"
    assert sources.detections["sure"].name == "sure_detection_map.nii.gz"


def test_a_damaged_list_is_named(study, tmp_path):
    place = tmp_path / "predictions/sure"
    place.mkdir(parents=True)
    source = study / "predictions/sure/sure_detection_map.nii.gz"
    (place / source.name).write_bytes(source.read_bytes())
    (place / "sure_lesions.json").write_text('{"lesions": [{}]}')
    with pytest.raises(InputError, match="list of lesions is damaged"):
        write_report(tmp_path)
