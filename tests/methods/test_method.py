"""Which code a name may load, and that a copy of a method has parts of its own."""

import copy
import sys

import pytest
import torch

from medgen.errors import ModelError, UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create, resolve


def test_a_typo_names_the_nearest_method():
    with pytest.raises(UsageError, match="did you mean 'supervised'"):
        resolve("supervized")


def test_a_foreign_module_is_not_imported_unless_allowed(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").write_text("")
    (tmp_path / "my_lab" / "trick.py").write_text("from medgen.methods.supervised import METHOD\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="not allowed"):
        resolve("my_lab.trick")
    assert "my_lab.trick" not in sys.modules
    assert resolve("my_lab.trick", allow_modules=["my_lab.trick"]).__name__ == "Supervised"


def test_an_allowed_module_that_is_not_installed():
    with pytest.raises(UsageError, match="not installed"):
        resolve("no_such_lab.method", allow_modules=["no_such_lab.method"])


@pytest.mark.parametrize("name", ["adversarial_mean_teacher", "co_training", "entropy_minimisation"])
def test_a_copy_predicts_with_its_own_weights(name):
    """As ``schedule.averaging`` makes one: the parts that hold no weights must refer to the networks of the copy."""
    method = create(name, {"network": "unet", "width": 0.25}, Shape(2, 2)).eval()
    image = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        before = method.predict(image)
        other = copy.deepcopy(method)
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
        assert torch.equal(method.predict(image), before)
        assert not torch.allclose(other.predict(image), before)
