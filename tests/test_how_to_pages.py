"""The commands of the how-to pages do what they say, on few and small patients.

A block marked ``<!-- test: run -->`` goes on in the folder of the blocks before it; of one marked
``<!-- test: alternatives -->``, each command begins with that folder as it was. ``how_to_folders.py`` says what the
reader has before a block. As in ``test_documents_run.py``, only numbers that cost time are made smaller.
"""

import shutil
import sys
from contextlib import chdir, contextmanager

import pytest
from document_runner import run_block, run_command, save_recipe
from documents import HOW_TO, ROOT, SHELLS, blocks, commands
from how_to_folders import ANEW, BEFORE, OPTIONS, PARSED
from how_to_things import Reader

from medgen.baselines import scoring
from medgen.networks import deepmedic

RUN = {"run", "alternatives"}
SHELL = {
    (page.stem, number): block
    for page in HOW_TO
    for number, block in enumerate((block for block in blocks(page) if block.language in SHELLS), start=1)
}
PAGES = [page for page in HOW_TO if any(block.mark in RUN for block in blocks(page))]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which the commands are given."""
    for name, trees in scoring.TREES.items():
        monkeypatch.setitem(scoring.TREES, name, trees.model_copy(update={"trees": 5}))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


def begin(folder, page):
    """An empty folder, but for the first recipe of each name in the page and the pipelines of the repository."""
    for path in folder.iterdir():
        remove(path)
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    for block in reversed(blocks(page)):
        save_recipe(block, folder)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(things, folder, reader):
    for name, thing in things.items():
        path = folder / name
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        thing(reader, path)


@contextmanager
def as_it_was(folder):
    """What is done inside is done to a copy."""
    copy = shutil.copytree(folder, folder.with_name("copy"), symlinks=True)  # paths of a table are relative to it
    with chdir(copy):
        yield
    shutil.rmtree(copy)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_commands_of_a_page_run(page, here, reader, capsys, monkeypatch):
    if "preset: small" in page.read_text():
        small = deepmedic.PRESETS["small"]._replace(filters=(4,) * deepmedic.DEPTH, hidden=(8, 8))
        monkeypatch.setitem(deepmedic.PRESETS, "small", small)
    before, number = BEFORE.get(page.stem, {}), 0
    begin(here, page)
    for block in blocks(page):
        save_recipe(block, here)
        if block.language not in SHELLS:
            continue
        number += 1
        things = dict(before.get(number, {}))
        if ANEW in things:
            begin(here, page)
        put({name: thing for name, thing in things.items() if thing}, here, reader)
        if block.mark == "run":
            run_block(block.text, capsys, OPTIONS)
        elif block.mark == "alternatives":
            for words in commands(block.text):
                with as_it_was(here):
                    run_command(words, capsys, OPTIONS)


def test_every_command_of_a_page_is_run_or_there_is_a_reason():
    """A new block that is only parsed needs one, too; a reason of a block that is run is out of date."""
    assert {place for place, block in SHELL.items() if block.mark not in RUN} == PARSED.keys()


def test_what_a_reader_has_is_there_for_a_block_that_runs():
    for page, things in BEFORE.items():
        assert all(SHELL[page, number].mark in RUN for number in things), page
