"""Every dependency of pyproject.toml is used, what medgen imports is one of them, and the lock has them all."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MODULES = {
    "lightning-fabric": "lightning_fabric",
    "picai-eval": "picai_eval",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "simpleitk": "SimpleITK",
}
"""Where the name of the module differs."""
NOT_IMPORTED = {
    "nilearn": ("medgen/phantom/head/template.py", 'find_spec("nilearn")'),  # its maps are read as files
    "einops": ("medgen/networks/monai_zoo.py", "medgen[monai]"),  # MONAI imports it by itself
    "tensorboard": ("medgen/training/log.py", "from torch.utils.tensorboard import"),
    "python-gdcm": ("medgen/volume/dicom.py", "medgen[dicom-codecs]"),  # pydicom finds it by itself
    "pytest-xdist": ("Makefile", "pytest -n"),
    "pytest-timeout": ("pyproject.toml", "\ntimeout = "),
    "picai-eval": ("tests/metrics/test_lesion_matching.py", 'importorskip("picai_eval'),
    "bids-validator-deno": ("tests/inference/test_bids_output.py", 'which("bids-validator-deno")'),
    "properdocs": ("Makefile", "/properdocs build"),
    "mkdocs-materialx": ("properdocs.yml", "name: materialx"),
    "mkdocstrings": ("properdocs.yml", "- mkdocstrings:"),
    "medgen": ("pyproject.toml", "medgen[test"),
    "ruff": ("Makefile", "/ruff check"),
    "mypy": ("Makefile", "/mypy"),
    "pre-commit": (".pre-commit-config.yaml", "repos:"),
    "types-pyyaml": ("pyproject.toml", "strict = true"),  # mypy reads it beside PyYAML
}
"""Of what is used otherwise: a file and the words in it that use it."""


def names(requirements: list[str]) -> list[str]:
    return [Requirement(each).name.lower() for each in requirements]


@cache
def imported(folder: str) -> frozenset[str]:
    """Top-level modules that the files below a folder import, at their top or in a function."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


CORE = names(PROJECT["dependencies"])
EXTRAS = [(extra, name) for extra, each in PROJECT["optional-dependencies"].items() for name in names(each)]


@pytest.mark.parametrize(
    ("name", "folders"),
    [*((name, ("medgen",)) for name in CORE), *((name, ("medgen", "tests", "pipelines")) for _, name in EXTRAS)],
)
def test_every_dependency_is_used(name, folders):
    if name in NOT_IMPORTED:
        path, words = NOT_IMPORTED[name]
        assert words in (ROOT / path).read_text()
    else:
        assert any(MODULES.get(name, name) in imported(folder) for folder in folders)


def test_what_medgen_imports_is_a_dependency():
    asked = {
        name for extra, name in EXTRAS if extra in {"reader", "flows", "dicom", "onnx", "pandas", "notebook", "torchio"}
    }  # these first
    declared = {MODULES.get(name, name) for name in CORE} | asked
    local = {path.stem for path in (ROOT / "pipelines").rglob("*.py")}
    assert imported("medgen") | imported("pipelines") <= declared | local | set(sys.stdlib_module_names) | {"medgen"}


def test_no_extra_takes_what_the_core_has():
    assert [name for _, name in EXTRAS if name in CORE] == []


def test_no_exception_is_left_over():
    assert set(NOT_IMPORTED) <= {*CORE, *(name for _, name in EXTRAS)}


class TestLock:
    """``make lock`` made it; whoever changes pyproject.toml or constraints.txt makes it again."""

    text = (ROOT / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.M))

    def test_every_package_has_hashes(self):
        blocks = re.split(r"\n(?=\S)", self.text.strip())
        assert len(blocks) == len(self.pins) > 100
        assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
        assert not re.search(r"https?:|file:|/", self.text)  # no index, no folder

    def test_it_has_the_versions_of_the_constraints(self):
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        constraints = dict(line.split("==") for line in lines if "==" in line)
        wanted = {canonicalize_name(name): version for name, version in constraints.items()}
        assert {name: pin for name, pin in self.pins.items() if wanted.get(name, pin) != pin} == {}

    def test_it_has_every_dependency_in_a_version_that_pyproject_takes(self):
        extras = PROJECT["optional-dependencies"].values()
        needed = map(Requirement, [*PROJECT["dependencies"], *(line for extra in extras for line in extra)])
        found = [(each, self.pins.get(canonicalize_name(each.name), "")) for each in needed if each.name != "medgen"]
        assert [str(each) for each, version in found if not version or version not in each.specifier] == []
