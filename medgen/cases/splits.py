"""Splits that depend on names alone, so that the same folder always gives the same split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from medgen.errors import UsageError
from medgen.types import Split


def assign_splits(groups: Sequence[str], *, validation: float = 0.2, test: float = 0.0) -> dict[str, Split]:
    """Give each group (a patient) a split by the rank of its name's SHA-256.

    Everything of one patient goes to one split. The order of ``groups`` and repetitions do not matter.

    Args:
        groups: names of patients.
        validation: fraction in [0, 1) for ``val``; at least one patient where there are two or more and it is not 0.
        test: fraction in [0, 1) for ``test``, likewise.

    Raises:
        UsageError: the fractions leave nothing to train on.

    >>> assign_splits(["anna", "ben", "cara", "dora"], validation=0.25)
    {'anna': 'val', 'ben': 'train', 'cara': 'train', 'dora': 'train'}
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UsageError(
            f"fractions of {validation:g} for validation and {test:g} for test leave nothing to train on",
            fix="choose --validation and --test that are not negative and add up to less than 1",
        )
    names = sorted(set(groups))
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    tests = _count(test, len(names), keep=1)
    held = _count(validation, len(names), keep=1 + tests)
    chosen = set(ranked[:tests]), set(ranked[tests : tests + held])
    return {name: "test" if name in chosen[0] else "val" if name in chosen[1] else "train" for name in names}


class HasSubject(Protocol):
    """A row of the case table, or the same row prepared."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def split(self) -> str: ...  # noqa: D102

    @property
    def patient(self) -> str | None: ...  # noqa: D102


def subject_of(case: HasSubject) -> str:
    """The patient of a case, all of whose studies are one subject."""
    return case.patient or case.name


def subjects_of(cases: Sequence[HasSubject]) -> int:
    """How many subjects the cases are of."""
    return len({subject_of(case) for case in cases})


def split_warnings(cases: Sequence[HasSubject]) -> tuple[str, ...]:
    """What a training on these cases cannot do: be validated, or learn how patients differ."""
    training, warnings = [case for case in cases if case.split == "train"], []
    if not training:
        return ("no case has split 'train': nothing can be trained on",)
    if not any(case.split == "val" for case in cases):
        warnings.append(
            "no case has split 'val': nothing is validated, and the weights of the last step become the model"
        )
    if subjects_of(training) == 1:
        warnings.append("there is one training subject: the model will know that patient, and no other")
    return tuple(warnings)


def _count(fraction: float, number: int, keep: int) -> int:
    """How many of ``number`` make up ``fraction``, leaving ``keep`` at least."""
    wanted = max(round(fraction * number), 1) if fraction > 0 else 0
    return max(min(wanted, number - keep), 0)
