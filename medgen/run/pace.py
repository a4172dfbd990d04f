"""How far a run is, over all of its networks, and how long the rest will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

MEASURED = 10
"""Steps after the first from which a step's time is told."""


class Pace:
    """Counts the steps of one session; the first is left out, since libraries load in it.

    Args:
        networks: names of the networks in the order of their training.
        steps: of each.
        clock: seconds.
    """

    def __init__(self, networks: tuple[str, ...], steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._networks, self._steps, self._clock = networks, steps, clock
        self._taken, self._began = -1, 0.0
        self.seconds_a_step: float | None = None
        """Measured on the first steps of this session, with cutting patches and without validation."""

    def step(self, network: str, done: int) -> str:
        """Note a step of ``network``, of which ``done`` are done in all; what to show of it."""
        now, self._taken = self._clock(), self._taken + 1
        number = self._networks.index(network)
        left = (len(self._networks) - number) * self._steps - done
        told = network if len(self._networks) == 1 else f"network {number + 1} of {len(self._networks)}, {network}"
        if self._taken == 0:
            self._began = now
            return told
        each = (now - self._began) / self._taken
        if self._taken == min(MEASURED, self._steps - 1) and self.seconds_a_step is None:
            self.seconds_a_step = each
            log.info("%s a step on the first steps: %s", f"{each:.3g} s", f"about {in_words(left * each)} for the rest")
        return f"{told}, {each:.2g} s a step, {in_words(left * each)} left{' in all' * (len(self._networks) > 1)}"


def in_words(seconds: float) -> str:
    """A time in the two largest units.

    >>> in_words(42), in_words(754), in_words(8000), in_words(200000)
    ('42 s', '12 min 34 s', '2 h 13 min', '2 d 7 h')
    """
    whole = round(seconds)
    for unit, size, next_unit, next_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // next_size} {next_unit}"
    return f"{whole} s"
