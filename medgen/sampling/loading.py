"""Batches of numbered patches, cut here or by workers, shared between processes by arithmetic."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from medgen.errors import MemoryExhausted, UsageError
from medgen.sampling.patches import Patches
from medgen.types import Array

Batch = TypeVar("Batch")
_DEAD = "DataLoader worker (pid"
"""In what torch raises for a dead worker; an error that a worker passes on says "in DataLoader worker process"."""
_REPORTED_WITHIN = 1.0
"""Seconds from a broken connection to the system's report that the worker at its other end is dead."""


def patch_batches(
    source: Patches,
    kind: type[Batch],
    *,
    batch: int,
    start: int,
    stop: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The batches of steps ``start`` to ``stop - 1``.

    Step k consists of patches ``k * batch`` to ``k * batch + batch - 1``; process ``rank`` of ``world`` gets those
    whose number is ``rank`` modulo ``world``. The global random state is neither read nor changed.

    Args:
        source: of the patches.
        kind: a NamedTuple of :mod:`medgen.sampling.batches`, whose fields the patches have.
        batch: patches a step, over all processes.
        start: first step.
        stop: step to stop before.
        workers: processes that cut patches ahead; 0 cuts them here, as a daemonic process must.
        rank: this process.
        world: number of processes.

    Raises:
        UsageError: the batch cannot be shared out evenly.
    """
    import torch
    from torch.utils.data import DataLoader

    if batch % world:
        raise UsageError(f"a batch of {batch} cannot be shared by {world} processes", fix="choose a multiple of it")
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    loader: Any = DataLoader(
        source,  # type: ignore[arg-type]
        batch_sampler=_Steps(batch, start, stop, rank, world),
        collate_fn=_Stack(kind, fields),
        num_workers=workers,
        worker_init_fn=_let_the_parent_decide,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the global state
    )
    yield from loader


@contextmanager
def worker_errors() -> Iterator[None]:
    """Say what it means that a worker is gone.

    When one is killed its connections break first, which raises wherever a patch is being received; torch raises
    wherever the main thread is when the system reports the death, and that may be a moment later.

    Raises:
        MemoryExhausted: a worker was killed.
    """
    try:
        yield
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        if not _worker_died(error):
            raise
        raise MemoryExhausted(
            "a process that loads patches was killed, probably for want of memory",
            fix="set schedule.workers to fewer, or to 0 (the patches are then cut in the training process), and resume "
            "with --resume",
        ) from error


def _worker_died(error: Exception) -> bool:
    """Whether torch says so, or does within a second of a broken connection, so that it does not raise later."""
    told = _DEAD in str(error)
    try:
        if told or not isinstance(error, RuntimeError):
            time.sleep(_REPORTED_WITHIN)
    except RuntimeError as report:
        if _DEAD not in str(report):
            raise
        told = True
    return told


class _Steps:
    """The numbers of the patches of each step."""

    def __init__(self, batch: int, start: int, stop: int, rank: int, world: int) -> None:
        self.batch, self.start, self.stop, self.rank, self.world = batch, start, stop, rank, world

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield [n for n in range(step * self.batch, (step + 1) * self.batch) if n % self.world == self.rank]


class _Stack:
    """Patches to one batch of tensors; a class, so that it can be sent to a worker."""

    def __init__(self, kind: type[Any], fields: tuple[str, ...]) -> None:
        self.kind, self.fields = kind, fields

    def __call__(self, patches: list[dict[str, Array]]) -> Any:
        import torch

        return self.kind(*(torch.from_numpy(np.stack([patch[name] for patch in patches])) for name in self.fields))


def _let_the_parent_decide(worker: int) -> None:
    """A pre-empted run is told by a signal to its whole group; its workers must live until it has saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
