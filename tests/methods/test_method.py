"""Which code a name may load."""

import sys

import pytest

from medgen.errors import ModelError, UsageError
from medgen.methods.catalogue import resolve


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
