"""The commands of README for one's own images, as they stand there, in one folder; only smaller."""

import json
import re
from pathlib import Path

import pytest
import tiny
from cli_commands import lines_of
from test_report import text_of

from medgen.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()
SMALL = (
    "schedule.steps=2 schedule.batch=2 schedule.validate_every=2 patches.size=[16,16,16] config.width=0.05 "
    "preparation.spacing=null preparation.bias_correction=none config.context=voxelwise config.stages=1"
)


def run(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """README's layout: cases.csv, recipe.yaml, run/, predictions/, scores.json and the report."""
    section = README.split("## MR to CT on your own images")[1].split("\n## ")[0]
    recipe = re.search(r"```yaml\n(.*?)```", section, re.S).group(1)
    block = next(text for text in re.findall(r"```bash\n(.*?)```", section, re.S) if "medgen report ." in text)
    place = tmp_path_factory.mktemp("own")
    tiny.write_cases(place, train=2, val=1, test=2, side=16)
    (place / "recipe.yaml").write_text(recipe)
    small = [word for each in SMALL.split() for word in ("--set", each)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for line in lines_of(block):
            words = line.split()[1:]
            run([*words, *small, "--device", "cpu"] if words[0] == "train" else words)
    return place


def test_the_report_shows_the_training_and_the_run_that_made_the_scores(folder):
    page = text_of((folder / "report.html").read_text())
    weights = json.loads((folder / "run/run.json").read_text())["model_sha256"]
    assert " Training " in page
    assert f"SHA-256 of the weights {weights}" in page
    assert "steps: 2 " in page  # of run/recipe.yaml; recipe.yaml beside it has other steps
    assert "Check this first" not in page


def test_the_report_begins_with_a_comparison_with_baselines(folder):
    scores = json.loads((folder / "scores.json").read_text())
    page = text_of((folder / "report.html").read_text())
    assert set(scores["baselines"]) == {"constant", "constant_mean", "voxelwise", "neighbourhood"}
    assert "the strongest baseline" in scores["verdict"]["text"]
    assert "the strongest baseline" in page.split("MAE")[0]
