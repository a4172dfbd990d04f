"""Tiles against the whole volume, and against MONAI where MONAI is right."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.nn import functional

from medgen.errors import ModelError, UsageError
from medgen.inference.memory import Plan, thriftier
from medgen.inference.tiles import axis_spans, predict_tiles, read_tile
from medgen.methods.base import Window
from medgen.recipe.prediction import InferenceConfig, fitting_edge


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same_size_network(channels: int = 1, out: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(channels, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, out, 5, padding=2)).eval()


def valid_network(channels: int = 1, out: int = 1) -> nn.Module:
    """Loses 2 + 1 = 3 voxels on each side."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(channels, 4, 5), nn.Tanh(), nn.Conv3d(4, out, 3)).eval()


def whole(network: nn.Module, image: np.ndarray, margin: int) -> np.ndarray:
    with torch.inference_mode():
        padded = functional.pad(torch.from_numpy(image)[None], [margin] * 6, mode="replicate")
        return network(padded)[0].numpy()


class TestSameSize:
    @pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
    @pytest.mark.parametrize("shape", [(20, 17, 31), (16, 16, 16), (33, 12, 16)])
    def test_constant_blending_equals_monai(self, shape: tuple[int, ...], overlap: float) -> None:
        network, image = same_size_network(2, 3), noise(2, *shape)
        ours = predict_tiles(network, image, size=(12, 12, 12), channels=3, blend="constant", overlap=overlap, batch=3)
        with torch.inference_mode():
            theirs = sliding_window_inference(torch.from_numpy(image)[None], 12, 3, network, overlap, "constant")
        np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)

    def test_gaussian_blending_equals_monai_with_the_same_weights(self) -> None:
        network, image = same_size_network(), noise(1, 23, 29, 18)
        ours = predict_tiles(network, image, size=(12, 12, 12), blend="gaussian", overlap=0.5)
        distance = (np.arange(12) - 5.5) / (0.125 * 12)
        line = np.exp(-0.5 * distance**2)
        weight = torch.from_numpy(line[:, None, None] * line[:, None] * line).float()
        with torch.inference_mode():
            theirs = sliding_window_inference(
                torch.from_numpy(image)[None], 12, 1, network, 0.5, roi_weight_map=weight
            )[0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_gaussian_blending_hides_tile_borders_better_than_monai(self) -> None:
        """MONAI floors its map at 1e-3, so in 3D a tile's corner counts as much as its neighbour's inside."""
        network, image = same_size_network(), noise(1, 36, 36, 36)
        truth = whole(network, image, 0)
        ours = predict_tiles(network, image, size=(12, 12, 12), blend="gaussian", overlap=0.5)
        with torch.inference_mode():
            theirs = sliding_window_inference(torch.from_numpy(image)[None], 12, 1, network, 0.5, "gaussian")[0]
        assert np.abs(ours - truth).mean() < np.abs(theirs.numpy() - truth).mean()

    def test_volume_smaller_than_the_tile_is_predicted_in_one_piece(self) -> None:
        network, image = same_size_network(), noise(1, 7, 5, 11)
        calls: list[tuple[int, ...]] = []

        def spy(tile: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(tile.shape))
            return network(tile)

        result = predict_tiles(spy, image, size=(12, 12, 12))
        assert calls == [(1, 1, 7, 5, 11)]
        np.testing.assert_allclose(result, network(torch.from_numpy(image)[None])[0].detach().numpy(), atol=1e-6)

    @pytest.mark.parametrize("shape", [(1, 2, 3), (17, 31, 5), (16, 32, 48)])
    def test_tiles_are_divisible_by_the_multiple(self, shape: tuple[int, ...]) -> None:
        seen = set()

        def unet_like(tile: torch.Tensor) -> torch.Tensor:
            seen.update(tile.shape[2:])
            small = functional.avg_pool3d(tile, 8)
            assert min(small.shape[2:]) > 1  # an innermost map of one voxel breaks instance normalisation
            return tile + 0 * functional.interpolate(small, scale_factor=8.0)

        image = noise(1, *shape)
        result = predict_tiles(unet_like, image, size=(30, 30, 30), window=Window(multiple=8), overlap=0.5)
        np.testing.assert_allclose(result, image, atol=1e-6)
        assert all(edge % 8 == 0 and edge <= 32 for edge in seen)


class TestValidConvolutions:
    @pytest.mark.parametrize("shape", [(20, 17, 31), (7, 13, 29), (1, 2, 3), (8, 8, 8), (40, 9, 5)])
    @pytest.mark.parametrize(("blend", "overlap"), [("constant", 0.0), ("gaussian", 0.5), ("constant", 0.7)])
    def test_equals_the_whole_volume(self, shape: tuple[int, ...], blend: str, overlap: float) -> None:
        network, image = valid_network(2, 2), noise(2, *shape)
        result = predict_tiles(
            network,
            image,
            size=(14, 15, 16),
            window=Window(margin=3),
            channels=2,
            blend=blend,
            overlap=overlap,
            batch=4,
        )
        np.testing.assert_allclose(result, whole(network, image, 3), atol=1e-5)

    def test_no_overlap_writes_each_voxel_once(self) -> None:
        counter = iter(range(100))

        def number(tile: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 1, *(n - 6 for n in tile.shape[2:])), float(next(counter)))

        result = predict_tiles(
            number, noise(1, 4, 4, 10), size=(10, 10, 10), window=Window(margin=3, multiple=2), overlap=0.0
        )
        assert result[0, 0, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 2

    def test_authors_stride_averaging(self) -> None:
        """Output edge 4, overlap 0.5, 6 voxels: tiles at 0 and 2, so voxels 2 and 3 average both."""
        values = iter([10.0, 20.0])

        def constant(tile: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 1, *(n - 2 for n in tile.shape[2:])), next(values))

        result = predict_tiles(
            constant, noise(1, 1, 1, 6), size=(6, 6, 6), window=Window(margin=1), blend="constant", overlap=0.5
        )
        assert result[0, 0, 0].tolist() == [10, 10, 15, 15, 20, 20]

    def test_tiles_shrink_as_far_as_their_number_allows(self) -> None:
        seen = []

        def spy(tile: torch.Tensor) -> torch.Tensor:
            seen.append(tile.shape[4])
            return tile[:, :, 3:-3, 3:-3, 3:-3]

        image = noise(1, 1, 1, 31)
        result = predict_tiles(
            spy, image, size=(16, 16, 16), window=Window(margin=3)
        )  # output 10: 4 tiles, of 8 rather than 10
        np.testing.assert_array_equal(result, image)
        assert seen == [14] * 4

    def test_monai_misplaces_smaller_outputs(self) -> None:
        """MONAI reads a smaller output as a zoom: without an error the shape and the places are wrong."""
        network, image = valid_network(), noise(1, 26, 26, 26)
        expected = whole(network, image, 3)
        ours = predict_tiles(network, image, size=(16, 16, 16), window=Window(margin=3))
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        with torch.inference_mode():
            padded = functional.pad(torch.from_numpy(image)[None], [3] * 6, mode="replicate")
            theirs = sliding_window_inference(padded, 16, 1, network, 0.375)[0].numpy()
        assert theirs.shape == (1, 20, 20, 20)  # 26 expected
        assert np.abs(theirs - expected[:, :20, :20, :20]).max() > 0.1


