"""Lesions out of a map of probability: hand-made maps, and the package that defined the dynamic threshold."""

import numpy as np
import pytest

from medgen.errors import UsageError
from medgen.inference.candidates import Candidates, find_candidates
from medgen.recipe.prediction import DetectionConfig
from medgen.recipe.settings import load_recipe

SPACING = (0.5, 0.5, 3.0)


def settings(**changes: object) -> DetectionConfig:
    return DetectionConfig.model_validate({"class": "tumour", "minimum_mm3": 0.0, **changes})


def empty() -> np.ndarray:
    return np.zeros((20, 24, 8), np.float32)


def blob(value: float, x: int, y: int, z: int, size: tuple[int, int, int] = (3, 3, 2)) -> np.ndarray:
    image = empty()
    image[x : x + size[0], y : y + size[1], z : z + size[2]] = value
    return image


def found(probability: np.ndarray, **changes: object) -> Candidates:
    return find_candidates(probability, SPACING, settings(**changes))


class TestOneLesion:
    def test_hand_computed(self) -> None:
        image = blob(0.4, 4, 6, 2, (4, 2, 2))
        image[4, 6, 2:5] = (0.8, 0.4, 0.4)
        affine = np.diag([-0.5, 0.5, 3.0, 1.0])
        affine[:3, 3] = [40.0, -20.0, 7.0]
        result = find_candidates(image, SPACING, settings(), affine=affine)
        (lesion,) = result.lesions
        assert lesion.confidence == result.score == pytest.approx(0.8)
        assert lesion.voxels == 17
        assert lesion.volume_mm3 == pytest.approx(17 * 0.75)
        centre = ((16 * 5.5 + 4) / 17, (16 * 6.5 + 6) / 17, (16 * 2.5 + 4) / 17)
        assert lesion.centre_voxel == pytest.approx(centre)
        assert lesion.centre_mm == pytest.approx((40 - 0.5 * centre[0], -20 + 0.5 * centre[1], 7 + 3 * centre[2]))
        assert (lesion.peak_voxel, lesion.slice, lesion.slice_axis) == ((4, 6, 2), 2, 2)
        assert (lesion.first_voxel, lesion.last_voxel) == ((4, 6, 2), (7, 7, 4))
        assert lesion.extent_mm == (2.0, 1.0, 9.0)
        assert lesion.mean_probability == pytest.approx((0.8 + 16 * 0.4) / 17)
        assert result.map.dtype == np.float32
        np.testing.assert_array_equal(result.map, np.where(image > 0, np.float32(0.8), 0))

    def test_it_reaches_down_to_a_fraction_of_its_own_maximum(self) -> None:
        image = np.maximum(blob(0.21, 3, 3, 2, (6, 3, 2)), blob(0.5, 3, 3, 2, (2, 3, 2)))  # 0.5 / 2.5 is 0.2
        assert found(image).lesions[0].voxels == 36
        assert found(image, factor=2.0).lesions[0].voxels == 12
        faint = image / 10
        assert found(faint).lesions[0].voxels == 36
        assert found(faint).score == pytest.approx(0.05)

    def test_corners_connect(self) -> None:
        image = np.maximum(blob(0.5, 2, 2, 2, (2, 2, 2)), blob(0.5, 4, 4, 4, (2, 2, 2)))
        assert [lesion.voxels for lesion in found(image).lesions] == [16]

    def test_thickest_direction(self) -> None:
        image = blob(0.5, 2, 2, 2, (3, 3, 3))
        image[5, 3, 3] = 0.5
        for spacing, axis, index in (((3.0, 0.5, 0.5), 0, 2), ((0.5, 3.0, 0.5), 1, 3), ((1.0, 1.0, 1.0), 2, 3)):
            (lesion,) = find_candidates(image, spacing, settings()).lesions
            assert (lesion.slice_axis, lesion.slice) == (axis, index)


class TestSeveral:
    def test_most_confident_first_and_each_with_its_own_threshold(self) -> None:
        image = np.maximum(blob(0.3, 2, 2, 2), blob(0.9, 12, 12, 4))
        result = found(image)
        assert [lesion.confidence for lesion in result.lesions] == pytest.approx([0.9, 0.3])
        assert result.score == pytest.approx(0.9)
        assert result.map[3, 3, 3] == pytest.approx(0.3)
        assert result.map[13, 13, 4] == pytest.approx(0.9)

    def test_the_rim_of_a_lesion_is_no_lesion(self) -> None:
        image = np.maximum(blob(0.3, 5, 5, 2, (7, 7, 4)), blob(0.9, 7, 7, 3, (3, 3, 2)))
        apart = np.maximum(image, blob(0.2, 16, 16, 2))
        assert [lesion.confidence for lesion in found(apart).lesions] == pytest.approx([0.9, 0.2])

    def test_at_most_so_many(self) -> None:
        image = np.max([blob(0.2 + 0.1 * n, 4 * n, 3, 1) for n in range(5)], axis=0)
        for threshold in ("dynamic", 0.1):
            result = found(image, most=2, threshold=threshold)
            assert [lesion.confidence for lesion in result.lesions] == pytest.approx([0.6, 0.5])
            assert np.unique(result.map).tolist() == pytest.approx([0, 0.5, 0.6])

    def test_equal_confidence_is_two_lesions(self) -> None:
        image = np.maximum(blob(0.5, 2, 2, 2), blob(0.5, 12, 12, 4))
        for threshold in ("dynamic", 0.5):
            assert len(found(image, threshold=threshold).lesions) == 2

    def test_fixed_threshold(self) -> None:
        image = np.max([blob(0.3, 2, 2, 2), blob(0.9, 12, 12, 4), blob(0.4, 12, 16, 4, (3, 2, 2))], axis=0)
        assert [lesion.voxels for lesion in found(image, threshold=0.4).lesions] == [18, 12]
        assert found(image, threshold=0.95).lesions == ()


