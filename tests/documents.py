"""The documents of the project, their blocks and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "pipelines", "sample_data", "findings", ".github")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))],
    key=lambda path: path.as_posix(),
)
HOW_TO = [path for path in DOCUMENTS if path.parent == ROOT / "docs/how-to"]
SHELLS = ("bash", "sh", "console", "shell")
_BLOCK = re.compile(r"(?:<!-- test: (\w+) -->[ \t]*\n\s*)?^[ \t]*```(\w*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.S | re.M)
_FILE = re.compile(r"`([\w-]+\.yaml)`")
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


class Block(NamedTuple):
    """A fenced block.

    ``mark`` is the word of a comment ``<!-- test: mark -->`` above it, ``file`` the recipe that is named before it.
    """

    mark: str
    language: str
    text: str
    file: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a document, in its order."""
    text, found, end = path.read_text(), [], 0
    for match in _BLOCK.finditer(text):
        named = _FILE.findall(text[end : match.start()])
        found.append(Block(*match.groups(default=""), file=named[-1] if named else "recipe.yaml"))
        end = match.end()
    return found


def spans(path: Path) -> list[str]:
    """Every ``code`` in the text of a document, with its lines joined."""
    return [" ".join(span.split()) for span in _SPAN.findall(_BLOCK.sub("", path.read_text()))]


def commands(text: str) -> Iterator[list[str]]:
    """Each command of a shell text as its words: lines joined, and split at ``;``, ``&&`` and ``|``.

    What may stand before a command is left out: a prompt, ``do``, ``then``, ``srun``, or a variable that is set for it.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set(";&|"):
                while words and (words[0] in {"do", "then", "else", "srun"} or re.match(r"[A-Za-z_]+=", words[0])):
                    del words[0]
                if words:
                    yield words
                words = []
            else:
                words.append(word)
