"""The sweep of the defaults: its recipes name nothing that is a default, and its constants are what they say."""

import json
import math
from pathlib import Path

import pytest
import torch

from medgen.methods.catalogue import method_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pipelines" / "defaults"


@pytest.mark.parametrize("name", method_names())
def test_the_recipe_of_a_method_names_its_data_and_the_budget_alone(name):
    import run

    named = run.recipe_of(name, seed=3).model_dump(exclude_unset=True)
    assert not named.keys() & {"config", "inference"}
    assert named["patches"].keys() <= {"size"}
    assert named["schedule"] == run.BUDGET


def test_every_method_has_a_row_in_the_committed_table_and_beats_its_constant():
    rows = json.loads((ROOT / "docs/results/defaults/defaults.json").read_text())["methods"]
    assert [row["method"] for row in rows] == method_names()
    for row in rows:
        assert row["better"]
        assert (row["value"] > row["constant"]) == (row["rule"] == "dice")


def test_the_gaussian_of_images_that_differ_by_place():
    from constants import NOISE, density_to_beat

    mean = torch.tensor([[[-1.0, 1.0]]])
    images = mean + 0.1 * torch.randn(2000, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    expected = 0.5 * (1 + math.log(0.01) + math.log(2 * math.pi))  # entropy of a Gaussian of sd 0.1
    assert density_to_beat(images[:1000], images[1000:]) == pytest.approx(expected, abs=0.05)
    still = density_to_beat(torch.zeros(4, 1, 2, 2), torch.zeros(4, 1, 2, 2))
    assert still == pytest.approx(0.5 * (math.log(NOISE) + math.log(2 * math.pi)))


def test_a_constant_and_an_identity_that_are_near_are_hard_to_beat():
    from constants import distances

    from medgen.sampling.batches import Unpaired

    class Shifted:
        def predict(self, image, direction):
            assert direction == "forward"
            return image + 0.5

    class HU:
        def target_from_network(self, values):
            return 1512 * values

    zeros, ones = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    batch = Unpaired(zeros, ones, 0.5 * ones, ones)
    assert distances(Shifted(), batch, batch, HU()) == pytest.approx((0, 0))  # the median is exact, too
    other = batch._replace(target=0.25 * ones)
    assert distances(Shifted(), other, batch, HU()) == pytest.approx((0, 378))
