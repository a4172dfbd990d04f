"""Samples in a report: pictures, the sentence on copies, the table of metrics, and what does not fit."""

import json
import re
from pathlib import Path

import pytest
from mean_model import head, save
from test_encoding import SIZE, WINDOW, write_table
from toy_samplers import NOISE, save_toy

from medgen.errors import InputError
from medgen.files import sha256, write_json
from medgen.inference.generation import sample
from medgen.report import write_report
from medgen.report.page import render_page
from medgen.report.sources import find_sources


def scores(folder: Path, digest: str) -> None:
    summary = {
        "kernel_distance": {"mean": -0.25, "sd": None, "ci95": [-0.5, 0.125], "real": 0.01, "n": 9, "n_real": 9},
        "frechet_distance": {"mean": None, "sd": None, "ci95": [None, None], "real": None, "n": 0, "reason": "too few"},
    }
    content = {"task": "samples", "cases": [], "summary": summary, "settings": {}, "samples": {"sha256": digest}}
    network = {"method": "vicreg", "layer": 3, "weights_sha256": "0123456789abcdef"}
    write_json(folder / "scores.json", content | {"features": network, "phantoms": "all real cases are phantoms"})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A run, samples with a way and neighbours, and their scores."""
    run = save_toy(tmp_path / "run", NOISE, size=SIZE, intensity=WINDOW)
    (run / "recipe.yaml").write_text("method: vae\ndata:\n  inputs: [t1]\n")
    table = write_table(tmp_path / "table")
    save(0.7 * head(), table.parent / "c.nii.gz")
    options = {"count": 3, "interpolate": (0, 2), "frames": 3, "neighbours": table}
    sample(run, tmp_path / "drawn", device="cpu", allow_modules=[NOISE], **options)
    scores(tmp_path, sha256(tmp_path / "drawn" / "samples.json"))
    return tmp_path


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


def test_a_damaged_list_is_named(study: Path) -> None:
    (study / "drawn" / "samples.json").write_text("{}")
    with pytest.raises(InputError, match="damaged") as caught:
        write_report(study)
    assert "samples.json" in str(caught.value)
