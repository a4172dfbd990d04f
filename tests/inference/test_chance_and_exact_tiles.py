"""No tile differs from another by its noise, and a network with dense layers gets tiles of one size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mean_model import head, save
from toy_methods import Exact, Noisy, make_toy

from medgen.cases import Case
from medgen.config import Config
from medgen.errors import MemoryExhausted, UsageError
from medgen.inference.cohort import predict_cohort
from medgen.inference.memory import Plan, thriftier
from medgen.inference.options import PredictOptions
from medgen.inference.stages import predict_prepared
from medgen.methods.base import Shape, Window
from medgen.recipe.prediction import InferenceConfig


def noisy(seed: int | None, *, batch: int = 1) -> np.ndarray:
    """A constant volume of 0 in many tiles, whose last batch is not full."""
    network = Noisy(Config(), Shape(1, 1)).eval()
    settings = InferenceConfig(size=(6, 6, 6), overlap=0.5, batch=batch)
    image = np.zeros((1, 13, 14, 15), np.float32)
    return predict_prepared([network], image, None, settings=settings, patch=(6, 6, 6), seed=seed)


class TestSeed:
    @pytest.mark.parametrize("batch", [1, 4])
    def test_every_tile_has_the_same_noise(self, batch: int) -> None:
        drawn = 0.1 * torch.rand(1, generator=torch.Generator().manual_seed(7)).item()
        np.testing.assert_allclose(noisy(7, batch=batch), drawn, atol=1e-6)

    def test_another_seed_another_draw_and_none_without_chance(self) -> None:
        assert abs(noisy(7) - noisy(8)).min() > 1e-4
        assert not noisy(None).any()

    @pytest.mark.parametrize("seed", [-1, 2**63])
    def test_seeds_are_whole_numbers_from_zero(self, seed: int) -> None:
        with pytest.raises(UsageError, match=f"at least 0 and below .*, got {seed}"):
            PredictOptions(seed=seed)

    def test_from_python_and_in_the_report(self, tmp_path: Path) -> None:
        model, path = make_toy(Noisy), save(head(), tmp_path / "t1.nii.gz")
        mean, draw = (model.predict(path, seed=seed).data[0, 4, 11, 8] for seed in (None, 7))
        assert mean == pytest.approx(488, abs=0.01)
        assert draw - mean == pytest.approx(noisy(7)[0, 0, 0, 0] * 1512, abs=0.1)
        for name, options in (("a", PredictOptions(seed=7)), ("b", PredictOptions(seed=7)), ("c", PredictOptions())):
            predict_cohort(model, [Case("p", "test", None, {"t1": path})], tmp_path / name, options)
        files = [(tmp_path / name / "p" / "p_ct.nii.gz").read_bytes() for name in "abc"]
        assert files[0] == files[1] != files[2]
        assert [json.loads((tmp_path / name / "prediction.json").read_text())["seed"] for name in "ac"] == [7, None]


class TestExact:
    """The network asserts the size of its input."""

    @pytest.mark.parametrize("shape", [(8, 12, 10), (3, 12, 10), (1, 2, 3), (19, 23, 17)])
    @pytest.mark.parametrize("batch", [1, 4])
    def test_every_tile_is_a_training_patch(self, shape: tuple[int, int, int], batch: int) -> None:
        network, size = Exact(Config(), Shape(1, 1, (8, 12, 10))).eval(), (8, 12, 10)
        image = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
        result = predict_prepared([network], image, None, settings=InferenceConfig(batch=batch), patch=size)
        np.testing.assert_allclose(result, image, atol=1e-6)

    def test_a_small_volume_is_padded_by_its_edge(self, tmp_path: Path) -> None:
        result = make_toy(Exact, size=(32, 24, 20)).predict(save(head(), tmp_path / "t1.nii.gz"))
        assert result.data[0, 9, 11, 8] == pytest.approx(1244, abs=0.01)

    def test_another_size_is_refused(self) -> None:
        assert InferenceConfig(size=(8, 8, 8)).tile_size((8, 8, 8), Window(exact=True)) == (8, 8, 8)
        with pytest.raises(UsageError, match=r"inference.size is \[16, 16, 16\].*\[8, 8, 8\] exactly") as caught:
            InferenceConfig(size=(16, 16, 16)).tile_size((8, 8, 8), Window(exact=True))
        assert "leave inference.size out" in caught.value.fix

    def test_memory_does_not_halve_it(self, tmp_path: Path) -> None:
        cpu = torch.device("cpu")
        plan = Plan(cpu, cpu, 1, (32, 32, 32))
        assert thriftier(plan, Window(margin=2, exact=True)) is None
        assert thriftier(plan, Window(margin=2)) is not None
        model = make_toy(Exact, inference={"batch": 2})
        sizes = set()

        def starved(image: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
            sizes.add(tuple(image.shape[2:]))
            raise MemoryError("out of memory")

        model.stages[0].predict = starved
        with pytest.raises(MemoryExhausted):
            model.predict(save(head(), tmp_path / "t1.nii.gz"))
        assert sizes == {(12, 12, 12)}
