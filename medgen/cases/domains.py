"""Two domains in one table: which cases have labels that may be seen."""

from __future__ import annotations

from dataclasses import replace

from medgen.cases.case import DOMAINS, Case, columns_of

SOURCE, TARGET = DOMAINS
"""Values of the column ``domain``: the second marks cases to adapt to; every other case has labels."""


def hide_labels(case: Case, role: str) -> Case:
    """The row of the table without its label where it is of the target domain: the file is not even opened."""
    if case.domain != TARGET:
        return case
    hidden = columns_of(role)
    images = {name: path for name, path in case.images.items() if name not in hidden}
    return replace(case, images=images)
