"""The study of both families: its probes are those of the library, of the slices that were encoded."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from toy_samplers import LINEAR, save_toy

from medgen.evaluation.factor_probes import probe_codes
from medgen.inference.encoding import encode
from medgen.inference.opened import open_model
from medgen.volume import Volume, write_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "generation"
HERE = {"device": "cpu", "allow_modules": [LINEAR]}


@pytest.fixture
def family(monkeypatch):
    import family

    return family


@pytest.fixture
def options(tmp_path: Path) -> Namespace:
    """Twelve bodies that differ from slice to slice, so that other slices have other pixels."""
    generator, rows, factors = np.random.default_rng(0), ["case,split,t1"], ["case,split,csf_fraction"]
    for number in range(12):
        fluid = generator.uniform(0.1, 0.3)
        image = 10 * fluid + generator.normal(0, 1, (1, 16, 12, 9))
        file = write_volume(
            Volume(image.astype(np.float32), np.diag([2.0, 2, 2, 1])), tmp_path / f"{number}.nii.gz", kind="scalar"
        )
        rows.append(f"head_{number},train,{file.name}")
        factors.append(f"head_{number},train,{fluid:.4f}")
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "factors.csv").write_text("\n".join(factors) + "\n")
    return Namespace(cases=tmp_path / "cases.csv", out=tmp_path)


def test_pixels_of_the_slices_that_were_encoded(family, options: Namespace, monkeypatch):
    gan, run = (family.Run(name, 0, 1, options.out / name) for name in ("gan_0", "vae_0"))
    save_toy(run.folder, LINEAR, size=(16, 12), intensity={"t1": {"window": [-4, 8]}})
    codes = encode(run.folder, options.cases, run.beside("codes.npz"), patches=3, **HERE)
    monkeypatch.setattr(family, "open_model", lambda folder, *_: open_model(folder, "cpu", [LINEAR]))
    found = family.pixels([gan, run], options)
    table = options.out / "factors.csv"
    probes = probe_codes(codes, table, factors=["csf_fraction"], run=run.folder, cases=options.cases, **HERE)
    assert found["csf_r2"] == probes.factors[0].scores["pixels"].value
    assert np.isfinite(found["height_r2"])
    assert json.loads((options.out / "pixels.json").read_text()) == found
