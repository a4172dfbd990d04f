"""Inner folds over subjects: all studies of a patient are in the same fold."""

from __future__ import annotations

from collections.abc import Sequence

from medgen.cases import subject_of
from medgen.preparation import StoredCase


def deal_folds(cases: Sequence[StoredCase], folds: int) -> list[tuple[StoredCase, ...]]:
    """The cases of each fold: subjects are dealt like cards in the order of the table, each with all its studies."""
    order = {subject: number for number, subject in enumerate(dict.fromkeys(subject_of(case) for case in cases))}
    return [tuple(case for case in cases if order[subject_of(case)] % folds == fold) for fold in range(folds)]
