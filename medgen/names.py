"""Text that somebody else wrote, as the name of a file and in a picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from medgen.errors import UsageError

CASE_BYTES, PART_BYTES = 128, 48
"""Longest name of a case, and of a role or class: ``<case>_probability_<class>.nii.gz`` stays below 255."""
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')


def file_name(text: str, most: int = PART_BYTES) -> str:
    """Part of a file's name from text that somebody else wrote: in a model, a table, a plan, the header of an image.

    No other function makes names from text. What would lead out of a folder, hide the file or be changed by a file
    system is refused and never replaced, so two names stay two.

    Args:
        text: the name of a case, role, class, regime, ...
        most: bytes.

    Returns:
        The text in Unicode's composed form (NFC).

    Raises:
        UsageError: it is empty or too long; it begins with a point, dash or blank, or ends in a point or blank; or it
            has a separator of folders (also of Windows), a wildcard, a control or another invisible character.

    >>> file_name("white matter")
    'white matter'
    >>> file_name("x/../..")
    Traceback (most recent call last):
    medgen.errors.UsageError: the name 'x/../..' cannot name a file
      do: use letters, digits, '.', '_' and '-', beginning with a letter or digit
    """
    name = unicodedata.normalize("NFC", text)
    letters = "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
    if not name or name[0] in ".- " or name[-1] in ". " or not name.isprintable() or _NOT_IN_NAMES & set(name):
        shown = ascii(text) if len(text) <= PART_BYTES else f"{text[:PART_BYTES]!a}..."
        raise UsageError(f"the name {shown} cannot name a file", fix=letters)
    if (size := len(name.encode())) > most:
        raise UsageError(f"the name {text[:PART_BYTES]!a}... has {size} bytes, at most {most} can name a file")
    return name


def clashing(names: Iterable[str]) -> tuple[str, ...]:
    """Names that some file system holds for one: they differ in upper case, in how letters are composed, or not at all.

    >>> clashing(["Lesion", "lesion", "organ"])
    ('Lesion', 'lesion')
    """
    names = tuple(names)
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names]
    return tuple(name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1)


def literal(text: str) -> str:
    r"""``text`` as matplotlib shows it unchanged: a name from a file may hold dollars, which begin a formula.

    >>> print(literal("$x$"))
    \$x\$
    """
    return text.replace("$", r"\$")
