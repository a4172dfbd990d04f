"""The page of a report with its viewer, in headless Chromium with software graphics, and without WebGL2.

Needs Chromium and its driver (Debian: ``apt install chromium chromium-driver``).
"""

import base64
import gzip
import hashlib
import os
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from webdriver import CHROMIUM, DRIVER, NO_WEBGL, SOFTWARE_GRAPHICS, Browser, Driver

from medgen.evaluation import evaluate_synthesis
from medgen.report import write_report
from medgen.report.page import render_page
from medgen.report.patients import MOST_BYTES, show_patients
from medgen.report.sources import find_sources
from medgen.report.viewer import LICENCES, NIIVUE, NIIVUE_BYTES, Viewer, niivue
from medgen.report.viewer.layers import Layer

needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed")

SIZE = (24, 20, 16)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
RECIPE = "method: context_aware_gan\ndata:\n  inputs: [t1]\n  target: ct\n  mask: mask\n"
OFF = {"p1": 10, "p2": 40, "p3": 25}
DRAWN = "document.getElementById('viewer-canvas').dataset.shown === '{}'"


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(data, np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three heads: the left half of the skull is 1000 HU, the right half 700 HU; the predictions are off by OFF."""
    folder = tmp_path_factory.mktemp("viewed") / "study"
    body = np.zeros(SIZE)
    body[2:22, 2:18, 2:14] = 1
    ct = np.where(body, np.where(np.arange(SIZE[0])[:, None, None] < 12, 1000, 700), -1000)
    rows = ["case,split,t1,ct,mask"]
    for name, off in OFF.items():
        for role, data in {"t1": 90 * body, "ct": ct, "mask": body}.items():
            save(folder / f"{name}_{role}.nii.gz", data)
        save(folder / f"predictions/{name}/{name}_ct.nii.gz", ct + off)
        rows.append(f"{name},test,{name}_t1.nii.gz,{name}_ct.nii.gz,{name}_mask.nii.gz")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(RECIPE)
    evaluate_synthesis(folder / "predictions", folder / "cases.csv", draws=10).write(folder / "scores.json")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(study):
    return (study / "report.html").read_text()


def test_every_script_of_the_page_has_its_hash_in_the_policy_and_nothing_else_may_run(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = [text.encode() for text in re.findall(r"<script>(.*?)</script>", page, re.S)]
    held = re.search(r'id="niivue">([^<]*)<', page)[1]
    scripts.append(gzip.decompress(base64.b64decode(held)))
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts}
    assert set(re.search("script-src ([^;]*)", policy)[1].split()) == hashes


def test_niivue_is_the_released_file_with_its_licences(page):
    folder = files("medgen.report.viewer")
    licences = (folder / LICENCES).read_text()
    assert hashlib.sha256(gzip.decompress((folder / NIIVUE).read_bytes())).hexdigest() in licences
    for said in ("Copyright (c) 2021, Niivue", "BSD 2-Clause License", "gl-matrix", "fflate", "nifti-reader-js"):
        assert said in licences
        assert said in page
    assert len(niivue()) < NIIVUE_BYTES
    assert MOST_BYTES < 20e6


def test_the_worst_case_is_first_and_leads_to_its_pictures(page):
    cards = re.findall(r'class="card"[^>]*href="#([^"]*)" data-case="([^"]*)"', page)
    assert cards == [("picture-case_p2", "p2"), ("picture-case_p3", "p3"), ("patient-p1", "p1")]  # p1 is in the viewer
    rows = re.findall(r'<tr><td>\s*<a href="#([^"]*)" data-case="([^"]*)">', page)
    assert [case for _, case in rows] == ["p2", "p3", "p1"]
    assert all(f'id="{target}"' in page for target, _ in rows)
    assert re.search(r'data-worst="high" aria-sort="descending">MAE<', page)


def test_without_the_viewer_the_page_is_small_and_has_the_rest(study, page):
    sources = find_sources(study)
    small = render_page(sources, [], show_patients(sources, [], viewer=False))
    assert "niivue" not in small
    assert "viewer-" not in re.sub(r"<(style|script).*?</\1>", "", small, flags=re.S)
    assert len(small) < len(page) - 10**6
    assert small.count('id="patient-p2"') == 1


def test_the_page_says_what_may_be_missing_from_coarse_label_maps(study, page):
    sources = find_sources(study)
    shown = show_patients(sources, [])
    patient = shown.viewer.patients[0]
    layers = (*patient.layers, Layer("predicted", "predicted", "labels", classes=(("lesion", "#ff7f2a"),)))
    coarse = Viewer([replace(patient, spacing=(4.0, 4.0, 6.0), layers=layers)])
    assert "small structures may be missing" in render_page(sources, [], shown._replace(viewer=coarse))
    assert "small structures may be missing" not in page


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def opened(driver, study, tmp_path_factory):
    """The page at 1400 pixels, with the viewer in sight."""
    browser = Browser(driver, tmp_path_factory.mktemp("profile"), 1400, 1000, graphics=SOFTWARE_GRAPHICS)
    browser.open((study / "report.html").as_uri())
    browser.run("document.getElementById('viewer-section').scrollIntoView()")
    browser.wait(DRAWN.format("p2"), 60)
    yield browser
    browser.close()


def keep(browser, name):
    """Keep a picture of the page, where MEDGEN_SCREENSHOTS names a folder to look at them."""
    if folder := os.environ.get("MEDGEN_SCREENSHOTS"):
        browser.picture(Path(folder) / f"{name}.png")


def values(browser):
    """What the viewer says of the place: the place, and by layer its value."""
    spans = "[...document.querySelectorAll('#viewer-values span')]"
    parts = f"{spans}.map((span) => [...span.childNodes].map((each) => each.textContent))"
    (told,), *found = browser.run(parts)
    return told, {name.strip(): value for name, value in found}


def point(browser, across, down):
    """Move the mouse to a part of the axial picture, which is the left third of the canvas."""
    box = browser.run("document.getElementById('viewer-canvas').getBoundingClientRect().toJSON()")
    browser.point(box["x"] + across * box["width"], box["y"] + down * box["height"])


@needs_chromium
def test_the_viewer_shows_values_where_they_are(opened):
    told, found = values(opened)
    assert told.startswith("At the cross: ")
    assert found["error (synthetic − true)"] == "40 HU"
    assert found["T1"] == "90"
    point(opened, 0.08, 0.4)  # left in the picture is the patient's right, where x is large and the skull has 700 HU
    told, found = values(opened)
    assert told.startswith("Under the pointer: ")
    assert (found["true CT"], found["synthetic CT"]) == ("700 HU", "740 HU")
    point(opened, 0.25, 0.4)
    assert values(opened)[1]["true CT"] == "1000 HU"
    keep(opened, "viewer_1400")


@pytest.fixture(scope="module")
def oblique(tmp_path_factory):
    """A head on a grid that is turned by 20 degrees; its HU tell the voxel: 100 x + 10 y + z - 1000."""
    folder = tmp_path_factory.mktemp("oblique") / "study"
    turn = np.deg2rad(20)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:2, :2] = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine[:3, 3] = -20, -18, -25
    size = (24, 10, 10)
    body = np.zeros(size)
    body[1:23, 1:9, 1:9] = 1
    x, y, z = np.indices(size)
    for name, data in {"p1_t1": 90 * body, "p1_ct": 100 * x + 10 * y + z - 1000, "p1_mask": body}.items():
        save(folder / f"{name}.nii.gz", data, affine)
    save(folder / "predictions/p1/p1_ct.nii.gz", 100 * x + 10 * y + z - 1000, affine)
    (folder / "cases.csv").write_text("case,split,t1,ct,mask\np1,test,p1_t1.nii.gz,p1_ct.nii.gz,p1_mask.nii.gz\n")
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(RECIPE)
    write_report(folder)
    return folder, affine


@needs_chromium
def test_millimetres_of_an_oblique_image_are_those_of_its_affine(driver, oblique, tmp_path):
    folder, affine = oblique
    browser = Browser(driver, tmp_path / "profile", 1400, 1000, graphics=SOFTWARE_GRAPHICS)
    browser.open((folder / "report.html").as_uri())
    browser.run("document.getElementById('viewer-section').scrollIntoView()")
    browser.wait(DRAWN.format("p1"), 60)
    for across in (0.08, 0.25, None):  # under the pointer, and at the cross
        if across is None:
            browser.point(5, 5)
        else:
            point(browser, across, 0.5)
        told, found = values(browser)
        assert told.startswith("Under the pointer: " if across else "At the cross: ")
        shown = [float(number) for number in re.findall(r"-?\d+\.\d", told.replace("−", "-"))]
        digits = int(found["true CT"].removesuffix(" HU").replace("−", "-")) + 1000
        voxel = np.array([digits // 100, digits // 10 % 10, digits % 10])
        inside = np.linalg.solve(affine, [*shown, 1])[:3] - voxel
        assert np.abs(inside).max() < 0.55, (told, voxel)  # half a voxel, and the rounding to 0.1 mm
    browser.close()


@needs_chromium
def test_the_viewer_works_by_keyboard(opened):
    opened.run("document.getElementById('viewer-canvas').focus({ preventScroll: true })")
    opened.point(5, 5)
    before = values(opened)[0]
    opened.press("PageUp", "PageUp")
    after = values(opened)[0]
    up = [float(text.split(", ")[2].split()[0].replace("−", "-")) for text in (before, after)]
    assert up[1] - up[0] == 6.0
    checked = "[...document.querySelectorAll('#viewer-images input')].findIndex((each) => each.checked)"
    for key, number in (("1", 0), ("3", 2), ("2", 1)):
        opened.press(key)
        assert opened.run(checked) == number
    assert opened.run("document.getElementById('viewer-window').selectedOptions[0].text") == "bone: −500 to 1300 HU"
    opened.run("document.querySelector('#viewer-sliders input').focus()")
    opened.press("ArrowRight")
    assert opened.run("document.querySelector('#viewer-sliders output').textContent") == "401 HU"
    assert opened.run("document.getElementById('viewer-window').selectedOptions[0].text") == "as set below"


def colour(browser, path):
    """Mean red, green and blue of the canvas, as it is seen."""
    browser.picture(path)
    box = browser.run("document.getElementById('viewer-canvas').getBoundingClientRect().toJSON()")
    seen = Image.open(path).convert("RGB").crop([round(box[side]) for side in ("left", "top", "right", "bottom")])
    return np.asarray(seen, float).mean(axis=(0, 1))


@needs_chromium
def test_windows_and_overlays_change_the_picture(opened, tmp_path):
    opened.run("document.activeElement.blur()")
    choose = (
        "((list) => {{ list.value = '{}'; list.dispatchEvent(new Event('change')); }})"
        "(document.getElementById('viewer-{}'))"
    )
    opened.run(choose.format("bone", "window"))
    bone = colour(opened, tmp_path / "bone.png")
    assert bone.min() > 20
    assert np.ptp(bone) < 5
    opened.run(choose.format("soft tissue", "window"))
    assert opened.run("document.querySelector('#viewer-sliders output').textContent") == "40 HU"
    assert colour(opened, tmp_path / "soft.png").min() > 1.1 * bone.max()  # all of this skull is white now
    opened.run("document.querySelector('#viewer-overlays input[type=checkbox]').click()")
    red, _, blue = colour(opened, tmp_path / "error.png")
    assert red > 1.1 * blue  # too high everywhere
    opened.run(choose.format("axial", "view"))
    keep(opened, "viewer_axial")
    opened.run(choose.format("three planes", "view"))


@needs_chromium
def test_tables_sort_and_a_name_opens_the_viewer(opened):
    table = "document.querySelectorAll('table.sortable')[1]"
    order = f"[...{table}.tBodies[0].rows].map((row) => row.cells[0].textContent.trim())"
    heading = f"{table}.tHead.rows[0].cells[{{}}]"
    assert opened.run(order) == ["p2", "p3", "p1"]
    opened.run(f"{heading.format(1)}.querySelector('button').focus()")
    opened.press("Enter")
    assert opened.run(order) == ["p1", "p3", "p2"]
    assert opened.run(f"{heading.format(1)}.getAttribute('aria-sort')") == "ascending"
    opened.run(f"{heading.format(0)}.querySelector('button').click()")
    assert opened.run(order) == ["p1", "p2", "p3"]
    assert opened.run(f"[...{table}.tHead.rows[0].cells].map((each) => each.getAttribute('aria-sort'))")[:2] == [
        "ascending",
        None,
    ]
    opened.run(f"[...{table}.querySelectorAll('a')].find((each) => each.textContent.trim() === 'p3').click()")
    opened.wait(DRAWN.format("p3"), 60)
    assert values(opened)[1]["error (synthetic − true)"] == "25 HU"
    assert opened.run("document.activeElement.id") == "viewer-canvas"


@needs_chromium
def test_no_column_is_lost_and_paper_has_pictures_in_place_of_the_viewer(opened):
    reach = (
        "[...document.querySelectorAll('table.sortable')].map((table) => "
        "[table.parentElement.scrollWidth >= table.offsetWidth, getComputedStyle(table.parentElement).overflowX])"
    )
    for width in (1400, 700):
        opened.resize(width, 1000)
        assert opened.run("document.documentElement.scrollWidth") <= width
        assert all(reached == [True, "auto"] for reached in opened.run(reach))
        for dark in (False, True):
            opened.media(dark=dark)
            keep(opened, f"page_{width}_{'dark' if dark else 'light'}")
    opened.media(dark=True, paper=True)
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert opened.run(shown.format(".viewer")) == "none"
    assert opened.run(shown.format("figure.case")) == "block"
    assert opened.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    opened.media()
    opened.resize(1400, 1000)


@needs_chromium
def test_no_request_leaves_the_page(opened, study):
    """The last test of this page: all that it asked for since it was opened."""
    asked = opened.asked()
    asked = asked[asked.index((study / "report.html").as_uri()) + 1 :]  # before it, Chromium showed its own first tab
    assert all(address.startswith("data:image/") for address in asked)
    assert all(address.startswith("data:image/") for address in opened.requested())
    assert opened.complaints() == []


@needs_chromium
def test_without_webgl_the_page_says_so_and_keeps_its_pictures(driver, study, tmp_path):
    browser = Browser(driver, tmp_path / "profile", 1400, 1000, graphics=NO_WEBGL)
    browser.open((study / "report.html").as_uri())
    assert "no WebGL2" in browser.run("document.getElementById('viewer-message').textContent")
    assert browser.run("document.getElementById('viewer-body').hidden")
    browser.run("document.querySelector('a.card').click()")
    assert browser.run("location.hash").startswith("#picture-case_")
    assert browser.run("document.querySelector('figure.case img').naturalWidth") > 200
    browser.close()