class TestSmallest:
    def test_in_cubic_millimetres_of_the_grid(self) -> None:
        image = blob(0.5, 2, 2, 2, (2, 2, 2))
        for spacing, there in ((SPACING, False), ((0.5, 0.5, 8.25 / 2), True), ((1.0, 1.0, 8.25 / 8), True)):
            for threshold in ("dynamic", 0.2):
                config = settings(minimum_mm3=8.25, threshold=threshold)
                assert bool(find_candidates(image, spacing, config).lesions) is there

    def test_below_a_small_peak_lies_a_lesion(self) -> None:
        image = np.maximum(blob(0.3, 2, 2, 2), blob(0.9, 12, 12, 4, (1, 1, 1)))
        assert [lesion.confidence for lesion in found(image, minimum_mm3=5).lesions] == pytest.approx([0.3])

    def test_floor(self) -> None:
        assert found(blob(0.0099, 2, 2, 2)).lesions == ()
        assert len(found(blob(0.0101, 2, 2, 2)).lesions) == 1
        assert found(blob(0.0101, 2, 2, 2), floor=0.02).score == 0.0


class TestWhere:
    def test_inside(self) -> None:
        image = np.maximum(blob(0.3, 2, 2, 2), blob(0.9, 12, 12, 4))
        inside = np.zeros(image.shape, np.uint8)
        inside[:10] = 1
        result = find_candidates(image, SPACING, settings(), inside=inside)
        assert [lesion.confidence for lesion in result.lesions] == pytest.approx([0.3])
        assert image.max() == pytest.approx(0.9)

    def test_nothing(self) -> None:
        for threshold in ("dynamic", 0.5):
            result = found(empty(), threshold=threshold)
            assert (result.lesions, result.score, result.map.max()) == ((), 0.0, 0.0)

    @pytest.mark.parametrize(
        ("image", "said"),
        [(np.zeros((3, 3)), "shape"), (np.full((3, 3, 3), 1.5), "0, 1"), (np.full((3, 3, 3), np.nan), "nan")],
    )
    def test_what_is_no_map_is_refused(self, image: np.ndarray, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            find_candidates(image, SPACING, settings())

    def test_a_mask_of_another_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="does not fit"):
            find_candidates(empty(), SPACING, settings(), inside=np.ones((3, 3, 3)))


def smooth_maps(count: int) -> list[np.ndarray]:
    from scipy import ndimage

    rng = np.random.default_rng(3)
    maps = []
    for number in range(count):
        noise = ndimage.gaussian_filter(rng.normal(size=(32, 30, 10)), (2 + number % 3, 2, 0.7))
        maps.append((1 / (1 + np.exp(-(noise / noise.std() * 2 - 3)))).astype(np.float32))
    return maps


def test_dynamic_threshold_of_its_authors() -> None:
    reference = pytest.importorskip("report_guided_annotation.extract_lesion_candidates")
    for image in smooth_maps(8):
        theirs, confidences, _ = reference.extract_lesion_candidates(
            image, threshold="dynamic-v2", min_voxels_detection=10
        )
        ours = find_candidates(image, SPACING, settings(minimum_mm3=8.25))
        assert len(confidences) > 1
        np.testing.assert_array_equal(ours.map, theirs)
        assert [each.confidence for each in ours.lesions] == sorted((value for _, value in confidences), reverse=True)


class TestSettings:
    BASE = {"method": "segmentation", "data": {"inputs": ["t2w"], "labels": "label", "classes": {"tumour": [3]}}}

    def test_the_key_is_class_there_and_back(self) -> None:
        recipe = load_recipe({**self.BASE, "inference": {"detection": {"class": "tumour", "threshold": 0.3}}})
        stored = recipe.model_dump(mode="json")
        assert stored["inference"]["detection"]["class"] == "tumour"
        assert load_recipe(stored) == recipe

    def test_a_typo_names_the_key(self) -> None:
        with pytest.raises(UsageError, match=r"unknown key 'inference\.detection\.minimum'") as caught:
            load_recipe({**self.BASE, "inference": {"detection": {"class": "tumour", "minimum": 3}}})
        assert caught.value.fix == "did you mean 'minimum_mm3'?"

    def test_a_class_that_is_not_learnt(self) -> None:
        for change in ({"class": "tumor"}, {"class": "tumour", "near": ["gland"]}):
            with pytest.raises(UsageError, match=r"tumor|gland"):
                load_recipe({**self.BASE, "inference": {"detection": change}})

    def test_an_image_has_no_lesions(self) -> None:
        data = {**self.BASE["data"], "target": "ct"}
        with pytest.raises(UsageError, match="this recipe makes an image"):
            load_recipe({**self.BASE, "data": data, "inference": {"detection": {"class": "tumour"}}})
