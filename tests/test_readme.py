"""The commands and names of README and documents exist; the cheap ones are run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_commands import lines_of, parse

import medgen
from medgen.recipe.settings import load_recipe

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"(?:<!-- test: (\w+) -->\s*\n)?```(\w*)\n(.*?)```", re.S)


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """Mark and text of each fenced block of a language."""
    return [(mark, text) for mark, kind, text in BLOCK.findall(path.read_text()) if kind == language]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_medgen_command_of_a_document_parses(path):
    for _, text in blocks(path, "bash"):
        for line in lines_of(text):
            parse(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_medgen_name_of_a_document_exists(path):
    for _, text in blocks(path, "python"):
        compile(text, path.name, "exec")
        for name in re.findall(r"\bmedgen\.([a-z]\w+)\(", text):
            assert name in medgen.__all__, name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_recipe_of_a_document_is_valid(path):
    for _, text in blocks(path, "yaml"):
        values = yaml.safe_load(text)
        if isinstance(values, dict) and "method" in values:
            load_recipe(values)


def test_readme_has_marked_blocks_of_each_kind():
    marks = [mark for kind in ("bash", "python") for mark, _ in blocks(ROOT / "README.md", kind)]
    assert {"parse", "run", "names"} <= set(marks)


def test_the_cheap_commands_of_readme_run(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for mark, text in blocks(ROOT / "README.md", "bash"):
        for line in lines_of(text) if mark == "run" else []:
            command = [sys.executable, "-m", *line.split()]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            assert done.stdout.strip()


def test_the_make_targets_of_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    wanted = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.M))
    assert {"demo", "test"} <= wanted <= targets


def test_every_public_module_has_a_page():
    package = Path(medgen.__file__).parent
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    pages = {path.stem for path in (ROOT / "docs/reference/api").glob("*.md")} - {"index"}
    assert {name for name in modules if not name.startswith("_")} == pages
    navigation = (ROOT / "properdocs.yml").read_text()
    assert not [name for name in pages if f"reference/api/{name}.md" not in navigation]


def test_forms_and_citation_are_valid():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form)
        assert all(each["attributes"]["label"] for each in form["body"])
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == medgen.__version__
    assert citation["license"] == "Apache-2.0"
