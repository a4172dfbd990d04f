"""Which cases the patches of a batch come from, and the one rule that decides whose labels may be opened.

A batch class declares its streams (:mod:`medgen.sampling.batches`); the roles that a case needs, the rows of the table
that preparation is given and the patches follow from them.

**Labels that nobody may see.** :func:`visible` takes the label map away from every row whose streams neither learn nor
place patches by labels, like every other image that they do not read: from the unlabelled domain of an adaptation, from
both sides of an unpaired translation. The file is not opened, so the store has no labels of such a case, and sampling,
validation and the monitor cannot use what it lacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medgen.cases import TARGET, Case, columns_of, is_optional
from medgen.errors import InputError
from medgen.preparation import Roles, StoredCase
from medgen.sampling.batches import ALWAYS, Adaptation, Batch, Stream
from medgen.sampling.patches import PatchConfig, PatchSource
from medgen.sampling.transfer import check_transfer, fit_transfer
from medgen.types import Array

_APART = 0x9E3779B97F4A7C15
"""Sets the random numbers of the streams apart: patch n of two streams must not be the same place."""
_CROP = {"image": "source", "target": "target", "mask": "mask", "body": "body", "label": "label"}
"""How a patch calls the arrays of the store."""


def visible(case: Case, kind: type[Batch], roles: Roles) -> Case:
    """The row of the table with the images that its streams read, and without a label that none of them may see."""
    streams = _streams_of(case, kind, roles)
    arrays = {array for stream in streams for array in stream.fields.values()}
    read: list[tuple[str | None, bool]] = [(role, "image" in arrays) for role in roles.inputs]
    read += [(roles.target, "target" in arrays), (roles.labels, any(stream.sees_labels for stream in streams))]
    kept, hidden = (
        {column for role, seen in read if role and seen is wanted for column in columns_of(role)}
        for wanted in (True, False)
    )
    hidden -= kept
    if not hidden & case.images.keys():
        return case
    return replace(case, images={name: path for name, path in case.images.items() if name not in hidden})


def lacking(case: Case, kind: type[Batch], roles: Roles) -> tuple[str, ...]:
    """Roles that a method with batches of ``kind`` needs of a case, and that the case has no image for.

    A case of split ``test`` needs no mask, and no target beside its inputs: it is only predicted.
    """
    wanting = [_lacking(case, stream, roles) for stream in _streams_of(case, kind, roles)]
    return min(wanting, key=len, default=())


def require_streams(cases: Sequence[Case], kind: type[Batch], roles: Roles) -> None:
    """Refuse training cases of which a stream has none, before any of them is prepared.

    Args:
        cases: of split ``train``, from the case table.
        kind: of the batch.
        roles: of the recipe.

    Raises:
        InputError: a domain has no case, or an image is there for none.
    """
    joined = [_streams_of(case, kind, roles) for case in cases]
    for stream in kind.streams():
        fitting = [case for case, each in zip(cases, joined, strict=True) if stream in each]
        if not any(stream.domain is None or _of_domain(case.domain, stream) for case in fitting):
            raise _without_cases(stream)


class StreamSource:
    """Numbered patches of all streams of a batch: number n joins patch n of each.

    A stream without a domain beside others takes the cases that have its images. The patches of a stream that may not
    see labels are drawn uniformly from the mask, whatever the recipe says: to put them where lesions are takes labels.

    Args:
        kind: of the batch.
        cases: prepared.
        config: of the patches.
        seed: 0 to 2^64 - 1.
        contexts: by case name, the estimate of an earlier stage; see :class:`~medgen.sampling.patches.PatchSource`.
        inputs: names of the channels, which ``config.transfer`` refers to.
        paired_fraction: of a paired stream, see :func:`known_pairs`.

    Raises:
        InputError: a stream has no case, or a case of it lacks an image.
        UsageError: ``config.transfer`` cannot be made.
    """

    def __init__(
        self,
        kind: type[Batch],
        cases: Sequence[StoredCase],
        config: PatchConfig,
        seed: int,
        contexts: Mapping[str, Path] | None = None,
        inputs: Sequence[str] = (),
        paired_fraction: float = 0.0,
    ) -> None:
        streams = kind.streams()
        check_transfer(config.transfer, inputs, adapts=any(stream.domain for stream in streams))
        taken = [_taken(stream, cases, alone=len(streams) == 1) for stream in streams]
        taken = [
            known_pairs(mine, paired_fraction, seed) if stream.paired else mine
            for stream, mine in zip(streams, taken, strict=True)
        ]
        change = fit_transfer(config.transfer, inputs, *split_domains(cases)) if config.transfer else None
        uniform = config.model_copy(update={"sampling": "uniform"})
        self.streams = tuple(
            PatchSource(
                mine,
                config if stream.sees_labels or config.sampling != "balanced" else uniform,
                (seed ^ (number * _APART)) % 2**64,
                contexts if "image" in stream.fields.values() else None,
                change if stream.domain == "source" else None,
                arrays=frozenset(stream.fields.values()),
            )
            for number, (stream, mine) in enumerate(zip(streams, taken, strict=True))
        )
        self._fields = [{field: _CROP[array] for field, array in stream.fields.items()} for stream in streams]

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Patch ``n`` of every stream, by the fields of the batch."""
        joined: dict[str, Array] = {}
        for source, fields in zip(self.streams, self._fields, strict=True):
            patch = source[n]
            joined |= {field: patch[name] for field, name in fields.items()}
        return joined

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The case of patch ``n`` of the first stream, and its centre."""
        return self.streams[0].describe(n)


def known_pairs(cases: Sequence[StoredCase], fraction: float, seed: int) -> tuple[StoredCase, ...]:
    """The share of cases whose pairing is known; at least one. Of the others it is never used.

    Args:
        cases: with both images.
        fraction: above 0, at most 1.
        seed: that of the patches.

    Returns:
        The first ones in the order of SHA-256 of seed and name, so that other cases of the table, or another order of
        its rows, change no more than they must.
    """
    ordered = sorted(cases, key=lambda case: hashlib.sha256(f"{seed}/{case.name}".encode()).digest())
    return tuple(ordered[: max(1, round(fraction * len(ordered)))])


def split_domains(cases: Sequence[StoredCase]) -> tuple[tuple[StoredCase, ...], tuple[StoredCase, ...]]:
    """The cases of the labelled domain and those of the other one.

    Raises:
        InputError: a domain has no case.
    """
    labelled, unlabelled = (_taken(stream, cases, alone=False) for stream in Adaptation.streams())
    return labelled, unlabelled


def _streams_of(case: Case, kind: type[Batch], roles: Roles) -> list[Stream]:
    """The streams that a row belongs to: by its domain where streams have one, else by its images."""
    streams = kind.streams()
    if len(streams) == 1:
        return list(streams)
    if any(stream.domain for stream in streams):
        return [stream for stream in streams if _of_domain(case.domain, stream)]
    return [stream for stream in streams if not _lacking(case, stream, roles)] or list(streams)


def _of_domain(domain: str | None, stream: Stream) -> bool:
    """Cases without a domain count as labelled."""
    return (domain == TARGET) == (stream.domain == TARGET)


def _lacking(case: Case, stream: Stream, roles: Roles) -> tuple[str, ...]:
    arrays, learnt = set(stream.fields.values()), case.split != "test"
    needed: set[str | None] = {role for role in roles.inputs if not is_optional(role)} if "image" in arrays else set()
    needed |= {roles.labels} if "label" in arrays else set()
    needed |= {roles.target} if "target" in arrays and (learnt or "image" not in arrays) else set()
    needed |= {roles.mask} if learnt else set()
    return tuple(role for role in roles.all if role in needed and case.path(role) is None)


def _taken(stream: Stream, cases: Sequence[StoredCase], *, alone: bool) -> tuple[StoredCase, ...]:
    """The prepared cases that a stream draws from."""
    needed = {array for array in stream.fields.values() if array not in ALWAYS}
    if stream.domain is not None:
        taken = tuple(case for case in cases if _of_domain(case.domain, stream))
        if not taken:
            raise _without_cases(stream)
    else:
        taken = tuple(case for case in cases if alone or needed <= case.files)
        if not taken and not alone:
            raise _without_cases(stream)
    for field, array in stream.fields.items():
        if without := [case.name for case in taken if array not in ALWAYS | case.files]:
            raise InputError(
                f"the method learns from '{field}', which {len(without)} cases lack, '{without[0]}' first",
                fix=f"name the role in the recipe's data, and give each case an image for it ({field})",
            )
    return taken


def _without_cases(stream: Stream) -> InputError:
    """The error where no training case belongs to a stream."""
    if stream.domain is not None:
        return InputError(
            f"the method learns from training cases of domain '{stream.domain}', and there is none",
            fix=f"write '{stream.domain}' into the column 'domain' of the case table, or, if it is there, into "
            "data.domains of the recipe",
        )
    if stream.paired:
        return InputError(
            "config.paired_fraction asks for pairs, and no training case has both images",
            fix="add cases of split 'train' with inputs and target to the table, or set config.paired_fraction to 0",
        )
    return InputError(
        f"the method learns from '{next(iter(stream.fields))}', and no training case has an image for it",
        fix="add cases of split 'train' with that image to the table",
    )
