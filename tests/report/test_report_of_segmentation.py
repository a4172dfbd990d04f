"""The report of a study whose predictions are label maps."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medgen.evaluation import evaluate_segmentation
from medgen.report import write_report
from medgen.report.charts import case_chart
from medgen.report.columns import Column
from medgen.report.content import MethodScores, read_scores
from medgen.report.drawing import LIGHT, new_figure
from medgen.report.figures import draw_figures
from medgen.report.images import load_images
from medgen.report.montage import montage
from medgen.report.overlays import BOTH, CONFUSED, PREDICTED, TRUE, draw_overlay
from medgen.report.slices import CaseImages
from medgen.report.sources import choose_cases, find_sources
from medgen.volume import Volume, write_volume

SIZE = (16, 14, 12)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
CLASSES = {"core": [1, 4], "rim": [2]}
RECIPE = (
    "method: segmentation\ndata:\n  inputs: [flair, t2, ge|swi]\n  labels: label\n"
    "  classes: {core: [1, 4], rim: [2]}\n  mask: mask\n"
)


def save(path, data, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint8 if kind == "label" else np.float32
    write_volume(Volume(np.asarray(data, dtype)[None], AFFINE), path, kind=kind)


def make_reader_study(folder):
    """Four cases: two predictions that are off by a little and by more, one miss, and one case without a lesion."""
    rows = ["case,split,flair,t2,swi,label,mask"]
    body = np.zeros(SIZE)
    body[1:15, 1:13, 1:11] = 1
    for number, name in enumerate(("good", "poor", "miss", "healthy")):
        truth, predicted = np.zeros(SIZE), np.zeros(SIZE)
        if name != "healthy":
            truth[4:8, 4:9, 3:8], truth[8:10, 4:9, 3:8] = 4, 2
        if name in {"good", "poor"}:
            predicted[4 + number : 8 + number, 4:9, 3:8] = 1
            predicted[8 + number : 10 + number, 4:9, 3:8] = 2
        for role in ("flair", "t2", "swi"):
            save(folder / f"data/{name}/{name}_{role}.nii.gz", body * (100 + number), "scalar")
        save(folder / f"data/{name}/{name}_label.nii.gz", truth, "label")
        save(folder / f"data/{name}/{name}_mask.nii.gz", body, "label")
        save(folder / f"predictions/{name}/{name}_label.nii.gz", predicted, "label")
        save(folder / f"predictions/{name}/{name}_probability_core.nii.gz", predicted / 4, "scalar")
        roles = ("flair", "t2", "swi", "label", "mask")
        rows.append(f"{name},test," + ",".join(f"{name}/{name}_{role}.nii.gz" for role in roles))
    (folder / "data/cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "data/phantom.json").write_text("{}")
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(RECIPE)
    with (folder / "run/metrics.jsonl").open("w") as log:
        for step, dice in enumerate((0.2, 0.7, 0.5)):
            log.write(json.dumps({"part": "stage0", "step": step, "losses": {"network/cross_entropy": 1.0}}) + "\n")
            log.write(json.dumps({"part": "stage0", "step": step, "validation": {"dice": dice}}) + "\n")
    scores = evaluate_segmentation(folder / "predictions", folder / "data/cases.csv", classes=CLASSES)
    scores.write(folder / "scores/segmentation.json")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_reader_study(tmp_path_factory.mktemp("segmented") / "study")


@pytest.fixture(scope="module")
def text(study):
    page = write_report(study).read_text()
    assert "://" not in page  # letters alone may stand in base64
    body = re.sub(r"<(style|picture|script).*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_says_what_it_must(text):
    for said in (
        "Research software, not for clinical use.",
        "virtual patients whose lesions are known",
        "FLAIR + T2 + GE|SWI to core, rim: segmentation",
        "good, the best case",
        "poor, the typical case",
        "miss, the worst case",
        "Planes with most of the structure",
        "Classes: core, rim.",
        "A structure that is missed entirely counts: Dice 0",
        "core is missed entirely in miss",
        "Dice of every case",
        "NSD share of both surfaces within 2.0 mm of the other",
    ):
        assert said in text, said
    assert "HU" not in text


def test_the_table_counts_misses_once_and_what_does_not_apply(text):
    row = text.split("Where it is neither there nor predicted no score applies.")[1].split("scored the split")[0]
    assert row.count("1 missed") == 3  # dice, dice core, dice rim
    assert row.count("1 not applicable") > 3
    assert "lesions, true" not in row
    assert "lesions, true core" in text  # in the table of every case


def test_pictures_are_written(study, text):
    names = sorted(path.name for path in (study / "figures").iterdir())
    shown = ["case_good", "case_miss", "case_poor", "cases", "reliability", "scores", "training"]
    assert names == [f"{name}.png" for name in shown]


def test_one_case_of_one_method_gets_no_chart(study):
    sources = find_sources(study)
    (method,) = sources.methods
    curves = {name: [replace(stage[0], validation={})] for name, stage in sources.curves.items()}
    alone = replace(sources, methods=(replace(method, cases={"good": method.cases["good"]}),), curves=curves)
    pictures = {picture.name: picture for picture in draw_figures(alone)}
    assert not {"scores", "cases"} & pictures.keys()
    assert "case_good" in pictures
    assert pictures["training"].caption.endswith("; there was no validation.")


def test_label_maps_become_classes_and_probabilities_are_no_prediction(study):
    sources = find_sources(study)
    images, notes = load_images(sources, "good")
    assert sources.predictions["good"].name == "good_label.nii.gz"
    assert notes == []
    assert list(images.inputs) == ["flair", "t2", "swi"]
    assert images.classes == ("core", "rim")
    np.testing.assert_array_equal(images.prediction, images.truth)  # the truth held 4 and 2


def test_without_a_recipe_the_scores_say_what_the_classes_are(study, tmp_path):
    copy = make_reader_study(tmp_path / "study")
    (copy / "run/recipe.yaml").unlink()
    images, _ = load_images(find_sources(copy), "good")
    assert images.classes == ("core", "rim")
    np.testing.assert_array_equal(images.prediction, images.truth)


def test_the_worst_case_is_the_one_of_least_dice(study):
    assert choose_cases(find_sources(study)) == [
        ("poor", "the typical case"),
        ("miss", "the worst case"),
        ("good", "the best case"),
    ]


def test_the_picture_goes_through_the_lesion_and_names_its_colours(study):
    images, _ = load_images(find_sources(study), "miss")
    figure = montage(images, title="miss")
    assert [text.get_text() for text in figure.texts] == ["miss", "Research software, not for clinical use."]
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["FLAIR", "T2", "SWI", "FLAIR, outlines", "SWI, agreement"]
    legends = [
        [entry.get_text() for entry in axes.get_legend().get_texts()] for axes in figure.axes if axes.get_legend()
    ]
    assert legends == [["true", "predicted"], ["both", "missed", "invented", "other class"]]
    agreement = figure.axes[4].images[-1].get_array()
    missed = (np.abs(agreement[..., :3] - np.array(to_rgb(TRUE))).max(-1) < 1e-6) & (agreement[..., 3] > 0)
    assert missed.sum() == 6 * 5  # the axial slice of the structure


def test_colours_of_agreement():
    prediction, truth = np.array([[0, 1, 0, 1, 2]]), np.array([[0, 1, 1, 0, 1]])
    axes = new_figure(2, 2, background="black").subplots()
    draw_overlay(axes, "agreement", prediction, truth)
    shown = axes.images[0].get_array()
    assert shown[0, 0, 3] == 0
    for column, colour in enumerate((BOTH, TRUE, PREDICTED, CONFUSED), start=1):
        assert np.asarray(shown[0, column, :3]).tolist() == pytest.approx(to_rgb(colour), abs=1e-6)


def test_an_outline_at_the_border_is_closed():
    axes = new_figure(2, 2, background="black").subplots()
    draw_overlay(axes, "contours", np.ones((4, 4)), None)
    (path,) = axes.collections[0].get_paths()
    assert path.vertices[0].tolist() == path.vertices[-1].tolist()


def test_a_study_of_no_images_but_cases_without_a_lesion_can_be_drawn():
    empty = np.zeros(SIZE, np.uint8)
    assert montage(CaseImages({}, empty, empty, None, (1, 1, 1), unit="", classes=("1",)), title="x").axes


def test_the_chart_of_cases_has_the_worst_on_top_and_marks_what_failed():
    method = MethodScores("unet", {"a": {"dice": 0.9}, "b": {"dice": np.nan}, "c": {"dice": 0.2}}, {})
    axes = case_chart([method], Column.of("dice"), LIGHT, order_by=method).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    dots, cross = axes.lines
    assert dots.get_xdata().tolist() == [0.2, 0.9]
    assert cross.get_ydata().tolist() == [0]


def test_counts_of_the_file_are_read(study):
    scores = read_scores(study / "scores/segmentation.json")
    assert scores.of_labels
    assert not scores.of_lesions
    assert scores.summary["dice"].missed == 1
    assert scores.summary["dice"].not_applicable == 1
    assert scores.summary["dice"].failed == 0


def test_columns_of_a_class():
    column = Column.of("lesion_f1_core")
    assert (column.key, column.heading, column.better) == ("lesion_f1_core", "lesion F1 core", "higher")
    assert Column.of("dice_bone").heading == "Dice bone"
    assert Column.of("volume_true_ml_rim").unit == "ml"
