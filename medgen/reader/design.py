"""Which cases a reader sees, in which order, and which of them twice.

The order is a pure function of (study seed, reader): two readers see the same cases in different orders, and a reader
who comes back finds the order that they left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgen.errors import UsageError

MOST_REPEATS = 0.5


@dataclass(frozen=True)
class Showing:
    """One case on the screen.

    Attributes:
        case: its number.
        repeat: whether the reader has seen it before.
        images: in the order from left to right.
    """

    case: int
    repeat: bool
    images: tuple[str, ...]


def generator(seed: int, *purpose: str) -> np.random.Generator:
    """Random numbers of a study for one purpose."""
    text = "\n".join((str(seed), *purpose))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def order(cases: Sequence[tuple[str, ...]], repeats: float, seed: int, reader: str) -> tuple[Showing, ...]:
    """What a reader sees, from first to last.

    The first half of the cases comes first; the repeats, all from that half, are hidden between the cases of the
    second half. A repeat comes at least a quarter of the number of cases after its first showing. Pairs are shown
    with sides drawn anew each time.

    Args:
        cases: the images of each case.
        repeats: share of the cases to show twice, 0 to 0.5.
        seed: of the study.
        reader: name.
    """
    random = generator(seed, "order", reader)
    numbers = [int(number) for number in random.permutation(len(cases))]
    first, second = numbers[: (len(cases) + 1) // 2], numbers[(len(cases) + 1) // 2 :]
    count = round(repeats * len(cases))
    early = first[: max(count, len(first) // 2)]  # so that none of them comes again soon
    again = [early[place] for place in sorted(random.permutation(len(early))[:count])]
    places = set(random.permutation(len(second) + count)[:count].tolist())
    fresh, old = iter(second), iter(again)
    later = [(next(old), True) if place in places else (next(fresh), False) for place in range(len(second) + count)]
    return tuple(
        Showing(case, repeat, tuple(random.permutation(cases[case]).tolist()))
        for case, repeat in [*((case, False) for case in first), *later]
    )


def require_sensible(count: int, repeats: float, seed: int) -> None:
    """Refuse settings of a study that make no sense.

    Raises:
        UsageError: an option is out of range.
    """
    if count < 2 or count % 2:
        raise UsageError(f"--count must be even and at least 2, got {count}", fix="e.g. --count 40")
    if not 0 <= repeats <= MOST_REPEATS:
        raise UsageError(f"--repeats must be between 0 and {MOST_REPEATS}, got {repeats:g}", fix="e.g. --repeats 0.2")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}", fix="e.g. --seed 0")