class TestAligned:
    """Networks that read every third voxel: where a tile begins decides which."""

    @staticmethod
    def middles(tile: torch.Tensor) -> torch.Tensor:
        """Loses 3 voxels on each side; every output voxel is the middle one of its cell of 3."""
        inner = tile[:, :, 3:-3, 3:-3, 3:-3]
        return functional.interpolate(inner[:, :, 1::3, 1::3, 1::3], scale_factor=3.0)

    @pytest.mark.parametrize("shape", [(20, 17, 31), (7, 13, 29), (1, 2, 3), (12, 9, 5)])
    @pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9])
    def test_equals_the_whole_volume(self, shape: tuple[int, ...], overlap: float) -> None:
        image = noise(1, *shape)
        expected = image
        for axis, length in enumerate(shape, start=1):
            places = np.minimum(np.arange(length) // 3 * 3 + 1, length - 1)  # edge voxels repeated
            expected = np.take(expected, places, axis)
        result = predict_tiles(
            self.middles,
            image,
            size=(16, 15, 17),
            window=Window(margin=3, align=3),
            overlap=overlap,
            blend="constant",
            batch=2,
        )
        np.testing.assert_allclose(result, expected, atol=1e-6)

    def test_the_last_tile_hangs_over_the_border(self) -> None:
        valid, aligned = Window(margin=3, align=3), Window(align=3)
        spans = axis_spans(10, 6, valid, overlap=0.0, blend="constant")
        assert [(span.start, span.low, span.high) for span in spans] == [(0, 0, 6), (6, 6, 10)]
        spans = axis_spans(10, 6, aligned, overlap=0.5, blend="gaussian")
        assert [(span.start, span.low, span.high) for span in spans] == [(0, 0, 6), (3, 3, 9), (6, 6, 10)]
        assert axis_spans(4, 6, valid, overlap=0.0, blend="constant")[0].start == 0

    def test_only_tiles_that_touch_the_mask_inside_the_volume(self) -> None:
        mask = np.zeros((1, 1, 14), bool)
        mask[0, 0, 12:] = True
        seen = []

        def spy(tile: torch.Tensor) -> torch.Tensor:
            seen.append(tile[0, 0, 3, 3, 3].item())
            return self.middles(tile)

        image = np.arange(14, dtype=np.float32).reshape(1, 1, 1, 14)
        result = predict_tiles(spy, image, size=(9, 9, 12), window=Window(margin=3, align=3), mask=mask, fill=-1)
        assert seen == [12]  # of the tiles at 0, 6 and 12
        assert result[0, 0, 0].tolist() == [-1] * 12 + [13, 13]

    def test_edges_fit_both_the_multiple_and_the_alignment(self) -> None:
        assert fitting_edge(20, Window(margin=2, multiple=4, align=3)) == 28  # 24 within the margins
        with pytest.raises(ModelError, match="divisible by 4"):
            fitting_edge(20, Window(margin=1, multiple=4, align=4))
        settings, window = InferenceConfig(), Window(margin=26, align=3)
        assert settings.tile_size((61, 61, 70), window) == (106, 106, 106)
        assert settings.tile_overlap(window) == 0
        assert InferenceConfig(overlap=0.2).tile_overlap(window) == 0.2


class TestMask:
    def test_only_touched_tiles_run_and_the_rest_is_fill(self) -> None:
        network, image = same_size_network(), noise(1, 24, 24, 24)
        mask = np.zeros((24, 24, 24), bool)
        mask[2:7, 3:6, 1:9] = True
        calls: list[int] = []

        def spy(tile: torch.Tensor) -> torch.Tensor:
            calls.append(tile.shape[0])
            return network(tile)

        everything = predict_tiles(network, image, size=(8, 8, 8), blend="gaussian", overlap=0.5)
        result = predict_tiles(spy, image, size=(8, 8, 8), blend="gaussian", overlap=0.5, mask=mask, fill=-1.0, batch=4)
        np.testing.assert_allclose(result[0][mask], everything[0][mask], atol=1e-6)
        assert np.all(result[0][~mask] == -1)
        assert sum(calls) == 2 * 2 * 3  # starts 0 and 4 along x and y, 0, 4 and 8 along z; 125 tiles without the mask

    def test_empty_mask_runs_nothing(self) -> None:
        def never(tile: torch.Tensor) -> torch.Tensor:
            raise AssertionError

        result = predict_tiles(never, noise(1, 9, 9, 9), size=(4, 4, 4), mask=np.zeros((9, 9, 9)), fill=3.0)
        assert np.all(result == 3)


class TestBookkeeping:
    def test_weights_of_an_axis_sum_to_one(self) -> None:
        for length, output, overlap in [(31, 8, 0.5), (32, 8, 0.25), (29, 7, 0.9), (5, 8, 0.5), (31, 8, 0.0)]:
            for margin, align in [(0, 1), (2, 1), (0, 3), (2, 3)]:
                total = np.zeros(length)
                window = Window(margin=margin, align=align)
                for span in axis_spans(length, output, window, overlap=overlap, blend="gaussian"):
                    total[span.low : span.high] += span.weight.numpy()
                np.testing.assert_allclose(total, 1, atol=1e-6)

    def test_read_tile_repeats_edges(self) -> None:
        image = np.arange(3, dtype=np.int16).reshape(1, 3, 1, 1)
        assert read_tile(image, (-2, 0, 0), (7, 1, 1)).ravel().tolist() == [0, 0, 0, 1, 2, 2, 2]

    def test_progress_counts_tiles(self) -> None:
        seen: list[tuple[int, int, str]] = []
        predict_tiles(
            same_size_network(), noise(1, 10, 4, 4), size=(4, 4, 4), batch=2, progress=lambda *step: seen.append(step)
        )
        assert seen == [(2, 3, "tiles"), (3, 3, "tiles")]

    def test_memory_map_and_repeated_runs_are_bit_equal(self, tmp_path) -> None:
        image = noise(1, 21, 22, 23)
        np.save(tmp_path / "image.npy", image)
        mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
        network = same_size_network()
        first, second = (predict_tiles(network, i, size=(9, 9, 9), overlap=0.5) for i in (image, mapped))
        assert first.tobytes() == second.tobytes()

    def test_wrong_margin_is_named(self) -> None:
        with pytest.raises(ModelError, match="margin") as caught:
            predict_tiles(valid_network(), noise(1, 20, 20, 20), size=(12, 12, 12), window=Window(margin=2))
        assert "(1, 1, 11, 11, 11)" in caught.value.what
        assert "2 voxels" in caught.value.fix

    def test_tile_inside_the_margins(self) -> None:
        with pytest.raises(UsageError, match="margins of 3"):
            predict_tiles(valid_network(), noise(1, 9, 9, 9), size=(6, 9, 9), window=Window(margin=3))
        with pytest.raises(UsageError, match="overlap"):
            predict_tiles(same_size_network(), noise(1, 9, 9, 9), size=(6, 9, 9), overlap=1.0)


def test_settings_import_no_torch() -> None:
    code = "import sys, medgen.recipe.prediction; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_default_tile_of_a_small_patch_is_larger_than_its_margins() -> None:
    assert InferenceConfig().tile_size((8, 8, 8), Window(margin=4, multiple=16)) == (48, 48, 48)
    assert InferenceConfig(size=(4, 4, 4)).tile_size((8, 8, 8), Window(margin=4)) == (9, 9, 9)


class TestHalo:
    """A same-size network whose padding shows at the border of a tile."""

    def test_each_voxel_belongs_to_one_tile_and_lies_a_halo_away_from_where_it_is_cut(self) -> None:
        window = Window(multiple=4, align=4, halo=8)
        for length in (33, 40, 61, 100, 101):
            spans = axis_spans(length, 40, window, overlap=0, blend="gaussian")
            assert [span.low for span in spans] == [0, *(span.high for span in spans[:-1])]
            assert spans[-1].high == length
            assert all(span.start % 4 == 0 for span in spans)
            for span in spans:
                assert span.low == 0 or span.low >= span.start + 8
                assert span.high == length or span.high <= span.start + 40 - 8
                assert span.start >= 0

    def test_a_wider_halo_than_a_quarter_of_a_small_tile_leaves_half_of_it(self) -> None:
        spans = axis_spans(64, 16, Window(multiple=4, align=4, halo=40), overlap=0, blend="gaussian")
        assert [span.start for span in spans] == list(range(0, 49, 8))

    def test_an_overlap_brings_tiles_closer(self) -> None:
        window = Window(multiple=4, align=4, halo=8)
        plain, closer = (axis_spans(200, 40, window, overlap=overlap, blend="gaussian") for overlap in (0.0, 0.5))
        assert len(closer) > 1.5 * len(plain)

    def test_a_tile_with_a_halo_is_halved_where_memory_is_short(self) -> None:
        cpu = torch.device("cpu")
        plan = Plan(cpu, cpu, 1, (160, 160, 160))
        smaller, _ = thriftier(plan, Window(multiple=4, align=4, halo=20)) or (plan, "")
        assert smaller.size == (80, 80, 80)
        assert thriftier(plan, Window(multiple=4)) is None
