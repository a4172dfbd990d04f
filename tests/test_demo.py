"""The demonstration from phantom to report, small; and the baselines beside it."""

import json

import numpy as np
import pytest

from medgen.baselines.scoring import BASELINES
from medgen.demo import run_demo
from medgen.errors import MedgenError, UsageError
from medgen.volume import read_volume

TINY = ["schedule.steps=2", "schedule.batch=2", "config.width=0.05", "schedule.validate_every=2"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "out", subjects=4, spacing=8.0, overrides=TINY)


def test_it_ends_with_a_report_and_scores_beside_the_baselines(demo):
    assert demo.report.is_file()
    assert set(demo.scores) == {*BASELINES, "context_aware_gan"}
    page = demo.report.read_text()
    for name in ("constant", "voxel-wise", "context aware GAN", "the strongest baseline"):
        assert name in page
    assert "phantom" in page.lower()


def test_the_constants_are_what_they_say(demo):
    """The median has the lower absolute error, the mean the lower squared error: on average over test cases."""
    constant, mean = demo.scores["constant"].summary, demo.scores["constant_mean"].summary
    assert constant["mae"]["mean"] < mean["mae"]["mean"]
    assert constant["psnr"]["mean"] < mean["psnr"]["mean"]
    assert constant["dice_bone"]["mean"] == 0


def test_the_voxelwise_baseline_beats_the_constant(demo):
    assert demo.scores["voxelwise"].summary["mae"]["mean"] < demo.scores["constant"].summary["mae"]["mean"]


def test_everything_is_on_the_patients_grid(demo):
    folder = demo.report.parent
    for case in demo.scores["voxelwise"].cases:
        name = case["case"]
        truth = read_volume(folder / "data" / name / f"{name}_ct.nii.gz")
        for where in ("predictions", "baselines/voxelwise"):
            volume = read_volume(folder / where / name / f"{name}_ct.nii.gz")
            assert np.array_equal(volume.affine, truth.affine)
            assert volume.shape == truth.shape


def test_scores_are_written(demo):
    scores = json.loads((demo.report.parent / "scores" / "context_aware_gan.json").read_text())
    assert scores["task"] == "synthesis"
    assert scores["summary"]["mae"]["n"] == len(scores["cases"]) == 1


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        run_demo(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("schedule.stepz=3", "did you mean 'steps'"),
        ("schedule.steps", "is not key=value"),
        ("config.widht=0.05", "did you mean 'width'"),
        ("patches.size=[7,7,7]", "sides of at least"),
        ("data.inputs=[t9]", "t9"),
    ],
)
def test_a_wrong_change_leaves_nothing_in_the_way_of_the_next_call(tmp_path, change, said):
    """What the recipe tells is found before the phantom is made; a role, that no case has, after it."""
    made = []
    with pytest.raises(MedgenError) as caught:
        run_demo(
            tmp_path / "out", subjects=4, spacing=8.0, overrides=[change], progress=lambda *step: made.append(step)
        )
    assert said in str(caught.value)
    assert caught.value.where
    if change != "data.inputs=[t9]":
        assert str(caught.value.where) == f"the recipe of the demo with --set {change}"
        assert not made
        assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
