"""Tests that a document or a table names as ``path::name``."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def exists(test: str) -> bool:
    """Whether pytest would collect a test of this name; a path alone is enough.

    The file is read, not imported, so that a page of tests is checked in milliseconds.
    """
    path, *names = test.split("::")
    file = ROOT / path
    if not file.is_file() or not (file.name.startswith("test_") or "/medgen/" in str(file)):
        return False
    body: list[ast.stmt] = ast.parse(file.read_text()).body
    for name in names:
        found = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        if not found or not name.lower().startswith("test"):
            return False
        body = found[0].body
    return True
