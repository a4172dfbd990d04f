"""When memory runs out: thriftier ways to the same result, tried in turn, and the memory needed where none is left."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from medgen.errors import MemoryExhausted
from medgen.methods.base import Window
from medgen.recipe.prediction import round_up

Result = TypeVar("Result")

_CPU = torch.device("cpu")
_SIGNS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "Unable to allocate")

_FLOOR, _PER_BYTE = 0.1e9, 5.5
"""Bytes for the tiles of a small network, and peak bytes for each byte of the volume as float32 with one input
(measured by ``pipelines/speed/inference_memory.py`` on 512 x 512 x 200 voxels), beyond what is loaded already."""
FIX = "use a machine with more memory, or crop the volume to the part that is needed"
"""What to do about a volume that does not fit."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Where a volume is predicted, and in what pieces.

    Attributes:
        device: where the network runs.
        stitch_on: where the tiles are added up.
        batch: tiles that go through the network together.
        size: largest edges of a tile's input in voxels; 1 across slices.
    """

    device: torch.device
    stitch_on: torch.device
    batch: int
    size: tuple[int, int, int]


def thriftier(plan: Plan, window: Window) -> tuple[Plan, str] | None:
    """The next plan that needs less memory, with a sentence on it; None where there is none.

    The tile is only halved for networks with a margin or a halo: another same-size network gives other values with
    another tile, and the same patient must not get another image on a smaller GPU. An exact tile stays as it is.

    Args:
        plan: the one that did not fit.
        window: of the network.
    """
    if plan.batch > 1:
        return replace(plan, batch=1), "one tile at a time"
    if plan.stitch_on != _CPU:
        return replace(plan, stitch_on=_CPU), "tiles added up in the memory of the CPU"
    lost = max(window.margin, window.halo)
    x, y, z = (min(edge, round_up(max(edge // 2, 4 * lost), window.multiple)) for edge in plan.size)
    if lost and not window.exact and (x, y, z) != plan.size:
        return replace(plan, size=(x, y, z)), f"tiles of {x} x {y} x {z} voxels"
    if plan.device != _CPU:
        return replace(plan, device=_CPU), "the network on the CPU, which is slow"
    return None


def within_memory(
    attempt: Callable[[Plan], Result], plan: Plan, window: Window, *, need: str
) -> tuple[Result, tuple[str, ...]]:
    """Call ``attempt`` with ever thriftier plans until one fits.

    Args:
        attempt: the work; it starts from the beginning each time.
        plan: the first to try.
        window: of the network.
        need: the memory needed, for the message.

    Returns:
        What ``attempt`` returned, and one note for each step down.

    Raises:
        MemoryExhausted: the thriftiest plan does not fit either.
    """
    notes: list[str] = []
    while True:
        try:
            return attempt(plan), tuple(notes)
        except Exception as error:
            if not out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:120] or type(error).__name__
        # Outside the handler: the traceback would keep the tensors that did fit alive.
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
        step = thriftier(plan, window)
        if step is None:
            raise MemoryExhausted(f"out of memory ({reason}); {need}", fix=FIX)
        notes.append(f"out of memory on {plan.device}; went on with {step[1]}")
        log.warning(notes[-1])
        plan = step[0]


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch, on any device, ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def memory_errors(need: str) -> Iterator[None]:
    """Turn "out of memory" into a :class:`~medgen.errors.MemoryExhausted` with the memory that was needed."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise MemoryExhausted(f"out of memory; {need}", fix=FIX) from error


def expected_need(voxels: float, inputs: int, outputs: int = 1) -> float:
    """Bytes that predicting a volume takes at its peak, roughly, beyond what is loaded already.

    Args:
        voxels: of the patient's own grid or the prepared one, whichever has more.
        inputs: images that are read.
        outputs: channels that the network makes.
    """
    return _FLOOR + voxels * 4 * (_PER_BYTE + 2 * (inputs - 1) + (outputs - 1))


def free_bytes() -> float | None:
    """Memory that this process may still take, or None where that is unknown."""
    known = []
    if fields := meminfo():
        known.append(fields["MemAvailable"])
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    status = Path("/proc/self/statm")
    if limit != resource.RLIM_INFINITY and status.exists():
        known.append(limit - float(int(status.read_text().split()[0]) * resource.getpagesize()))
    return min(known, default=None)


def meminfo() -> dict[str, float]:
    """The kernel's numbers on memory in bytes, by name; none on systems without them."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return {}
    lines = (line.split(":", 1) for line in file.read_text().splitlines())
    return {name: 1024.0 * int(number.split()[0]) for name, number in lines if number.endswith(" kB")}
