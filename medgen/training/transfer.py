"""Weights of another run as the start of a training: which tensors match, and which do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

from medgen.errors import UsageError
from medgen.methods.base import Method

_NAMED = 4
"""Tensors that are named in a line; the others are counted."""


class Match(NamedTuple):
    """How the tensors of a method and of an origin belong together.

    Attributes:
        taken: by name in the method, the name in the origin; both have one shape.
        other_shape: by name in the method, the shape that it has there and in the origin.
        ambiguous: by part of the method, the parts of the origin that fit it equally well; none is taken.
        without: names in the method that the origin has nothing for.
        unused: names in the origin that nothing was made of.
    """

    taken: dict[str, str]
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    ambiguous: dict[str, tuple[str, ...]]
    without: tuple[str, ...]
    unused: tuple[str, ...]


def match(needed: Mapping[str, Tensor], origin: Mapping[str, Tensor]) -> Match:
    """Pair tensors by name; a part that the origin knows under another name, by the names below it.

    A part is what stands before the first dot. One of which the origin has no tensor by name is paired with the part of
    the origin that has the most weights of the same names and shapes below it. Where several fit equally well, as the
    generators of two directions do, none is chosen. What a part took by its own name, or fits better than others, goes
    to no other part, and what two parts fit equally well goes to neither, unless one began as a copy of the other, as a
    teacher does: two networks that are to disagree must not begin alike.

    Args:
        needed: ``state_dict()`` of the method.
        origin: weights of another one.
    """
    parts, known = _parts(needed), _parts(origin)
    taken: dict[str, str] = {}
    other: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    by_name = {part for part, tensors in parts.items() if set(tensors.values()) & set(known.get(part, {}).values())}
    for part, tensors in parts.items():
        free = {
            name: each
            for name, each in known.items()
            if name == part or name not in by_name or _copies(needed, tensors, parts[name])
        }
        candidates = (part,) if part in by_name else _alike(needed, part, parts, origin, free)
        if len(candidates) > 1:
            ambiguous[part] = candidates
        if len(candidates) != 1:
            continue
        found = free[candidates[0]]
        for rest in tensors.keys() & found.keys():
            name, theirs = tensors[rest], found[rest]
            if needed[name].shape == origin[theirs].shape:
                taken[name] = theirs
            else:
                other[name] = (tuple(needed[name].shape), tuple(origin[theirs].shape))
    used = set(taken.values())
    return Match(
        {name: taken[name] for name in needed if name in taken},
        {name: other[name] for name in needed if name in other},
        ambiguous,
        tuple(name for name in needed if name not in taken and name not in other),
        tuple(name for name in origin if name not in used),
    )


def compare(method: Method, origin: Mapping[str, Tensor]) -> Match:
    """What :func:`take` would give an untrained method.

    Raises:
        UsageError: no weight matches.
    """
    state = method.state_dict()
    found = match(state, origin)
    if not any(_is_weight(state[name]) for name in found.taken):
        raise UsageError(
            f"no weight matches: none of {len(state)} tensors of the method has a name and a shape of the origin's "
            f"{len(origin)}",
            fix="start from a run with the same networks, or leave --init-from out",
        )
    return found


@torch.no_grad()
def take(method: Method, origin: Mapping[str, Tensor]) -> Match:
    """Give a method the weights and statistics of an origin that match; its ``memory()`` stays new.

    Optimisers hold the parameters themselves, so they may be made before or after.

    Raises:
        UsageError: no weight matches. Nothing is changed.
    """
    found, state = compare(method, origin), method.state_dict()
    for name, theirs in found.taken.items():
        state[name].copy_(origin[theirs])
    return found


def in_words(found: Match) -> tuple[str, ...]:
    """What matched and what did not, a line for each part of the method and one for what the origin has besides."""
    taken, lines = _by_part(found.taken), []
    missing, other = _by_part(found.without), _by_part(found.other_shape)
    for part in dict.fromkeys((*taken, *other, *missing)):
        count = len(taken.get(part, ()))
        text = f"{part}: {count} of {sum(len(each.get(part, ())) for each in (taken, missing, other))} tensors"
        if count:
            theirs = dict.fromkeys(found.taken[name].partition(".")[0] for name in taken[part])
            text += f" from {', '.join(theirs)}"
        if part in other:
            shapes = [
                f"{name} ({_shape(found.other_shape[name][0])}, there {_shape(found.other_shape[name][1])})"
                for name in other[part]
            ]
            text += f"; of another shape: {_some(shapes)}"
        if part in found.ambiguous:
            text += f"; {' and '.join(found.ambiguous[part])} fit equally well, so none is taken"
        elif part in missing:
            text += f"; without a match: {_some(missing[part])}" if count or part in other else "; without a match"
        lines.append(text)
    if found.unused:
        unused = (f"{part} ({len(names)})" for part, names in _by_part(found.unused).items())
        lines.append(f"not used of the origin: {', '.join(unused)}")
    return tuple(lines)


def _by_part(names: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(name.partition(".")[0], []).append(name)
    return grouped


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """By part, the full name of each tensor by what stands below the modules that hold all weights of the part."""
    parts = {}
    for part, names in _by_part(tensors).items():
        # A teacher writes the dots of its student's names as slashes.
        dotted = {name: name.replace("/", ".") for name in names}
        paths = [dotted[name].split(".")[:-1] for name in names if _is_weight(tensors[name])] or [[part]]
        common = takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
        shared = "".join(f"{level[0]}." for level in common)
        parts[part] = {each.removeprefix(shared): name for name, each in dotted.items()}
    return parts


def _copies(needed: Mapping[str, Tensor], one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether all weights of a part are those of another."""
    weights = [(name, other.get(rest)) for rest, name in one.items() if _is_weight(needed[name])]
    return bool(weights) and all(theirs and torch.equal(needed[name], needed[theirs]) for name, theirs in weights)


def _alike(
    needed: Mapping[str, Tensor],
    part: str,
    parts: Mapping[str, Mapping[str, str]],
    origin: Mapping[str, Tensor],
    known: Mapping[str, Mapping[str, str]],
) -> tuple[str, ...]:
    """The parts of the origin with the most weights of the same names and shapes, and that fit no other part as well.

    A part that began as a copy is no other part.
    """
    others = [tensors for tensors in parts.values() if not _copies(needed, parts[part], tensors)]
    counts = {}
    for theirs, found in known.items():
        mine = _fitting(needed, parts[part], origin, found)
        counts[theirs] = mine if all(_fitting(needed, each, origin, found) < mine for each in others) else 0
    most = max(counts.values(), default=0)
    return tuple(theirs for theirs, count in counts.items() if most and count == most)


def _fitting(
    needed: Mapping[str, Tensor], tensors: Mapping[str, str], origin: Mapping[str, Tensor], found: Mapping[str, str]
) -> int:
    """Weights of a part of the method that a part of the origin has with the same name and shape."""
    return sum(
        _is_weight(needed[name]) and rest in found and origin[found[rest]].shape == needed[name].shape
        for rest, name in tensors.items()
    )


def _is_weight(tensor: Tensor) -> bool:
    """Whether it is a kernel or a matrix: a bias or a statistic of the right length says nothing of a network."""
    return tensor.is_floating_point() and tensor.ndim > 1
