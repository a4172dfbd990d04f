"""YAML as its version 1.2 reads numbers: 010 is ten and 1:30 is a text, where version 1.1 reads 8 and 90."""

from __future__ import annotations

import re
from typing import Any

import yaml

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBERS = (
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
"""Tag, pattern and first characters of the core schema (YAML 1.2.2, 10.3.2)."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > _DIGITS:
        raise yaml.YAMLError(f"a number of {len(text):,} digits, and the limit is {_DIGITS}")
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


for _tag, _pattern, _first in _NUMBERS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(_INT, _whole)


_DIGITS = 40
LONGEST, DEEPEST, MOST_REPEATS = 1_000_000, 32, 32
"""Characters of a document, tables and lists in each other, and repeats of a named part."""


def _require_plain(text: str) -> None:
    """Walk through a document without building it: what is built can be exponentially larger, or exhaust the stack."""
    if len(text) > LONGEST:
        raise yaml.YAMLError(f"{len(text):,} characters, and the limit is {LONGEST:,}")
    inside: list[str | None] = []
    repeats = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            inside.pop()
        elif isinstance(event, yaml.AliasEvent):
            repeats += 1
            if event.anchor in inside:
                raise yaml.YAMLError(f"the part '{str(event.anchor)[:40]}' holds itself")
        if len(inside) > DEEPEST:
            raise yaml.YAMLError(f"tables and lists are nested {len(inside)} deep, and the limit is {DEEPEST}")
        if repeats > MOST_REPEATS:
            raise yaml.YAMLError(f"{repeats} repeats of named parts (*name), and the limit is {MOST_REPEATS}")


def _require_single_keys(node: yaml.Node, seen: set[int]) -> None:
    """Refuse a key that stands twice in one table: the second would silently replace the first."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in keys:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key '{key.value[:40]}' stands twice in one table")
            keys.add((key.tag, key.value))
    for each in node.value:
        for part in each if isinstance(each, tuple) else (each,):
            _require_single_keys(part, seen)


def read_yaml(text: str) -> Any:
    """The content of a YAML document; only plain values, tables and lists.

    Raises:
        yaml.YAMLError: it is none, has a key twice in a table, is too long or too deep for settings, or repeats parts
            of itself (``*name``) so often that it would grow without bounds.

    >>> read_yaml("[010, 0o10, 1:30, 1e-3, .5, true]")
    [10, 8, '1:30', 0.001, 0.5, True]
    """
    _require_plain(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_single_keys(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()
