"""Borders between tissues by the scan's own intensities."""

import numpy as np
import pytest
from known_classes import make_segmenter, save_patient
from scipy import ndimage

from medgen.errors import UsageError
from medgen.inference import labels
from medgen.inference.intensities import by_intensities, cut_away
from medgen.inference.options import PredictOptions
from medgen.recipe.settings import load_recipe
from medgen.volume import read_volume

SIDE = 40
MEANS = {"t1": (60.0, 100.0, 20.0), "t2": (100.0, 70.0, 220.0), "low contrast": (100.0, 90.0, 10.0)}


def head(means, *, noise=3.0, gain=0.0, seed=0):
    """A ball of white matter in a ribbon of grey matter in fluid: image, true class and a blurred, shifted prior."""
    where = np.indices((SIDE,) * 3) - SIDE / 2 + 0.5
    generator = np.random.default_rng(seed)
    radius = np.sqrt((where**2).sum(axis=0)) + 3 * np.sin(where[0] / 2) * np.sin(where[1] / 2)
    truth = np.select([radius < 9, radius < 13], [1, 0], 2)
    away = np.sqrt((where**2).sum(axis=0))
    shares = np.stack([1 / (1 + np.exp(sign * (away - edge))) for sign, edge in ((1, 13.0), (1, 9.0))])
    prior = np.stack([shares[0] - shares[1], shares[1], 1 - shares[0]]).astype(np.float32)
    image = np.asarray(means)[truth] * (1 + gain * where[0] / SIDE) + generator.normal(0, noise, truth.shape)
    return image.astype(np.float32), truth, prior * (away < 17)


def right(found, truth, region):
    return float((found.argmax(axis=0) == truth)[region].mean())


@pytest.mark.parametrize("means", MEANS.values(), ids=MEANS)
@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_borders_follow_the_scan_in_any_contrast(means, gain):
    image, truth, prior = head(means, gain=gain)
    region = prior.sum(axis=0) > 0.5
    before, after = right(prior, truth, region), right(by_intensities(image, prior), truth, region)
    assert before < 0.9
    assert after > 0.95


def test_the_unit_of_the_scan_does_not_matter():
    image, _, prior = head(MEANS["t1"])
    np.testing.assert_allclose(by_intensities(image * 1000, prior), by_intensities(image, prior), atol=1e-4)


def test_classes_keep_what_they_have_together_and_other_voxels_their_own():
    image, _, prior = head(MEANS["t1"])
    prior = prior * 0.9
    found = by_intensities(image, prior)
    np.testing.assert_allclose(found.sum(axis=0), prior.sum(axis=0), atol=1e-5)
    outside = prior.sum(axis=0) <= 0.5
    np.testing.assert_array_equal(found[:, outside], prior[:, outside])
    assert found.min() >= 0


def test_a_scan_without_contrast_leaves_the_network_its_answer():
    image, _, prior = head((50.0, 50.0, 50.0), noise=1.0)
    found = by_intensities(image, prior)
    region = prior.max(axis=0) > 0.8
    assert (found.argmax(axis=0) == prior.argmax(axis=0))[region].mean() > 0.97


def test_a_voxel_of_two_tissues_goes_to_that_of_which_it_holds_more():
    """In every contrast at the same place, also where one tissue is far brighter than the others."""
    _, truth, prior = head((0.0, 0.0, 0.0), noise=0.0)
    fluid = ndimage.gaussian_filter((truth == 2).astype(float), 1.0)
    region = (prior.sum(axis=0) > 0.5) & (truth != 1)
    for grey, other in ((100.0, 20.0), (100.0, 400.0)):
        tissue = np.where(truth == 1, 130.0 if other < grey else 80.0, grey)
        mixed = tissue * (1 - fluid) + other * fluid + np.random.default_rng(0).normal(0, 2, truth.shape)
        found = by_intensities(mixed.astype(np.float32), prior).argmax(axis=0) == 2
        assert (found == (fluid > 0.5))[region].mean() > 0.97


def test_what_was_cut_away_has_no_class():
    image, _, prior = head(MEANS["t1"])
    where = np.indices(image.shape) - SIDE / 2 + 0.5
    outside = np.sqrt((where**2).sum(axis=0)) > 15
    image[outside], image[SIDE // 2, SIDE // 2, SIDE // 2] = 0, 0
    np.testing.assert_array_equal(cut_away(image), outside)
    found = by_intensities(image, prior)
    assert not found[:, outside].any()
    assert found[:, SIDE // 2, SIDE // 2, SIDE // 2].any()
    assert not cut_away(image + 1).any()


@pytest.mark.parametrize("image", [np.zeros((SIDE,) * 3, np.float32), np.full((SIDE,) * 3, 7.0, np.float32)])
def test_nothing_to_see_changes_nothing(image):
    _, _, prior = head(MEANS["t1"])
    np.testing.assert_array_equal(by_intensities(image, prior), prior)
    small = prior * (np.arange(SIDE) < 2)
    np.testing.assert_array_equal(by_intensities(head(MEANS["t1"])[0], small), small)


def test_a_prediction_uses_the_first_image_as_it_was_read(tmp_path, monkeypatch):
    seen = []

    def reversed_classes(image, shares):
        seen.append(image)
        return shares[::-1]

    monkeypatch.setattr(labels, "by_intensities", reversed_classes)
    model, images = make_segmenter(), save_patient(tmp_path)
    without = model.predict(images).data[0]
    assert not seen
    settings = model.cascade.settings.model_copy(update={"intensities": model.classes})
    monkeypatch.setattr(PredictOptions, "decided", lambda self, given: settings)
    found = model.predict(images).data[0]
    np.testing.assert_array_equal(found, np.array([0, 2, 1])[without])
    (image,) = seen
    np.testing.assert_array_equal(image, read_volume(images[model.preparation.roles.inputs[0]]).data[0])


RECIPE = {
    "method": "segmentation",
    "data": {"inputs": ["image"], "labels": "label", "classes": {"grey": [1], "white": [2]}},
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(["grey", "fluid"], "'fluid'"), (["grey"], "two or more"), (["grey", "white", "grey"], "each once")],
)
def test_wrong_settings_are_refused(wrong, said):
    known = load_recipe(RECIPE | {"inference": {"intensities": ["grey", "white"]}})
    assert known == load_recipe(RECIPE | {"inference": {"intensities": {"grey": 1, "white": 2}}})  # as it once was
    with pytest.raises(UsageError, match=said):
        load_recipe(RECIPE | {"inference": {"intensities": wrong}})
