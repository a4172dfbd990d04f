"""Training and test cases of each run of a benchmark, as case tables of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medgen.benchmark.regimes import Regime
from medgen.cases import SOURCE, TARGET, Case, CaseTable, columns_of, read_cases
from medgen.errors import InputError, UsageError
from medgen.files import image_digest
from medgen.preparation import Roles
from medgen.recipe.check import require_images
from medgen.sampling.batches import Adaptation, Labelled

DEFAULT_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """One division of the cases.

    Attributes:
        number: number of the fold, from 0.
        count: number of folds.
        target: test cases of the target domain; no regime uses them in training, not even their images.
        source: test cases of the source domain; may be empty.
    """

    number: int
    count: int
    target: tuple[Case, ...]
    source: tuple[Case, ...]

    @property
    def held_out(self) -> frozenset[str]:
        """Patients that training must not use; a case without a patient counts as one, under its own name."""
        return frozenset(_patient(case) for case in (*self.target, *self.source) if case.split == "test")


def make_folds(table: CaseTable, folds: int | None = None) -> tuple[Fold, ...]:
    """Divide the target domain into folds.

    If there are target cases of split ``test``, there is one fold, which tests on them. If not, the training cases of
    the target domain are divided by the rank of their patients' SHA-256; each is tested once, by networks that were
    trained with neither its images nor its label. Validation cases remain validation cases. Source cases of split
    ``test`` are scored too. If there are none, those of split ``val`` are scored; their scores are optimistic, because
    the weights were selected on them.

    Args:
        table: case table of the user.
        folds: number of folds; by default 1 with test cases, else 5.

    Raises:
        InputError: a domain is empty, or its cases cannot be divided.
        UsageError: several folds, but the table has test cases; more folds than patients; one fold without test cases.
    """
    _require_domains(table)
    source = table.select(split="test", domain=SOURCE) or table.select(split="val", domain=SOURCE)
    if tested := table.select(split="test", domain=TARGET):
        if folds not in (None, 1):
            found = f"{len(tested)} target case{'' if len(tested) == 1 else 's'}"
            raise UsageError(
                f"--folds is {folds}, but the table has {found} of split 'test', which are the only fold",
                where=table.path,
                fix="omit --folds, or change the split of these cases to 'train'",
            )
        return (Fold(0, 1, tested, source),)
    training = table.select(split="train", domain=TARGET)
    patients = {_patient(case) for case in training}
    count = DEFAULT_FOLDS if folds is None else folds
    _require_divisible(len(patients), count, table.path, chosen=folds is not None)
    ranked = sorted(patients, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    places = {name: rank % count for rank, name in enumerate(ranked)}
    return tuple(
        Fold(number, count, tuple(_tested(case) for case in training if places[_patient(case)] == number), source)
        for number in range(count)
    )


def table_of(regime: Regime, table: CaseTable, folds: Sequence[Fold]) -> CaseTable:
    """The case table that a regime trains on.

    Args:
        regime: may name another one than that of the benchmark.
        table: case table of the user.
        folds: of ``table``.

    Raises:
        InputError: the other table is missing or wrong, or lacks a test case as it stands in ``table``. Differences
            between rows would then not be between the same patients, or one of them be trained on.
    """
    if regime.cases is None:
        return table
    path = table.path.parent / regime.cases
    if not path.is_file():
        raise InputError(
            f"the case table of the regime '{regime.name}' does not exist",
            where=path,
            fix=f"write it beside {table.path.name}, or omit the regime",
        )
    own = read_cases(path)
    _require_domains(own)
    first, second = ({case.name: case for case in each.cases} for each in (table, own))
    for name in dict.fromkeys(case.name for fold in folds for case in (*fold.target, *fold.source)):
        if wrong := _difference(first[name], second.get(name)):
            raise InputError(
                f"the regime '{regime.name}' does not have the test cases of {table.path.name}: '{name}' {wrong}",
                where=path,
                fix="give both tables the same rows of test cases; training cases may differ",
            )
    return own


def _difference(case: Case, other: Case | None) -> str:
    """What another table has otherwise of a case; empty if nothing."""
    if other is None:
        return "is missing"
    for what in ("split", "domain", "patient"):
        if getattr(case, what) != getattr(other, what):
            return f"has another {what}"
    for role in sorted({*case.images, *other.images}):
        one, two = case.images.get(role), other.images.get(role)
        if one != two and (one is None or two is None or image_digest(one) != image_digest(two)):
            return f"has another image for {role}"
    return ""


def training_cases(table: CaseTable, regime: Regime, fold: Fold, roles: Roles) -> tuple[Case, ...]:
    """The training and validation cases of a run, without the labels that its regime must not use.

    Args:
        table: the case table that the regime trains on, see :func:`table_of`.
        regime: determines whose images and whose labels are used.
        fold: the held-out cases.
        roles: roles of the run's recipe; other columns are left out.

    Raises:
        InputError: a case lacks an image or a label that the run needs, or no training case is left.
    """
    cases = [case for case in table.cases if case.split != "test" and _patient(case) not in fold.held_out]
    for domain in (*regime.labelled, *regime.unlabelled):
        if not any(case.split == "train" and case.domain == domain for case in cases):
            raise InputError(
                f"the regime '{regime.name}' has no {domain} case to train on",
                where=table.path,
                fix=f"add {domain} cases of patients who are not held out in fold {fold.number}"
                if fold.count > 1
                else f"give {domain} cases the split 'train', or choose other regimes with --regimes",
            )
    rows = []
    for case in cases:
        if case.domain in regime.labelled:
            rows.append(_labelled(_with_columns(case, roles, labels=True)))
        elif case.domain in regime.unlabelled:
            rows.append(_with_columns(case, roles, labels=False))
    require_images(
        rows,
        roles,
        Adaptation,  # the rows of the target domain have no labels in the table of the run
        where=table.path,
        who=f"training cases of the regime '{regime.name}'",
        fix="add them, remove the cases from the table, or choose other regimes with --regimes",
    )
    return tuple(rows)


def tested_cases(cases: Sequence[Case], roles: Roles, where: Path) -> tuple[Case, ...]:
    """The test cases, with the references of their predictions.

    Raises:
        InputError: a case lacks its label or an input image.
    """
    rows = tuple(_tested(_with_columns(case, roles, labels=True)) for case in cases)
    require_images(rows, roles, Labelled, where=where, who="test cases")
    return rows


def split_hash(cases: Iterable[Case], hashes: Mapping[Path, str]) -> str:
    """SHA-256 over the cases of a split and their images: equal hashes prove equal data, whatever the folders.

    Args:
        cases: cases of the split, in any order.
        hashes: SHA-256 of every file in these cases.
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
    """Remove the domain of a labelled target case: in the table of a run, ``target`` means "without labels"."""
    return replace(case, domain=None) if case.domain == TARGET else case


