"""Every command in a document exists: medgen's are parsed by the real command line, others are looked up."""

import itertools
import re
import tomllib
from functools import cache

import pytest
import yaml
from cli_commands import parse_words
from cyclopts import CycloptsError
from documents import DOCUMENTS, ROOT, SHELLS, blocks, commands, name_of, spans

import medgen
from medgen.cli import app
from medgen.recipe.settings import load_recipe

EVERYWHERE = {"--json", "--debug", "--help", "-h", "--version"}
OTHERS = {
    "git",
    "cd",
    "if",
    "fi",
    "for",
    "done",
    "sbatch",
    "diff",
    "dciodvfy",
    "docker",
    "apptainer",
    "curl",
    "unzip",
    "storescu",
}
"""Programs and words of a shell about which nothing is known here."""
FOREIGN = {
    "--index-url": "pip",
    "--no-deps": "pip",
    "--require-hashes": "pip",
    "--extra-index-url": "pip",
    "--strict": "properdocs and pip-audit",
    "--build-arg": "docker and apptainer",
    "--gpus": "docker",
    "--network": "docker",
    "--user": "docker",
    "--shm-size": "docker",
    "--inputs": "a MONAI bundle's own argument",
    "--nv": "apptainer",
    "--bind": "apptainer",
    "--lesion-share": "nobody's: the changelog says what took its place",
}
"""Options in a sentence that are neither medgen's nor a script's, and whose they are."""
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


@documents
def test_every_command_of_a_document_exists(path):
    for block in blocks(path):
        if block.language not in SHELLS:
            lines = [line for line in block.text.splitlines() if re.match(r"\s*(\$ )?(medgen|make|pip) [a-z-]", line)]
            assert lines == [], "name the language of the block: bash"
            continue
        for words in commands(block.text):
            check(words)


def check(words: list[str]) -> None:
    """Fail if a command names a subcommand, an option, a script, a target, an extra or a file that there is not."""
    program = words[0].removeprefix(".venv/bin/")
    if program == "medgen":
        parse_words(words[1:])
    elif program in {"python", "python3"}:
        check_python(words[1:])
    elif program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
        variables = set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), re.M))
        assert {word for word in words[1:] if "=" not in word} <= targets, words
        assert {word.partition("=")[0] for word in words[1:] if "=" in word} <= variables, words
    elif program == "pip":
        check_pip(words)
    elif program in {"docker", "apptainer"} and words[1] == "run":
        (image,) = (n for n, word in enumerate(words) if re.fullmatch(r"medgen(:\w+|\w*\.sif)?", word))
        parse_words(words[image + 1 :])
    else:
        assert program in OTHERS, f"{words}: check it, or say that nothing is known about it"


def check_pip(words: list[str]) -> None:
    for option, value in itertools.pairwise(words):
        if option in {"-c", "-r"}:
            assert (ROOT / value).is_file(), words
    for extras in re.findall(r"(?:medgen|\.)\[([\w,-]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= extras_of_medgen(), words


def check_python(words: list[str]) -> None:
    """A script of the repository: there, and with the options as its folder's files have them."""
    if words[0] == "-m":
        assert words[1] in {"venv", "medgen", "pytest", "monai.bundle"}, words
        return
    script = ROOT / words[0]
    assert script.is_file(), words
    options = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert options <= options_of_scripts(script.parent), words


@documents
def test_every_option_in_a_sentence_exists(path):
    """What is said of ``medgen predict --guard``, ``predict --guard`` or ``--guard`` is said of what there is."""
    for span in spans(path):
        words = span.removeprefix(".venv/bin/").split()
        is_command = words[0] == "medgen" or (words[0] in app and "--" in span and words[0].isalpha())
        if is_command:
            rest = words[1:] if words[0] == "medgen" else words
            for each in alternatives(rest):
                check_mention(each, span)
        elif re.match(r"--[a-z]", words[0]) and words[0] != "--8<--":
            option = re.match(r"--[a-z-]+", words[0]).group()
            assert option in known_options(), span


def alternatives(words: list[str]) -> list[list[str]]:
    """``evaluate synthesis|detection`` is two commands."""
    return [list(each) for each in itertools.product(*(word.strip("[],.…").split("|") for word in words))]


def check_mention(words: list[str], span: str) -> None:
    here = app
    while words and not words[0].startswith("-") and words[0] in here:
        here, words = here[words[0]], words[1:]
    if words and here.default_command is None and not words[0].startswith("-"):
        assert words[0].isupper() or not words[0].strip(".…"), f"{span}: {words[0]} is no command"  # COMMAND, or ...
    for word in words:
        if re.match(r"--[a-z]", word):
            assert word.partition("=")[0] in all_options(here), span  # of a group: of one of its commands


def options_of(here) -> set[str]:
    found = set(EVERYWHERE)
    if here.default_command is not None:
        for argument in here.assemble_argument_collection():
            found |= {*argument.names, *argument.negatives}
    return found


def all_options(here) -> set[str]:
    names = [name for name in here if not name.startswith("-")]
    return options_of(here).union(*(all_options(here[name]) for name in names))


@cache
def known_options() -> set[str]:
    return all_options(app) | options_of_scripts(ROOT / "pipelines") | set(FOREIGN)


@cache
def options_of_scripts(folder) -> set[str]:
    return {
        each for path in folder.rglob("*.py") for each in re.findall(r"[\"'](--?[a-z][\w-]*)[\"']", path.read_text())
    }


@cache
def extras_of_medgen() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@documents
def test_every_medgen_name_of_a_document_exists(path):
    for block in blocks(path):
        if block.language == "python":
            compile(block.text, path.name, "exec")
            for name in re.findall(r"\bmedgen\.([a-z]\w+)\(", block.text):
                assert name in medgen.__all__, name


@documents
def test_every_recipe_of_a_document_is_valid(path):
    for block in blocks(path):
        if block.language == "yaml":
            values = yaml.safe_load(block.text)
            if isinstance(values, dict) and "method" in values:
                load_recipe(values)


@pytest.mark.parametrize(
    "line",
    [
        "medgen predikt run",
        "cd x && medgen train recipe.yaml --cases cases.csv --out run --stepz 3",
        "for s in 1 2; do medgen train recipe.yaml --cases cases.csv; done",
        "python pipelines/mr_to_ct/none.py",
        "python pipelines/mr_to_ct/run.py study --nothing",
        "docker run --rm medgen predikt run",
        "make dinner",
        "make demo COLOUR=red",
        "pip install 'medgen[colours]'",
        "pip install -r none.txt",
        "wget example.org",
    ],
)
def test_a_wrong_command_is_found(line):
    with pytest.raises((AssertionError, CycloptsError)):
        list(map(check, commands(line)))


@pytest.mark.parametrize("span", ["medgen predict --gard", "medgen evaluate everything", "medgen latent draw"])
def test_a_wrong_mention_is_found(span):
    with pytest.raises(AssertionError):
        check_mention(span.split()[1:], span)


def test_commands_are_found_wherever_they_stand():
    text = 'A=1 medgen models # not this\nif [ -e x ]; then srun medgen \\\n  check "a b"; fi'
    found = list(commands(text))
    assert ["medgen", "models"] in found
    assert ["medgen", "check", "a b"] in found
