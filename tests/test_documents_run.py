"""The commands of documents do what they say: each block marked ``<!-- test: run -->``, on few and small patients.

The blocks of a document run in their order in one folder. Recipes between them are saved under the name that the text
gives them. Numbers that cost time are replaced by small ones, nothing else; ``test_documents.py`` parses every command
as it stands.
"""

import pytest
import yaml
from benchmark.without_processes import runs_in_this_process
from documents import DOCUMENTS, ROOT, SHELLS, blocks, commands, name_of

from medgen.baselines import scoring
from medgen.cli import app, main

SMALL = {
    "demo": {"--spacing": "8"},
    "phantom head": {"--subjects": "4", "--spacing": "8", "--workers": "1"},
    "phantom adaptation": {
        **dict.fromkeys(("--source", "--target", "--test", "--source-test"), "2"),
        **{"--spacing": "8", "--workers": "1"},
    },
    "benchmark": {"--seeds": "1", "--regimes": "source_only"},
    "sample": {"--count": "4"},
}
"""Of a command: options, and what each is for a test."""
SCHEDULE = ("schedule.steps=2", "schedule.batch=2", "schedule.validate_every=2", "schedule.save_every=2")
SETTINGS = (*SCHEDULE, "preparation.spacing=null", "patches.size=[16,16,16]", "inference.size=[16,16,16]")
WIDTH = {"context_aware_gan": "config.width=0.05"}
RUN = [path for path in DOCUMENTS if any(block.mark == "run" for block in blocks(path))]


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_commands_of_a_document_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, trees in scoring.TREES.items():
        monkeypatch.setitem(scoring.TREES, name, trees.model_copy(update={"trees": 5}))
    for block in blocks(path):
        if block.language == "yaml" and "method" in yaml.safe_load(block.text):
            (tmp_path / block.file).write_text(block.text)
        elif block.mark == "run" and block.language in SHELLS:
            for words in commands(block.text):
                with pytest.raises(SystemExit) as ended, runs_in_this_process():
                    main(small(words[1:]))
                said = capsys.readouterr()
                assert not ended.value.code, f"{words}: {said.err}"
                assert said.out.strip(), words


def small(words: list[str]) -> list[str]:
    """The same command with less to do."""
    if words[0].startswith("-"):
        return words
    names = words[: 1 + (words[0] in app and words[1:2] != [] and words[1] in app[words[0]])]
    words = list(words)
    for option, value in SMALL.get(" ".join(names), {}).items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    if words[0] in {"train", "benchmark"} and "--help" not in words:
        with open(words[1]) as file:
            method = yaml.safe_load(file)["method"]
        words += [each for setting in (*SETTINGS, WIDTH.get(method, "config.width=0.1")) for each in ("--set", setting)]
    return words


def test_the_tutorials_run():
    """Every command of a tutorial is run, but for the demo, with which CI ends."""
    for path in (ROOT / "docs/tutorials").glob("*.md"):
        for block in blocks(path):
            if block.language in SHELLS and block.mark != "run":
                assert [words[:2] for words in commands(block.text)] == [["medgen", "demo"]], f"{path}: {block.text}"
    assert ROOT / "README.md" in RUN