def _patient(case: Case) -> str:
    """The patient, whose studies must stay in one fold."""
    return case.patient or case.name


def _tested(case: Case) -> Case:
    return replace(case, split="test")


def _require_divisible(patients: int, folds: int, where: Path, *, chosen: bool) -> None:
    """Refuse folds without a test patient or without a training patient."""
    if patients < 2:
        one = "there is only one target patient of split 'train', too few for cross-validation"
        raise InputError(
            one if patients else "no target case has the split 'train' or 'test', so there are no test cases",
            where=where,
            fix="add target patients of split 'train', or target cases of split 'test'",
        )
    possible = "2" if patients == 2 else f"from 2 to {patients}"
    testing = "give some target cases the split 'test'"
    if folds < 2:
        raise UsageError(
            f"--folds must be at least 2, because no target case has the split 'test'; got {folds}",
            where=where,
            fix=f"choose --folds {possible}, or {testing}",
        )
    if folds > patients:
        raise UsageError(
            f"{patients} target patients cannot be divided into {folds} folds{'' if chosen else ' (the default)'}",
            where=where,
            fix=f"choose --folds {possible}, or {testing}",
        )


def _require_domains(table: CaseTable) -> None:
    if missing := [case.name for case in table.cases if case.domain is None]:
        raise InputError(
            f"case '{missing[0]}' has no domain",
            where=table.path,
            fix="write 'source' or 'target' into the column 'domain' of every case",
        )
    for domain in (SOURCE, TARGET):
        if not table.select(domain=domain):
            raise InputError(
                f"no case has the domain '{domain}'",
                where=table.path,
                fix=f"add {domain} cases; a benchmark needs source and target",
            )
