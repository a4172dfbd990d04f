"""The commands of documents do what they say: each block marked ``<!-- test: run -->``, on few and small patients.

The blocks of a document run in their order in one folder. Recipes between them are saved under the name that the text
gives them. Numbers that cost time are replaced by small ones, nothing else; ``test_documents.py`` parses every command
as it stands. The pages of ``docs/how-to`` begin with what their reader has: ``test_how_to_pages.py`` runs them.
"""

import pytest
from document_runner import run_block, save_recipe
from documents import DOCUMENTS, HOW_TO, ROOT, SHELLS, blocks, commands, name_of

from medgen.baselines import scoring

RUN = [path for path in DOCUMENTS if path not in HOW_TO and any(block.mark == "run" for block in blocks(path))]


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_commands_of_a_document_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, trees in scoring.TREES.items():
        monkeypatch.setitem(scoring.TREES, name, trees.model_copy(update={"trees": 5}))
    for block in blocks(path):
        save_recipe(block, tmp_path)
        if block.mark == "run" and block.language in SHELLS:
            run_block(block.text, capsys)


def test_the_tutorials_run():
    """Every command of a tutorial is run, but for the demo, with which CI ends."""
    for path in (ROOT / "docs/tutorials").glob("*.md"):
        for block in blocks(path):
            if block.language in SHELLS and block.mark != "run":
                assert [words[:2] for words in commands(block.text)] == [["medgen", "demo"]], f"{path}: {block.text}"
    assert ROOT / "README.md" in RUN
