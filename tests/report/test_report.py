import base64
import io
import json
import math
import re

import nibabel
import numpy as np
import pytest
from PIL import Image

from medgen.errors import InputError, StorageError, UsageError
from medgen.files import write_json
from medgen.metrics.statistics import summarise
from medgen.report import write_report
from medgen.report.charts import smoothed
from medgen.report.columns import Column, in_order
from medgen.report.content import read_curves, read_scores
from medgen.report.drawing import draw_curve, new_figure
from medgen.report.images import load_images
from medgen.report.manifest import read_manifest
from medgen.report.montage import cropped, montage
from medgen.report.page import _remark, render_page
from medgen.report.ranges import error_limit
from medgen.report.slices import CaseImages, picture
from medgen.report.sources import choose_cases, find_sources
from medgen.report.warned import Warned, read_warned

RECIPE = "method: context_aware_gan\ndata:\n  inputs: [t1]\n  target: ct\n  mask: mask\n"
SIZE = (10, 12, 8)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def save(path, data, dtype, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(data, dtype), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)


def write_scores(path, errors: dict[str, float]):
    cases = [{"case": name, "mae": value, "psnr": 30.0} for name, value in errors.items()]
    summary = {key: summarise([case[key] for case in cases]) for key in ("mae", "psnr")}
    write_json(path, {"task": "synthesis", "cases": cases, "summary": summary})


