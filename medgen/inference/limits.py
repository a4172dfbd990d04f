"""What one case may take of memory and time, so that a cohort does not end with the largest of its cases."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from medgen.errors import InputError, MemoryExhausted, UsageError
from medgen.inference.memory import FIX, meminfo
from medgen.types import Progress

_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Limits:
    """What one case may take.

    Attributes:
        memory: GB (1e9 bytes) that it may need, by the estimate from its headers; None: all of the machine's.
        minutes: that it may take; looked at after each tile. None: any number.

    Raises:
        UsageError: a limit is not above 0.
    """

    memory: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("memory", self.memory), ("minutes", self.minutes)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"the limit of {name} is {value:g}, expected a number above 0", fix=f"--max-{name} 8")

    def require_memory(self, need: float, sentence: str, where: str | None) -> None:
        """Refuse a case before anything of it is read.

        Args:
            need: bytes.
            sentence: on what needs them.
            where: the file concerned.

        Raises:
            MemoryExhausted: it needs more than the limit.
        """
        limit = total_bytes() if self.memory is None else self.memory * 1e9
        if need > limit:
            whose = "the machine has" if self.memory is None else "the limit (--max-memory) is"
            raise MemoryExhausted(f"{sentence}; {whose} {limit / 1e9:.3g} GB", where=where, fix=FIX)

    def watch(self, progress: Progress | None) -> Progress | None:
        """``progress`` that raises once the time is over, counted from now.

        Raises:
            InputError: by what is returned: the case takes longer than the limit.
        """
        if self.minutes is None:
            return progress
        end = time.monotonic() + 60 * self.minutes

        def watched(done: int, total: int, what: str) -> None:
            if time.monotonic() > end:
                raise InputError(
                    f"the case takes longer than the limit of {self.minutes:g} minutes ({done} of {total} {what} done)",
                    fix="raise --max-minutes, use a GPU, or crop the volume to the part that is needed",
                )
            if progress:
                progress(done, total, what)

        return watched


NO_LIMITS = Limits()
"""All the memory of the machine, and any time."""


def total_bytes() -> float:
    """Memory and swap that this process could have if it were alone; infinite where that is unknown."""
    known = [float(limit) for limit in [resource.getrlimit(resource.RLIMIT_AS)[0]] if limit != resource.RLIM_INFINITY]
    if fields := meminfo():
        known.append(fields["MemTotal"] + fields.get("SwapTotal", 0.0))
    for file in _CGROUP:
        try:
            known.append(float(file.read_text()))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return min(known, default=math.inf)
