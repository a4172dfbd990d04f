"""A few steps on random patches: what a step costs, known before anything is prepared."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medgen.methods.base import Method
from medgen.recipe.settings import Schedule
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train

STEPS = 4
"""The first of them is not measured: libraries load and memory is fetched."""


class Trial(NamedTuple):
    """What a step of training costs.

    Attributes:
        seconds: of a step, without cutting its patches; the median of the steps after the first.
        memory: bytes at the peak, of the device; on a CPU of the process with all of its libraries.
    """

    seconds: float
    memory: int


def try_steps(method: Method, schedule: Schedule, engine: Engine, *, steps: int = STEPS) -> Trial:
    """Train a few steps of a schedule on random patches, with its batch, precision and averaging.

    Args:
        method: new, on any device; its weights are changed.
        schedule: of the run.
        engine: where.
        steps: two or more.

    Raises:
        UsageError: the method steps an optimiser more than once, and gradients are accumulated.
    """
    engine.place(method)
    if engine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(engine.device)
    average = moving_average(method, schedule.averaging) if schedule.averaging else None
    short = schedule.model_copy(update={"steps": steps})
    clock, seconds = time.monotonic(), []
    for _ in train(method, method.optimizers(), _batches(method, schedule, engine), short, engine, average=average):
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        now = time.monotonic()
        seconds.append(now - clock)
        clock = now
    return Trial(sorted(seconds[1:])[len(seconds[1:]) // 2], peak_memory(engine.device))


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of a device, or where that is a CPU, of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _batches(method: Method, schedule: Schedule, engine: Engine) -> Iterator[Any]:
    """Micro-batches of one process: noise for images, any class for labels, ones for masks."""
    kind, shape = method.batches(method.config), method.shape
    count = method.draws * schedule.batch // (schedule.accumulate * engine.world)
    draw = torch.Generator().manual_seed(0)

    def tensor(array: str) -> Tensor:
        channels = {"image": shape.inputs, "target": shape.outputs}.get(array, 1)
        size = (count, channels, *shape.size)
        if array == "label":
            return torch.randint(shape.outputs, size, generator=draw)
        if array in ("mask", "body"):
            return torch.ones(size)
        return torch.rand(size, generator=draw) * 2 - 1

    arrays = {field: array for stream in kind.streams() for field, array in stream.fields.items()}
    batch = kind(**{field: tensor(array) for field, array in arrays.items()})
    while True:
        yield batch
