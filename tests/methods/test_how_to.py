"""The toy method of the how-to meets the contract: its code block is run as it stands there."""

import sys
from pathlib import Path

import pytest
import tiny
import torch

from medgen import encode, sample, train
from medgen.methods.base import Shape
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import train as fit

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-method.md"


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The file of the how-to as a module of the user's own, since nothing is added to the package here."""
    block = HOW_TO.read_text().split("```python\n")[1].split("```")[0]
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "lab_of_the_how_to").mkdir()
    (folder / "lab_of_the_how_to" / "__init__.py").write_text("")
    (folder / "lab_of_the_how_to" / "linear_code.py").write_text(block)
    monkeypatch.syspath_prepend(folder)
    yield "lab_of_the_how_to.linear_code"
    for name in [name for name in sys.modules if name.startswith("lab_of_the_how_to")]:
        del sys.modules[name]


def test_it_is_trained_sampled_and_encoded(module, tmp_path):
    cases = tiny.write_cases(tmp_path / "cases")
    recipe = tiny.recipe(
        method=module, patches={"size": [16, 16], "sampling": "centred"}, schedule={"steps": 4, "averaging": None}
    ) | {"config": {"latent": 3}}
    run = train(recipe, cases, tmp_path / "run", device="cpu", allow_modules=[module])
    folder = sample(run, tmp_path / "samples", count=2, device="cpu", allow_modules=[module])
    assert (folder / "contact_sheet.png").is_file()
    codes = encode(run, cases, tmp_path / "codes.csv", device="cpu", allow_modules=[module])
    assert codes.read_text().splitlines()[0] == "case,patch,x_mm,y_mm,z_mm,code_0,code_1,code_2"


def test_it_learns_a_batch_by_heart(module):
    from importlib import import_module

    kind = import_module(module).METHOD
    torch.manual_seed(0)
    method = kind(kind.config_class(), Shape(1, 1, (8, 8)))
    image = torch.randn(2, 1, 8, 8)
    batches = [Images(image, torch.ones_like(image))] * 50
    records = list(fit(method, method.optimizers(), batches, Schedule(steps=50), Engine("cpu")))
    assert records[-1].losses[kind.learns] < 0.8 * records[0].losses[kind.learns]
