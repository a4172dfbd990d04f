"""Volumes as the page of a report holds them."""

import base64
import gzip
import io

import nibabel
import numpy as np
import pytest

from medgen.report.slices import CaseImages, Spread
from medgen.report.viewer import Viewer, embedding
from medgen.report.viewer.layers import view_patient

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1]])


def unpacked(text: str) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(base64.b64decode(text))))


def images(shape=(20, 18, 16), **changes):
    generator = np.random.default_rng(0)
    truth = np.round(generator.normal(0, 300, shape)).astype(np.float32)
    mask = np.ones(shape, np.uint8)
    found = {"inputs": {"t1": generator.random(shape).astype(np.float32)}, "prediction": truth + 25, "truth": truth}
    found |= {"mask": mask, "spacing": (2.0, 2.0, 3.0), "affine": AFFINE}
    return CaseImages(**(found | changes))


def test_a_packed_volume_is_a_nifti_file_with_the_values_and_the_place():
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 7
    text = embedding.packed(embedding.Stored(data, 0.5, 10.0), AFFINE)
    image = unpacked(text)
    np.testing.assert_array_equal(image.get_fdata(), data * 0.5 + 10)
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(image.get_qform(), AFFINE)
    assert image.header["descrip"] == b""
    assert base64.b64decode(text)[3:8] == bytes(5)  # no name, no date
    assert embedding.packed(embedding.Stored(data, 0.5, 10.0), AFFINE) == text


def test_whole_numbers_are_kept_and_others_are_near():
    (whole,) = embedding.stored_values([np.array([-1024.0, 3071.0])])
    assert (whole.data.tolist(), whole.slope, whole.intercept) == ([-1024, 3071], 1.0, 0.0)
    values = [np.linspace(0, 1, 100), np.linspace(0.5, 5, 100)]
    for value, stored in zip(values, embedding.stored_values(values), strict=True):
        np.testing.assert_allclose(stored.slope * stored.data + stored.intercept, value, atol=0.5 * 5 / 1024 + 1e-9)
    (odd,) = embedding.stored_values([np.array([np.nan, 1.5, 2.5])])
    assert odd.slope * odd.data[0] + odd.intercept == pytest.approx(1.5)


def test_what_a_ct_does_not_know_is_air_and_widens_no_slider():
    stored = embedding.stored_hounsfield(np.array([np.nan, -np.inf, np.inf, -1000.4, 1200.0]))
    assert stored.data.tolist() == [-1024, -1024, 1200, -1000, 1200]
    assert embedding.stored_hounsfield(np.full(2, np.nan)).data.tolist() == [-1024, -1024]
    truth = np.full((20, 18, 16), 100.0, np.float32)
    truth[10:12] = np.nan
    layers = {layer.key: layer for layer in view_patient("p1", images(prediction=truth * 0, truth=truth), 10**7).layers}
    assert layers["true"].limits == (-1024.0, 1300.0)


def test_the_most_uncertain_voxels_keep_their_values():
    generator = np.random.default_rng(0)
    volume = np.abs(generator.normal(30, 15, 200_000))
    volume[:150] = generator.uniform(300, 600, 150)  # less than one in a thousand
    stored = embedding.stored_spread(volume)
    np.testing.assert_allclose(stored.slope * stored.data, volume, atol=0.51 * volume.max() / 1024)
    odd = embedding.stored_spread(np.array([np.nan, 2.0]))
    assert (odd.slope * odd.data).tolist() == [0.0, 2.0]
    assert embedding.stored_spread(np.zeros(3)).data.tolist() == [0, 0, 0]


def test_the_colours_of_a_spread_do_not_reach_to_its_rarest_values():
    volume = np.full((20, 18, 16), 12.0)
    volume[0, 0, :3] = 500.0
    patient = view_patient("p1", images(spreads=(Spread("standard deviation", volume, "HU"),)), 10**7)
    assert patient.layers[-1].window == (0.0, 15.0)
    shown = unpacked(patient.layers[-1].packed).get_fdata()
    np.testing.assert_allclose(shown[0, 0, :3], 500.0)


def test_blocks_of_voxels_become_their_mean_and_labels_what_fills_half():
    volume = np.array([0.0, 2, 4, 6, 100]).reshape(5, 1, 1)
    assert embedding.coarsened(volume, (2, 1, 1)).ravel().tolist() == [1.0, 5.0]  # the last block is not whole
    labels = np.array([0, 3, 3, 3, 1, 0], np.uint8).reshape(6, 1, 1)
    assert embedding.coarsened(labels, (3, 1, 1), label=True).ravel().tolist() == [3, 0]
    assert embedding.coarsened(volume, (1, 1, 1)) is volume


