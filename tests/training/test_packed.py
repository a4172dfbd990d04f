"""Weights of models that travel take a quarter of their bytes and stay what they are."""

import pytest
import torch

from medgen.errors import ModelError
from medgen.training.checkpoint import load_weights, save_weights
from medgen.training.packed import packed, unpacked


def weights():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(8, 4, 5, 5, 5, generator=generator) * torch.logspace(-4, 1, 8)[:, None, None, None, None]
    kernel[3] = 0
    return {"conv.weight": kernel, "norm.weight": torch.rand(8, generator=generator), "seen": torch.tensor(70_000)}


def test_no_number_is_moved_by_more_than_the_largest_of_its_channel_allows(tmp_path):
    before = weights()
    save_weights(tmp_path / "w.safetensors", packed(before))
    after = load_weights(tmp_path / "w.safetensors")
    assert list(sorted(after)) == sorted(before)
    kernel = before["conv.weight"]
    limit = kernel.flatten(1).abs().amax(dim=1) / 254
    away = (after["conv.weight"] - kernel).flatten(1).abs().amax(dim=1)
    assert (away <= limit * 1.001 + 1e-12).all()
    assert away.max() > 0
    assert torch.allclose(after["norm.weight"].float(), before["norm.weight"], atol=5e-4)
    assert after["seen"] == 70_000
    assert (tmp_path / "w.safetensors").stat().st_size < 0.4 * 4 * kernel.numel()


def test_other_weights_are_not_changed():
    before = weights() | {"whole": torch.arange(5, dtype=torch.int8)}
    after = unpacked(before)
    assert all(after[name] is tensor for name, tensor in before.items())


def test_what_half_precision_cannot_hold_is_refused():
    with pytest.raises(ModelError, match="norm has values beyond half precision"):
        packed({"norm": torch.tensor([1e6])})
