"""Which cases each run of a benchmark trains on and which it is tested on, as case tables of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgen.benchmark.regimes import Regime
from medgen.cases import Case, CaseTable, columns_of
from medgen.errors import InputError, UsageError
from medgen.preparation import Roles

DEFAULT_FOLDS = 5
SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class Fold:
    """One way of dividing the cases.

    Attributes:
        number: from 0.
        count: of folds.
        target: cases of the target domain to be tested on; no regime trains on them in any way.
        source: cases of the source domain to be tested on; may be empty.
    """

    number: int
    count: int
    target: tuple[Case, ...]
    source: tuple[Case, ...]

    @property
    def held_out(self) -> frozenset[str]:
        """Patients that training must not see; a case without one goes by its own name."""
        return frozenset(_patient(case) for case in (*self.target, *self.source) if case.split == "test")


def make_folds(table: CaseTable, folds: int | None = None) -> tuple[Fold, ...]:
    """Divide the target domain.

    With target cases of split ``test`` there is one fold, which tests on them. Without, the training cases of the
    target domain are dealt out by the rank of their patients' SHA-256, and each is tested on once, by networks that saw
    neither its images nor its label. Validation cases stay what they are. Source cases of split ``test`` are scored
    too; without such, those of split ``val``, which have chosen the weights and flatter them.

    Args:
        table: of the user.
        folds: how many; by default 1 with test cases, else 5.

    Raises:
        InputError: a domain is empty, or a target case to be tested on has no place.
        UsageError: several folds of a table that has test cases; more folds than cases; one fold without test cases.
    """
    _require_domains(table)
    source = table.select(split="test", domain=SOURCE) or table.select(split="val", domain=SOURCE)
    if tested := table.select(split="test", domain=TARGET):
        if folds not in (None, 1):
            raise UsageError(
                f"the table has {len(tested)} target cases of split 'test', so there is one fold and not {folds}",
                where=table.path,
                fix="leave --folds out, or give these cases the split 'train'",
            )
        return (Fold(0, 1, tested, source),)
    training = table.select(split="train", domain=TARGET)
    patients = {_patient(case) for case in training}
    count = DEFAULT_FOLDS if folds is None else folds
    if not 2 <= count <= len(patients):
        raise UsageError(
            f"{len(patients)} target cases cannot be divided into {count} folds",
            where=table.path,
            fix="choose --folds of at least 2 and at most the number of cases, or give some the split 'test'",
        )
    ranked = sorted(patients, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    places = {name: rank % count for rank, name in enumerate(ranked)}
    return tuple(
        Fold(number, count, tuple(_tested(case) for case in training if places[_patient(case)] == number), source)
        for number in range(count)
    )


def training_cases(table: CaseTable, regime: Regime, fold: Fold, roles: Roles) -> tuple[Case, ...]:
    """The rows that a run trains on and validates with; labels that the regime must not see are not in them.

    Args:
        table: of the user.
        regime: whose images and whose labels.
        fold: what is held out.
        roles: of the run's recipe; other columns are left out.

    Raises:
        InputError: a labelled case has no label, or nothing is left to train on.
    """
    cases = [case for case in table.cases if case.split != "test" and _patient(case) not in fold.held_out]
    for domain in (*regime.labelled, *regime.unlabelled):
        if not any(case.split == "train" and case.domain == domain for case in cases):
            raise InputError(
                f"the regime '{regime.name}' has no {domain} case to train on",
                where=table.path,
                fix="add cases of split 'train', or choose fewer folds",
            )
    rows = []
    for case in cases:
        if case.domain in regime.labelled:
            _require_label(case, regime, roles, table.path)
            rows.append(_labelled(_with_columns(case, roles, labels=True)))
        elif case.domain in regime.unlabelled:
            rows.append(_with_columns(case, roles, labels=False))
    return tuple(rows)


def tested_cases(cases: Sequence[Case], roles: Roles, where: Path) -> tuple[Case, ...]:
    """The rows of the table that predictions are scored against.

    Raises:
        InputError: one has no label to be scored against.
    """
    rows = tuple(_tested(_with_columns(case, roles, labels=True)) for case in cases)
    for case in rows:
        if case.path(str(roles.labels)) is None:
            raise InputError(
                f"the test case '{case.name}' has no label ({roles.labels}) to be scored against",
                where=where,
                fix="add it, or take the case out of the table",
            )
    return rows


def split_hash(cases: Iterable[Case], hashes: Mapping[Path, str]) -> str:
    """SHA-256 of who is in a split with which images: equal hashes prove equal data, whatever the folders.

    Args:
        cases: of the split, in any order.
        hashes: SHA-256 of every file that they name.
    """
    return digest(sorted(_row(case, hashes) for case in cases))


def digest(content: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _row(case: Case, hashes: Mapping[Path, str]) -> list[Any]:
    files = sorted([role, hashes[path]] for role, path in case.images.items())
    return [case.name, case.split, case.domain or "", files]


def _with_columns(case: Case, roles: Roles, *, labels: bool) -> Case:
    wanted = {column for role in (*roles.inputs, roles.mask) if role for column in columns_of(role)}
    label = set(columns_of(roles.labels)) if roles.labels else set()
    wanted = wanted | label if labels else wanted - label
    return replace(case, images={role: path for role, path in case.images.items() if role in wanted})


def _labelled(case: Case) -> Case:
    """In the table of a run the domain ``target`` marks cases without labels: one that has them gets none."""
    return replace(case, domain=None) if case.domain == TARGET else case


def _patient(case: Case) -> str:
    """Whose studies stay together."""
    return case.patient or case.name


def _tested(case: Case) -> Case:
    return replace(case, split="test")


def _require_label(case: Case, regime: Regime, roles: Roles, where: Path) -> None:
    if case.path(str(roles.labels)) is None:
        raise InputError(
            f"the regime '{regime.name}' learns from the labels of the {case.domain} domain, and case '{case.name}' "
            f"has none",
            where=where,
            fix="add the label, or choose regimes that do not need it with --regimes",
        )


def _require_domains(table: CaseTable) -> None:
    if homeless := [case.name for case in table.cases if case.domain is None]:
        raise InputError(
            f"case '{homeless[0]}' has no domain",
            where=table.path,
            fix="write 'source' or 'target' into the column 'domain' of every case",
        )
    for domain in (SOURCE, TARGET):
        if not table.select(domain=domain):
            raise InputError(
                f"no case has the domain '{domain}'", where=table.path, fix="a benchmark compares two domains"
            )
