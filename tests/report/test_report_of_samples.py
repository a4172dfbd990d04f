"""Samples in a report: pictures, the sentence on copies, the table of metrics, and what does not fit."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_samplers import NOISE, save_toy

from medgen.errors import InputError
from medgen.files import sha256, write_json
from medgen.inference.generation import sample
from medgen.report import write_report
from medgen.report.page import render_page
from medgen.report.sources import find_sources
from medgen.volume import Volume, write_volume

SIZE, WINDOW = (4, 6, 2), {"t1": {"window": [0, 1000]}}


def write_table(folder: Path) -> Path:
    """Two training heads and a darker one of split test."""
    image = np.zeros((1, 19, 23, 17), np.float32)
    image[0, 3:-3, 3:-3, 3:-3] = np.linspace(400, 800, 17)[:, None]
    folder.mkdir()
    for name, factor in (("a", 1.0), ("b", 1.2), ("c", 0.7)):
        write_volume(Volume(factor * image, np.diag([1.5, 2, 2.5, 1])), folder / f"{name}.nii.gz", kind="scalar")
    (folder / "cases.csv").write_text("case,split,t1\na,train,a.nii.gz\nb,train,b.nii.gz\nc,test,c.nii.gz\n")
    return folder / "cases.csv"


def scores(folder: Path, digest: str) -> None:
    summary = {
        "kernel_distance": {"mean": -0.25, "sd": None, "ci95": [-0.5, 0.125], "real": 0.01, "n": 9, "n_real": 9},
        "frechet_distance": {"mean": None, "sd": None, "ci95": [None, None], "real": None, "n": 0, "reason": "too few"},
    }
    content = {"task": "samples", "cases": [], "summary": summary, "settings": {}, "samples": {"sha256": digest}}
    network = {"method": "vicreg", "layer": 3, "weights_sha256": "0123456789abcdef"}
    write_json(folder / "scores.json", content | {"features": network, "phantoms": "all real cases are phantoms"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, samples with a way and neighbours, and their scores."""
    tmp_path = tmp_path_factory.mktemp("made") / "study"
    run = save_toy(tmp_path / "run", NOISE, size=SIZE, intensity=WINDOW)
    (run / "recipe.yaml").write_text("method: vae\ndata:\n  inputs: [t1]\n")
    table = write_table(tmp_path / "table")
    options = {"count": 3, "interpolate": (0, 2), "frames": 3, "neighbours": table}
    sample(run, tmp_path / "drawn", device="cpu", allow_modules=[NOISE], **options)
    scores(tmp_path, sha256(tmp_path / "drawn" / "samples.json"))
    return tmp_path


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "study")


@pytest.fixture
def page(study: Path) -> str:
    return write_report(study).read_text()


def test_pictures_are_inside_with_words_for_those_who_cannot_see_them(page: str, study: Path) -> None:
    images = re.findall(r'<img[^>]*alt="([^"]+)"\s+src="data:image/(png|gif);base64,', page)
    assert [kind for _, kind in images] == ["png", "png", "gif", "png"]
    assert "3 drawn, seed 0, temperature 1" in images[0][0]
    assert "From sample 0 to sample 2" in images[1][0]
    assert "do not pass this page on" in images[3][0]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert (study / "figures" / "drawn_interpolation.gif").is_file()
    assert "no predictions" not in page


def test_the_sentence_on_copies(study: Path) -> None:
    path = study / "drawn" / "neighbours.json"
    content = json.loads(path.read_text())
    for row in content["samples"]:
        row["nearer_than_any_held_out"] = row["sample"] == 2
    content["samples"][2]["nearest"][0]["case"] = "b"
    path.write_text(json.dumps(content))
    (folder,) = find_sources(study).samples
    good, text = folder.copies or (True, "")
    assert not good
    assert text.startswith("1 of 3 samples are nearer to a training patch than any of ")
    assert "sample 2 (b)" in text
    assert f"chance alone gives up to {content['expected']:.2g} on average" in text
    assert "In voxels a blurred sample is near to every image" in text
    content["samples"][2]["nearer_than_any_held_out"] = False
    path.write_text(json.dumps(content))
    assert (find_sources(study).samples[0].copies or (False,))[0]
    content["held_out"] = None
    path.write_text(json.dumps(content))
    assert "No held-out patients" in render_page(find_sources(study), [])


def test_the_table_of_metrics(page: str, study: Path) -> None:
    kernel, frechet = find_sources(study).judgements[0].rows
    assert kernel[2:] == ("−0.250", "−0.500 to 0.125", "0.010", "lower", "")
    assert (frechet.value, frechet.reason) == ("–", "too few")
    assert "Fréchet distance: not computed, too few" in page
    assert "features of vicreg, layer 3, weights 0123456789ab" in page
    assert "all real cases are phantoms" in page
    assert not find_sources(study).methods, "scores of samples are no row among scores of cases"


def test_what_does_not_fit_is_said(study: Path) -> None:
    assert find_sources(study).doubts == ()
    scores(study, "another")
    assert "scores other samples" in " ".join(find_sources(study).doubts)
    other = save_toy(study / "other", NOISE, size=SIZE, intensity=WINDOW, config={"level": 0.5})
    sample(other, study / "more", device="cpu", allow_modules=[NOISE], count=1)
    (study / "other" / "model" / "model.json").unlink()
    assert "the samples in more/ were made by weights" in " ".join(find_sources(study).doubts)


def test_a_folder_of_samples_alone(study: Path) -> None:
    page = write_report(study / "drawn", study / "report.html").read_text()
    assert page.count("data:image/png") >= 3


@pytest.mark.parametrize("name", ["samples.json", "neighbours.json"])
def test_a_damaged_list_is_named(study: Path, name: str) -> None:
    (study / "drawn" / name).write_text("{}")
    with pytest.raises(InputError, match="damaged") as caught:
        write_report(study)
    assert str(caught.value.where).endswith(name)