@pytest.fixture
def study(tmp_path):
    return make_reader_study(tmp_path / "study")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study with its report; not to be changed."""
    folder = make_reader_study(tmp_path_factory.mktemp("written") / "study")
    write_report(folder)
    return folder


def make_reader_study(folder):
    """A folder as the demo writes it: three cases of a phantom, two methods, a run of two stages."""
    rows = ["case,split,t1,ct,mask"]
    body = np.zeros(SIZE, bool)
    body[2:8, 2:10, 2:6] = True
    for number, name in enumerate(("p1", "p2", "p3")):
        ct = np.where(body, 40.0, -1000.0)
        save(folder / f"data/{name}/{name}_t1.nii.gz", body * 100.0, np.float32)
        save(folder / f"data/{name}/{name}_ct.nii.gz", ct, np.int16)
        save(folder / f"data/{name}/{name}_mask.nii.gz", body, np.uint8)
        save(folder / f"predictions/{name}/{name}_ct.nii.gz", ct + 10.0 * (number + 1), np.int16)
        rows.append(f"{name},test,{name}/{name}_t1.nii.gz,{name}/{name}_ct.nii.gz,{name}/{name}_mask.nii.gz")
    (folder / "data/cases.csv").write_text("\n".join(rows) + "\n")
    write_json(folder / "data/phantom.json", {"subjects": 3})
    write_scores(folder / "scores/context_aware_gan.json", {"p1": 10.0, "p2": 20.0, "p3": 30.0})
    write_scores(folder / "scores/constant.json", {"p1": 100.0, "p2": 200.0, "p3": math.nan})
    run = folder / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(RECIPE)
    write_json(run / "run.json", {"device": "cpu", "seconds": 3725.0, "peak_memory_bytes": 2**30, "versions": {}})
    with (run / "metrics.jsonl").open("w") as log:
        for part in ("stage0", "stage0-fold0", "stage1"):
            for step in range(0, 30, 10):
                log.write(
                    json.dumps({"part": part, "step": step, "losses": {"generator/mse": 0.5, "d/real": 1}}) + "\n"
                )
        log.write(json.dumps({"part": "stage0", "step": 20, "validation": {"mae": 42.0}}) + "\n")
        log.write('{"part": "stage1", "st')  # the run was killed while it wrote
    return folder


def text_of(page: str) -> str:
    """What a reader sees, without style, pictures and tags, on one line."""
    body = re.sub(r"<(style|picture|script).*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_holds_everything_and_asks_the_network_for_nothing(written):
    path = written / "report.html"
    page = path.read_text()
    assert path.stat().st_size < 20e6
    for word in ("://", "<link", "@import", "url(", "file:", "<script src"):
        assert word not in page
    sources = re.findall(r'(?:src|srcset)="([^"]{0,40})', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for source in sources)
    assert re.findall(r'href="([^#"]*)', page) == [""] * page.count('href="')


def test_the_page_says_what_it_must(written):
    text = text_of((written / "report.html").read_text())
    for said in (
        "Research software, not for clinical use.",
        "Phantom data.",
        "T1 to CT: context aware GAN",
        "p2, the typical case",
        "p3, the worst case",
        "the patient's right (R) is on the left",
        "Voxels of 2 × 2 × 3 mm.",
        "Of fewer than six cases there is no interval; their values stand in its place.",
        "CT from −500 (black) to 1300 HU (white)",
        "1 h 02 min",
        "method: context_aware_gan",
    ):
        assert said.replace("'", "&#39;") in text or said in text, said


def test_the_table_orders_methods_and_counts_what_failed(written):
    page = (written / "report.html").read_text()
    constant, ours = (text_of(row) for row in re.findall(r'<tr[^>]*><th scope="row".*?</tr>', page, re.S))
    assert constant.startswith("constant ")
    assert "150.0" in constant  # the mean of 100 and 200
    assert "1 without a value" in constant
    assert ours.startswith("context aware GAN 20.0 ")
    assert "± 10.0" in ours
    assert "without a value" not in ours


def test_scores_of_images_are_neither_of_labels_nor_of_lesions(study):
    scores = read_scores(study / "scores/constant.json")
    assert (scores.of_labels, scores.of_lesions) == (False, False)


def test_patients_are_not_called_a_phantom(study):
    assert find_sources(study).phantom
    (study / "data/phantom.json").unlink()
    sources = find_sources(study)
    assert not sources.phantom
    assert "Phantom data" not in render_page(sources, [])


def test_pictures_are_embedded_and_written_beside(written):
    page = (written / "report.html").read_text()
    names = sorted(path.name for path in (written / "figures").iterdir())
    assert names == ["case_p2.png", "case_p3.png", "scores.png", "training.png"]
    for name in names:
        data = (written / "figures" / name).read_bytes()
        assert base64.b64encode(data).decode() in page
        picture = Image.open(io.BytesIO(data))
        assert min(picture.size) > 200
        assert len(picture.convert("L").getcolors()) > 10
        assert not picture.info.get("Software")


def test_pictures_of_no_report_are_not_replaced(study):
    run = study / "run"  # its training alone, for speed
    picture = run / "figures/training.png"
    picture.parent.mkdir()
    picture.write_bytes(b"of the user")
    with pytest.raises(UsageError, match="a picture of this name exists") as error:
        write_report(run)
    assert error.value.where == picture
    assert picture.read_bytes() == b"of the user"
    assert not (run / "report.html").exists()
    picture.unlink()
    write_report(run)
    before = picture.read_bytes()
    write_report(run, run / "again.html")  # beside the first, and over it
    assert write_report(run).is_file()
    assert picture.read_bytes() == before
    picture.write_bytes(b"of the user")  # a report beside it is no licence: it is not a picture of that report
    page = (run / "report.html").read_bytes()
    with pytest.raises(UsageError, match="a picture of this name exists"):
        write_report(run)
    assert (picture.read_bytes(), (run / "report.html").read_bytes()) == (b"of the user", page)


def test_a_file_in_place_of_the_folder_of_pictures_is_refused_before_drawing(study):
    (study / "figures").write_text("of the user")
    drawn = []
    with pytest.raises(StorageError, match="not a folder") as error:
        write_report(study, progress=lambda *call: drawn.append(call))
    assert error.value.where == (study / "figures").absolute()
    assert not drawn
    assert not (study / "report.html").exists()


def test_no_folder_of_this_machine_is_in_the_page(written):
    assert str(written.parent) not in (written / "report.html").read_text()


def test_a_run_folder_alone_shows_its_training(study):
    text = text_of(write_report(study / "run").read_text())
    assert "Training" in text
    assert "Scores" not in text
    assert (study / "run/figures/training.png").is_file()


def test_of_two_cases_none_is_called_typical(study):
    (study / "predictions/p3/p3_ct.nii.gz").unlink()
    assert choose_cases(find_sources(study)) == [("p1", "the better case"), ("p2", "the worse case")]


def test_the_output_and_the_table_can_be_elsewhere(study, tmp_path):
    (study / "data").rename(tmp_path / "images")
    assert choose_cases(find_sources(study)) == []
    calls = []
    path = write_report(
        study,
        tmp_path / "elsewhere/page.html",
        cases=tmp_path / "images/cases.csv",
        progress=lambda *call: calls.append(call),
    )
    assert path.is_file()
    assert (path.parent / "figures/case_p2.png").is_file()
    assert calls[0] == (0, 4, "case p2")
    assert calls[4] == (4, 4, "done")
    assert calls[5] == (0, 3, "patient p3")  # the worst one
    assert calls[-1] == (3, 3, "done")


def test_names_and_recipes_are_escaped(study):
    (study / "run/recipe.yaml").write_text(RECIPE + "# <script>alert(1)</script>\n")
    assert "<script>alert" not in render_page(find_sources(study), [])


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_nothing_to_report_is_an_error(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no such folder|nothing to report"):
        write_report(tmp_path / folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"cases": []}', '{"cases": [{}], "summary": {}}'])
def test_a_damaged_file_of_scores_is_named(tmp_path, content):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_scores(path)
    assert error.value.where == path


def test_the_picture_is_in_radiological_convention():
    volume = np.zeros((3, 4, 5))  # axes to the right, anterior, superior
    volume[2, 3, 4] = 1.0  # the right, anterior, superior corner
    axial, coronal, sagittal = picture(volume, 2, 4), picture(volume, 1, 3), picture(volume, 0, 2)
    assert axial.shape == (4, 3)
    assert coronal.shape == (5, 3)
    assert sagittal.shape == (5, 4)
    for image in (axial, coronal, sagittal):  # right, or anterior, is left; anterior, or superior, is up
        assert image[0, 0] == 1.0
        assert image.sum() == 1.0


def test_images_of_another_axis_order_are_turned(study):
    """The same prediction stored left to right must give the same picture."""
    path = study / "predictions/p2/p2_ct.nii.gz"
    before, _ = load_images(find_sources(study), "p2")
    image = nibabel.load(path)
    data = np.array(image.dataobj)
    data[1, 0, 0] = 7
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -2.0, 2.0 * (SIZE[0] - 1)
    save(path, data[::-1], np.int16, flipped)
    after, notes = load_images(find_sources(study), "p2")
    assert after.prediction[1, 0, 0] == 7
    expected = before.prediction.copy()
    expected[1, 0, 0] = 7
    np.testing.assert_array_equal(after.prediction, expected)
    assert after.spacing == (2.0, 2.0, 3.0)
    assert notes == []


@pytest.mark.parametrize(
    ("recipe", "unit"),
    [
        ("data: {inputs: [t1], target: ct}\n", "HU"),
        ("data: {inputs: [t1], target: ct}\npreparation: {intensity: {ct: {percentiles: [1, 99]}}}\n", ""),
        ("data: {inputs: [t1], target: ct}\npreparation: {intensity: {ct: {window: [-800, 900]}}}\n", "HU"),
        ("", "HU"),
    ],
)
def test_the_unit_is_that_of_the_recipe(study, recipe, unit):
    (study / "run/recipe.yaml").write_text(recipe)
    assert load_images(find_sources(study), "p2")[0].unit == unit


def test_padding_is_shown_as_it_is_scored(study):
    """Values of -3024 count as -1024 in the scores, so the map of errors must not show 2000 HU."""
    ct = np.asarray(nibabel.load(study / "data/p2/p2_ct.nii.gz").dataobj).copy()
    ct[0] = -3024
    save(study / "data/p2/p2_ct.nii.gz", ct, np.int16)
    images = load_images(find_sources(study), "p2")[0]
    assert (images.truth[0] == -1024).all()
    np.testing.assert_array_equal(images.truth[1:], ct[1:])


def test_a_target_of_another_name_is_in_hounsfield_units_too(study):
    (study / "run/recipe.yaml").write_text("data: {inputs: [t1], target: planning}\n")
    (study / "predictions/p2/p2_ct.nii.gz").rename(study / "predictions/p2/p2_planning.nii.gz")
    assert load_images(find_sources(study), "p2")[0].unit == "HU"


def test_an_image_on_another_grid_is_left_out_and_said(study):
    moved = AFFINE.copy()
    moved[0, 3] = 50.0
    save(study / "data/p2/p2_t1.nii.gz", np.ones(SIZE), np.float32, moved)
    images, notes = load_images(find_sources(study), "p2")
    assert images.inputs == {}
    assert notes == ["t1 is not shown: it lies on another grid than the prediction"]


def test_the_error_map_is_the_difference_inside_the_mask():
    truth = np.zeros((6, 6, 6), np.float32)
    prediction = truth + 100.0
    prediction[0] = 900.0  # outside the mask
    mask = np.ones_like(truth)
    mask[0] = 0
    figure = montage(CaseImages({}, prediction, truth, mask, (1.0, 1.0, 2.0)), title="x")
    errors = [axes.images[0] for axes in figure.axes if axes.images and axes.images[0].get_cmap().name == "berlin"]
    assert len(errors) == 3
    for shown in errors:
        values = np.ma.filled(shown.get_array().astype(float), np.nan)
        assert set(values[np.isfinite(values)].tolist()) == {100.0}
        assert shown.get_clim() == (-100.0, 100.0)
    coronal = errors[1].axes
    assert coronal.get_aspect() == 2.0  # rows are 2 mm apart, columns 1 mm


def test_cropping_keeps_a_border_and_all_volumes_together():
    mask = np.zeros((60, 60, 60))
    mask[30, 30, 30] = 1
    image = np.arange(60.0**3).reshape(60, 60, 60)
    box = cropped(CaseImages({"t1": image}, image, None, mask, (1.0, 2.0, 4.0)))
    assert box.prediction.shape == (17, 9, 5)  # 8 mm on each side
    assert box.inputs["t1"][8, 4, 2] == image[30, 30, 30]


def test_error_limit_is_a_round_number():
    assert error_limit(np.array([np.nan])) == 100.0
    assert error_limit(np.full(10, -180.0)) == 200.0


def test_curves_by_stage_with_their_folds(study):
    curves = read_curves(study / "run/metrics.jsonl")
    assert {name: len(parts) for name, parts in curves.items()} == {"stage0": 2, "stage1": 1}
    steps, values = curves["stage0"][0].losses["generator/mse"]
    assert steps.tolist() == [0, 10, 20]
    assert values.tolist() == [0.5, 0.5, 0.5]
    assert curves["stage0"][0].validation["mae"][1].tolist() == [42.0]
    assert curves["stage0"][0].optimizers == ["generator", "d"]


def test_smoothed_ignores_what_is_not_finite():
    assert smoothed(np.array([1.0, np.nan, 3.0]), share=1.0).tolist() == [1.0, 2.0, 3.0]


def test_a_curve_has_the_band_of_its_interval():
    axes = new_figure(2, 2, background="white").subplots()
    draw_curve(axes, [0, 1, 2], [0.5, np.nan, 0.7], "#000000", interval=([0.4, np.nan, 0.6], [0.6, np.nan, 0.9]))
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_array_equal(line.get_ydata(), [0.5, np.nan, 0.7])
    assert band.get_datalim(axes.transData).bounds == pytest.approx((0, 0.4, 2, 0.5))
    draw_curve(axes, [0, 1], [0.5, 0.5], "#000000")
    assert len(axes.collections) == 1


def test_columns_have_an_order_a_unit_and_a_direction():
    assert [column.key for column in in_order(["new_metric", "psnr", "mae"])] == ["mae", "psnr", "new_metric"]
    assert Column.of("mae").titled == "MAE (HU)"
    assert Column.of("psnr").badness(30.0) < Column.of("psnr").badness(20.0)
    assert Column.of("me").badness(-5.0) < Column.of("me").badness(10.0)
    assert Column.of("mae").text(None) == "–"


def test_the_manifest_is_readable(study):
    manifest = read_manifest(study / "run/run.json")
    assert manifest["time"] == "1 h 02 min"
    assert manifest["peak memory"] == "1.00 GiB"
    assert "seed" not in manifest


def test_warnings_on_predictions_and_a_model_of_phantoms_stand_on_top(study):
    cases = [
        {"case": "p1", "status": "done", "warnings": ["gland: 411 ml is implausible"]},
        {"case": "p2", "status": "done", "warnings": []},
        {"case": "p3", "status": "failed", "warnings": ["was refused"]},
    ]
    write_json(study / "predictions/prediction.json", {"model": {"phantoms": "trained on phantoms"}, "cases": cases})
    text = text_of(write_report(study).read_text())
    assert "Trained on phantoms." in text
    assert "Warnings on 1 of 2 predictions." in text
    assert "p1: gland: 411 ml is implausible" in text
    assert "was refused" not in text
    assert text.index("Warnings on") < text.index("p2, the typical case")


def test_without_predictions_the_model_says_what_it_learnt_from(study):
    (study / "run/model").mkdir()
    write_json(study / "run/model/model.json", {"trained_on": {"train": 3}, "phantoms": {"train": 3}})
    assert "phantoms alone" in read_warned(study).phantoms
    write_json(study / "run/model/model.json", {"trained_on": {"train": 3}, "phantoms": {}})
    assert read_warned(study) == Warned()


def test_infinite_values_are_told_beside_the_mean(tmp_path):
    values = summarise([math.inf, 30.0, 40.0])
    write_json(tmp_path / "a.json", {"task": "synthesis", "cases": [], "summary": {"psnr": values}})
    summary = read_scores(tmp_path / "a.json").summary["psnr"]
    assert (summary.n, summary.failed, summary.infinite) == (2, 0, 1)
    assert _remark(Column.of("psnr"), summary) == "1 infinite"
