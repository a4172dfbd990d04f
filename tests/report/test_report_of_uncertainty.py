"""The report of predictions with standard deviations and intervals."""

import json
import math
import re

import nibabel
import numpy as np
import pytest

from medgen.errors import InputError
from medgen.evaluation import evaluate_synthesis
from medgen.files import write_json
from medgen.report import write_report
from medgen.report.charts import score_chart
from medgen.report.drawing import LIGHT
from medgen.report.figures import compared_columns, draw_figures
from medgen.report.images import load_images
from medgen.report.montage import montage
from medgen.report.sources import find_sources
from medgen.report.uncertainty import (
    accept_reject_chart,
    charts_of,
    interval_columns,
    measures,
    nominal_of,
    regions,
    sparsification_chart,
)

SIZE = (10, 12, 8)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
RECIPE = "method: cvae\ndata:\n  inputs: [t1, t2]\n  target: ct\n  mask: mask\n"


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(data, np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three cases, wrong by 10, 20 and 30 HU; the interval reaches 15 HU to each side in one half, 35 in the other."""
    folder = tmp_path_factory.mktemp("uncertainty") / "study"
    rows = ["case,split,t1,t2,ct,mask"]
    body = np.zeros(SIZE)
    body[2:8, 2:10, 2:6] = 1
    half = np.where(np.arange(SIZE[0])[:, None, None] < 5, 15.0, 35.0) * np.ones(SIZE)
    for number, name in enumerate(("p1", "p2", "p3"), start=1):
        ct = np.where(body, 40.0, -1000.0)
        images = {"t1": body, "t2": body, "ct": ct, "mask": body}
        for role, data in images.items():
            save(folder / f"{name}_{role}.nii.gz", data)
        made = ct + 10.0 * number
        beside = {"ct": made, "ct_sd": half * number / 5, "ct_lower": made - half, "ct_upper": made + half}
        for role, data in beside.items():
            save(folder / f"predictions/{name}/{name}_{role}.nii.gz", data)
        rows.append(f"{name},test," + ",".join(f"{name}_{role}.nii.gz" for role in images))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(RECIPE)
    interval = {"coverage": 0.9, "quantiles": {"all": 2.0}, "floor": 0.0, "calibrated": True}
    write_json(folder / "predictions/prediction.json", {"model": {"method": "cvae"}, "interval": interval, "cases": []})
    evaluate_synthesis(folder / "predictions", folder / "cases.csv", draws=10).write(folder / "scores.json")
    return folder


def text_of(page):
    """What a reader sees, without pictures and tags, on one line."""
    body = re.sub(r"<(style|picture|script).*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("&nbsp;", " ").split())


def test_maps_of_deviation_and_width_stand_beside_prediction_and_error(study):
    images, notes = load_images(find_sources(study), "p2")
    assert notes == []
    assert list(images.inputs) == ["t1"]  # one input less, to be read
    figure = montage(images, title="p2")
    shown = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(shown) == [
        *("T1", "synthetic CT", "true CT", "error (synthetic − true)"),
        *("standard deviation", "width of the 90 % interval"),
    ]
    for title, values, end in (("standard deviation", {6.0, 14.0}, 15), ("width of the 90 % interval", {30, 70}, 75)):
        drawn = shown[title].images[0]
        array = np.ma.filled(drawn.get_array().astype(float), np.nan)
        assert set(np.round(array[np.isfinite(array)], 3).tolist()) == values  # of the mask alone
        assert drawn.get_clim() == (0, end)
    bars = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes[-2:]]
    assert bars == [["0", "7.5", "15 HU"], ["0", "37.5", "75 HU"]]


def test_the_page_has_nominal_beside_measured_coverage_by_tissue(study):
    page = write_report(study).read_text()
    text = text_of(page)
    assert "Uncertainty Coverage is the share of the voxels" in text
    rows = [text_of(row) for row in re.findall(r"<tr><th scope=.row.*?</tr>", page, re.S)]
    everywhere, air, soft, _ = rows[-4:]
    assert everywhere.startswith("CVAE all voxels 0.900 0.667 ± 0.289 1.000, 0.500, 0.500 50.0 ± 0.0")
    assert air.startswith("CVAE air 0.900 – ")
    assert soft.startswith("CVAE soft tissue 0.900 0.667 ")
    for name in ("intervals", "sparsification", "accept_reject", "case_p2"):
        assert (study / f"figures/{name}.png").is_file()
    assert "Standard deviation (HU) and width of the 90 % interval (HU): the brighter, the less sure." in page
    assert "AUSE" not in {column.heading for column in compared_columns(find_sources(study))}


def test_the_charts_show_what_the_scores_hold(study):
    (method,) = find_sources(study).methods
    assert nominal_of(method) == 0.9
    assert not method.of_lesions
    columns = interval_columns([method])
    chart = score_chart([method], columns, LIGHT, marks={column.key: 0.9 for column in columns[:4]})
    marks = [[line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] for axes in chart.axes]
    assert marks == [[0.9]] * 4 + [[]] * 4
    assert len({axes.get_xlim() for axes in chart.axes[:4]}) == 1
    content = json.loads((study / "scores.json").read_text())
    axes = sparsification_chart([method], LIGHT).axes[0]
    for line, key in zip(axes.lines, ("error", "oracle"), strict=True):
        np.testing.assert_allclose(line.get_xdata(), content["sparsification"]["removed"])
        np.testing.assert_allclose(line.get_ydata(), content["sparsification"]["all"][key])
    curve, mean = accept_reject_chart([method], LIGHT).axes[0].lines
    np.testing.assert_allclose(curve.get_xdata(), [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.get_ydata(), [10, 15, 20])  # the smaller deviation is of the smaller error
    assert mean.get_ydata()[0] == 20


def changed(study, change):
    """The scores with a change, in a folder of their own."""
    content = json.loads((study / "scores.json").read_text())
    change(content)
    folder = study.parent / "changed"
    folder.mkdir(exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(content))
    return find_sources(folder).methods


def test_scores_that_do_not_say_the_nominal_coverage(study):
    methods = changed(study, lambda content: content["settings"]["predictions"].pop("interval"))
    assert [row.nominal for row in regions(methods)] == ["–"] * 4
    chart = charts_of(methods)["intervals"][2](LIGHT)
    assert all(line.get_linestyle() != ":" for axes in chart.axes for line in axes.lines)


def test_intervals_that_were_not_calibrated_say_so(study):
    def change(content):
        content["settings"]["predictions"]["interval"]["calibrated"] = False

    assert regions(changed(study, change))[0].nominal == "0.900, not calibrated"


def test_the_share_that_the_gate_accepts_is_marked(study):
    def change(content):
        content["gate"] = {"accepted": {"mae": {"n": 2}}, "rejected": {"mae": {"n": 1}}}

    axes = accept_reject_chart(changed(study, change), LIGHT).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [pytest.approx(2 / 3)]


def test_the_probabilities_of_classes_have_a_chart(tmp_path):
    row = {"case": "p1", "dice_lesion": 0.5, "ece_lesion": 0.1}
    summary = {key: {"mean": row[key], "n": 1} for key in ("dice_lesion", "ece_lesion")}
    table = {"probability": [0.05, None, 0.9], "frequency": [0.0, None, 0.6], "share": [0.9, 0.0, 0.1]}
    scores = {"task": "segmentation", "cases": [row], "summary": summary, "settings": {"classes": {"lesion": [1]}}}
    write_json(tmp_path / "scores.json", {**scores, "reliability": {"lesion": table}})
    sources = find_sources(tmp_path)
    assert [column.heading for column in compared_columns(sources)] == ["Dice lesion", "ECE lesion"]
    (axes,) = charts_of(sources.methods)["reliability"][2](LIGHT).axes
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [0.0, np.nan, 0.6])
    text = text_of(write_report(tmp_path).read_text())
    assert "Uncertainty Reliability of the probabilities" in text
    assert "nominal coverage" not in text
    assert (tmp_path / "figures/reliability.png").is_file()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sparsification all oracle", None),
        ("sparsification all error", [1.0]),
        ("sparsification removed", {}),
        ("accept_reject mae", []),
        ("accept_reject accepted", [0.5, 10**400, 1]),
        ("gate", {"accepted": {}}),
        ("gate", {side: {"mae": {"n": math.inf}} for side in ("accepted", "rejected")}),
        ("reliability", {"lesion": {"probability": [0.1, 0.9], "frequency": [0.1]}}),
        ("reliability", 3),
        ("summary", {}),
        ("summary", []),
        ("summary mae", None),
        ("summary mae", []),
        ("summary mae n", math.inf),
        ("summary mae mean", 10**400),
        ("summary mae n_failed", [1]),
        ("cases", ["a"]),
        ("cases", [{"case": "p1", "mae": 10**400}]),
        ("failed", [{"case": "p1"}]),
        ("settings predictions weights_sha256", 3),
        ("settings predictions interval coverage", 10**400),
        ("settings predictions sha256", [1]),
    ],
)
def test_damaged_scores_are_an_error_that_names_the_file(study, place, value):
    """Three lines, whatever is wrong in the file."""

    def change(content):
        *parts, last = place.split()
        for part in parts:
            content = content[part]
        content[last] = value

    with pytest.raises(InputError, match=r"^the scores are damaged \(\w+Error: ") as error:
        changed(study, change)
    assert error.value.where == study.parent / "changed/scores.json"
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    "content",
    [
        '{"cases": ["a"]}',
        '{"model": {}, "cases": ["a"]}',
        '{"model": {}, "cases": [{"case": "p1", "warnings": 3}]}',
        f'{{"model": {{}}, "interval": {{"coverage": 1{"0" * 400}, "calibrated": true}}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_prediction_report_is_named(tmp_path, content):
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/prediction.json").write_text(content)
    with pytest.raises(InputError, match="the prediction report is damaged") as error:
        find_sources(tmp_path)
    assert error.value.where == tmp_path / "predictions/prediction.json"


def test_scores_nested_too_deeply_are_an_error_that_names_the_file(tmp_path):
    (tmp_path / "scores.json").write_text('{"summary": ' + "[" * 100_000)
    with pytest.raises(InputError, match="not JSON") as error:
        find_sources(tmp_path)
    assert error.value.where == tmp_path / "scores.json"


def test_a_perfect_prediction_has_no_sparsification_and_an_unknown_tissue_no_chart(study):
    removed = changed(study, lambda content: content.update(sparsification={"removed": [0.0, 0.5]}))
    assert "sparsification" not in charts_of(removed)

    def change(content):
        content["sparsification"]["fat"] = content["sparsification"].pop("soft")

    methods = changed(study, change)
    assert [axes.get_title(loc="left") for axes in charts_of(methods)["sparsification"][2](LIGHT).axes] == [
        "All voxels"
    ]


def test_a_name_of_dollars_is_no_formula(tmp_path):
    name = r"$\frac{a$"
    table = {"probability": [0.05, 0.9], "frequency": [0.0, 0.6]}
    row = {"case": name, f"dice_{name}": 0.5}
    summary = {f"dice_{name}": {"mean": 0.5, "n": 2}}
    scores = {"task": "segmentation", "summary": summary, "settings": {"classes": {name: [1]}}}
    scores |= {"cases": [row, row | {"case": "p2"}], "reliability": {name: table}}
    write_json(tmp_path / "scores" / f"{name.replace('/', '')}.json", scores)
    sources = find_sources(tmp_path)
    assert {picture.name for picture in draw_figures(sources)} == {"scores", "cases", "reliability"}


def test_of_deviations_alone_the_table_has_no_empty_columns(study):
    """A cohort predicted with --uncertainty alone."""

    def change(content):
        for key in [key for key in content["summary"] if key.startswith("interval")]:
            del content["summary"][key]
        del content["settings"]["predictions"]["interval"]

    methods = changed(study, change)
    assert [column.key for column in measures(methods)] == ["coverage", "ause", "sd_error_correlation", "mean_sd"]
    page = write_report(study.parent / "changed").read_text()
    table = re.search(r"<h2>Uncertainty.*?</table>", page, re.S)[0]
    assert "nominal coverage" not in table
    assert "interval width" not in table
    assert "error within 2 SD" in text_of(re.search(r"<thead>.*</thead>", table, re.S)[0])
    assert text_of(re.search(r"<tr><th scope=.row.*?</tr>", table, re.S)[0]).startswith("CVAE all voxels 0.500 ± 0.000")


def test_without_uncertainty_there_is_no_such_part(study):
    def change(content):
        for key in [key for key in content["summary"] if key != "mae"]:
            del content["summary"][key]
        del content["sparsification"], content["accept_reject"]

    methods = changed(study, change)
    assert charts_of(methods) == {}
    assert regions(methods) == []
    assert "Uncertainty" not in text_of(write_report(study.parent / "changed").read_text())


def test_a_deviation_on_another_grid_is_left_out_and_said(study):
    path = study / "predictions/p3/p3_ct_sd.nii.gz"
    before = path.read_bytes()
    save(path, np.ones(SIZE), np.diag([2.0, 2.0, 4.0, 1.0]))
    images, notes = load_images(find_sources(study), "p3")
    path.write_bytes(before)
    assert [each.title for each in images.spreads] == ["width of the 90 % interval"]
    assert notes == ["p3_ct_sd.nii.gz is not shown: it lies on another grid than the prediction"]


def test_the_entropy_of_a_label_map_is_a_map_and_no_prediction(tmp_path):
    """By name it comes before the label map."""
    label = np.zeros(SIZE)
    label[4:7, 4:8, 3:5] = 1
    save(tmp_path / "p1_flair.nii.gz", np.ones(SIZE))
    for role, data in {"label": label, "entropy": label / 2, "sd_lesion": label / 4}.items():
        save(tmp_path / f"predictions/p1/p1_{role}.nii.gz", data)
    (tmp_path / "cases.csv").write_text("case,split,flair\np1,test,p1_flair.nii.gz\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.yaml").write_text(
        "method: segmentation\ndata: {inputs: [flair], labels: label, classes: {lesion: [1]}}\n"
    )
    sources = find_sources(tmp_path)
    assert sources.predictions["p1"].name == "p1_label.nii.gz"
    (entropy,) = load_images(sources, "p1")[0].spreads
    assert (entropy.title, entropy.unit, entropy.limit) == ("entropy", "nats", pytest.approx(np.log(2)))
    np.testing.assert_allclose(entropy.volume, label / 2)
    figure = montage(load_images(sources, "p1")[0], title="p1")
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0", "0.3466", "0.6931 nats"]
