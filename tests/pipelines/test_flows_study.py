"""The study of flows: its table, its patches, and one tiny run of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medgen.inference.references import References

FOLDER = Path(__file__).parents[2] / "pipelines" / "generation"


@pytest.fixture
def flows(monkeypatch):
    import flows

    return flows


def run(row, seed, bits):
    return {
        "row": row, "seed": seed, "steps": 10, "processor_seconds": 1.0, "parameters": 1000,
        "bits": {f"head_{number}": value for number, value in enumerate(bits)},
    }  # fmt: skip


def test_the_table_pairs_patients(flows):
    """Every patient is worse by exactly 1 under NICE, however much patients differ: the interval is narrow."""
    base = [0.0, 5.0, -3.0, 8.0, 1.0, 2.0]
    rows = {name: [run(name, seed, base) for seed in range(3)] for name in ("realnvp", "nice_dense")}
    rows["nice"] = [run("nice", seed, [value + 1 for value in base]) for seed in range(3)]
    table = flows._table({name: rows[name] for name in flows.ROWS})
    cells = next(line for line in table if "convolutional" in line).split("|")
    assert cells[4].strip() == "+1.000 (+1.000 to +1.000)"
    assert cells[5].strip() == "1,000"


def test_every_model_sees_the_same_patches(flows):
    images = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 1, 4, 4).contiguous()
    first, again, other = ([b.image for b in flows.batches(images, 2, seed)] for seed in (0, 0, 1))
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


def test_a_tiny_run_writes_bits_by_patient(flows, monkeypatch, tmp_path):
    monkeypatch.setitem(flows.KINDS, "2d", flows.KINDS["2d"]._replace(seconds=0.0))
    images = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    drawn = References(images, tuple("aabbccdd"), np.zeros((8, 3)), (None,) * 8)
    flows.fit(tmp_path, "2d", "realnvp", 0, {"train": drawn, "test": drawn})
    content = json.loads((tmp_path / "2d_realnvp_0.json").read_text())
    assert content["steps"] == 10  # the least
    assert list(content["bits"]) == ["a", "b", "c", "d"]
    assert all(np.isfinite(value) for value in content["bits"].values())
    with np.load(tmp_path / "2d_realnvp_0.npz") as arrays:
        assert arrays["samples"].shape == (2, 8, 1, 8, 8)