@pytest.mark.parametrize(
    ("block", "value"),
    [
        ([1, 1, 1, 2, 2, 2, 3, 3], 1),  # no class fills half of it, and there is no background
        ([0, 2, 2, 2, 1, 1, 3, 3], 2),
        ([0, 0, 0, 1, 1, 2, 2, 3], 0),
        ([0, 0, 0, 0, 0, 1, 1, 1], 0),
        ([0, 0, 0, 0, 3, 3, 3, 3], 3),  # a sheet of one voxel stays
        ([0, 0, 0, 2, 2, 2, 1, 1], 0),
    ],
)
def test_a_block_of_labels_becomes_its_most_frequent_value(block, value):
    labels = np.array(block, np.uint8).reshape(2, 2, 2)
    assert embedding.coarsened(labels, (2, 2, 2), label=True).tolist() == [[[value]]]


def test_coarsened_label_maps_are_said_to_lose_small_structures():
    truth = np.zeros((20, 18, 16), np.uint8)
    truth[5:9, 5:9, 5:9] = 1
    maps = {"prediction": truth, "truth": truth, "classes": ("lesion",), "mask": None, "unit": ""}
    fine = view_patient("p1", images(spacing=(0.5, 0.5, 0.5), **maps), 10**7)
    coarse = view_patient("p1", images(spacing=(0.5, 0.5, 0.5), **maps), fine.bytes // 2)
    images_alone = view_patient("p1", images(spacing=(0.5, 0.5, 0.5)), 15_000)
    assert images_alone.spacing != images_alone.native
    assert [each.loses for each in (fine, coarse, images_alone)] == [False, True, False]
    assert [Viewer([fine, each]).loses for each in (fine, coarse)] == [False, True]


def test_a_block_lies_in_the_middle_of_its_voxels():
    affine = embedding.coarsened_affine(AFFINE, (2, 3, 1))
    np.testing.assert_allclose(affine @ [0, 0, 0, 1], AFFINE @ [0.5, 1, 0, 1])
    np.testing.assert_allclose(affine @ [1, 1, 1, 1], AFFINE @ [2.5, 4, 1, 1])


def test_a_cut_volume_keeps_its_place():
    where = np.zeros((20, 18, 16), bool)
    where[10, 9, 8] = True
    cut = images().cropped(where, 4.0)
    assert cut.prediction.shape == (5, 5, 3)
    np.testing.assert_array_equal(cut.affine @ [2, 2, 1, 1], AFFINE @ [10, 9, 8, 1])


def test_a_patient_of_a_synthesis_has_images_and_an_error_that_the_page_computes():
    spreads = (Spread("standard deviation", np.full((20, 18, 16), 12.0), "HU"),)
    patient = view_patient("p1", images(spreads=spreads), 10**7)
    kinds = {layer.key: (layer.kind, layer.unit, bool(layer.packed)) for layer in patient.layers}
    assert kinds == {
        "input-t1": ("image", "", True),
        "synthetic": ("image", "HU", True),
        "true": ("image", "HU", True),
        "mask": ("mask", "", True),
        "error": ("error", "HU", False),
        "spread-0": ("spread", "HU", True),
    }
    synthetic, true = (unpacked(patient.layers[number].packed).get_fdata() for number in (1, 2))
    np.testing.assert_array_equal(synthetic - true, 25)
    np.testing.assert_allclose(unpacked(patient.layers[5].packed).get_fdata(), 12.0, rtol=1e-6)
    assert patient.voxels == "2 × 2 × 3 mm"


def test_a_small_budget_gives_larger_voxels_and_none_leaves_the_patient_out():
    fine = view_patient("p1", images(spacing=(0.5, 0.5, 0.5)), 10**7)
    coarse = view_patient("p1", images(spacing=(0.5, 0.5, 0.5)), fine.bytes // 2)
    assert coarse.bytes <= fine.bytes // 2
    assert coarse.voxels == "1 × 1 × 1 mm, means of voxels of 0.5 × 0.5 × 0.5 mm"
    assert unpacked(coarse.layers[1].packed).shape == (10, 9, 8)
    assert view_patient("p1", images(), 100) is None


def test_label_maps_have_classes_and_an_agreement():
    truth = np.zeros((20, 18, 16), np.uint8)
    truth[5:9, 5:9, 5:9] = 2
    patient = view_patient(
        "p1", images(prediction=truth // 2, truth=truth, classes=("core", "rim"), mask=None, unit=""), 10**7
    )
    layers = {layer.key: layer for layer in patient.layers}
    assert [layers[key].kind for key in ("predicted", "reference", "agreement")] == ["labels", "labels", "agreement"]
    assert [name for name, _ in layers["reference"].classes] == ["core", "rim"]
    assert unpacked(layers["reference"].packed).get_fdata().max() == 2


def test_a_detection_has_confidences_and_lesions():
    grades = np.zeros((20, 18, 16), np.uint8)
    grades[5:9, 5:9, 5:9] = 3
    confidence = (0.8 * (grades > 0)).astype(np.float32)
    found = images(prediction=confidence, truth=grades, unit="", least_grade=2, target=grades > 0)
    layers = {layer.key: layer for layer in view_patient("p1", found, 10**7).layers}
    assert unpacked(layers["confidence"].packed).get_fdata().max() == pytest.approx(0.8)
    assert unpacked(layers["reference"].packed).get_fdata().sum() == 64
    assert layers["organ"].kind == "labels"
