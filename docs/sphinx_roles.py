"""Shows Sphinx roles in docstrings, such as ``:class:`~medgen.volume.Volume```, as plain code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc):`(~?)([^`]+)`")


class SphinxRoles(Extension):
    """Rewrites docstrings as they are read; nothing of the sources changes."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object, if it has one."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_code, obj.docstring.value)


def _code(match: re.Match[str]) -> str:
    short, name = match.groups()
    return f"`{name.rsplit('.', 1)[-1] if short else name}`"
