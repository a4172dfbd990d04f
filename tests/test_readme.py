"""README, and what else of the project's own papers can be checked."""

import re
from pathlib import Path

import yaml
from documents import ROOT, SHELLS, blocks, commands

import medgen


def test_its_first_command_can_be_pasted():
    """The first block is one that works where README lies, and no command has a gap to fill."""
    first, *others = [block for block in blocks(ROOT / "README.md") if block.language in SHELLS]
    assert first.text == "make demo\n"
    assert [words for block in others for words in commands(block.text) if any("<" in word for word in words)] == []


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
    assert re.fullmatch(r"\d+\.\d+\.\d+", citation["version"])  # of the newest release: see test_packaging.py
    assert citation["license"] == "Apache-2.0"
