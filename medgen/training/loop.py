"""train(): the only training loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from medgen.errors import Diverged, UsageError
from medgen.methods.base import Method, Step, Update
from medgen.recipe.settings import Schedule
from medgen.training.engine import Engine
from medgen.training.watch import Tensors, Watch


class Record(NamedTuple):
    """What one step reports; keys of ``losses`` are ``"<optimizer>/<term>"``."""

    step: int
    losses: dict[str, float]
    learning_rate: dict[str, float]
    skipped: bool = False


def train(
    method: Method,
    optimizers: dict[str, Optimizer],
    batches: Iterable[Any],
    schedule: Schedule,
    engine: Engine,
    *,
    average: AveragedModel | None = None,
    watch: Watch | None = None,
    start: int = 0,
    seed: int = 0,
) -> Iterator[Record]:
    """Train ``method`` in place and yield a record after every step.

    Logging, validation and checkpoints are the ``for`` body of the caller. A step whose loss or gradient is not
    finite is skipped and reported as such; running statistics are put back to what they were before it.

    Updates that come as a tuple are all differentiated on one graph before any of them steps.

    With one micro-batch each optimiser steps as soon as its update was asked for. With several, all of them step at
    the end, each by the mean of its gradients; the losses are computed with all networks as they were before the step.

    Args:
        method: on the engine's device.
        optimizers: those of ``method.optimizers()``, made before the state of an earlier run was loaded.
        batches: micro-batches from step ``start`` on, ``schedule.accumulate`` for each step.
        schedule: steps, learning-rate factor, clipping and accumulation.
        engine: device, precision and processes.
        average: moving average of the weights, updated after every step.
        watch: what it saw of the steps before; a new one by default.
        start: steps that are done already.
        seed: with the number of the step it seeds what is random in the method.

    Yields:
        One record a step.

    Raises:
        Diverged: ten steps in a row were not finite, the losses exploded (:class:`~medgen.training.watch.Watch`), or
            a weight or a running statistic is not finite.
    """
    stream, watch, tensors = iter(batches), watch or Watch(), Tensors(method)
    for step in range(start, schedule.steps):
        tensors.require_training()
        progress = step / schedule.steps
        rates = {name: _set_rate(o, schedule.learning_rate.factor(progress)) for name, o in optimizers.items()}
        micro = [engine.to_device(batch) for batch in islice(stream, schedule.accumulate)]
        before = [buffer.clone() for buffer in tensors.buffers()]
        with engine.reproducible(seed, step):
            losses, finite = _step(method, micro, progress, optimizers, schedule.clip, engine)
        if not finite:
            _put_back(tensors.buffers(), before)
        engine.average_buffers(method)
        if average is not None and finite:
            average.update_parameters(method)
        fault = watch.fault(losses, tensors, skipped=not finite, scaleless=method.scaleless)
        if not engine.everywhere(not fault):
            raise Diverged(
                f"the training diverged at step {step}: {fault or 'in another process'}",
                good=step + 1 - max(1, *engine.gather(watch.since)),
                fix="lower the learning rate, set schedule.clip, or look for bad voxels with 'medgen check'",
            )
        yield Record(step, losses, rates, skipped=not finite)


def moving_average(method: Method, decay: float) -> AveragedModel:
    """Exponential moving average of weights and running statistics.

    The decay grows as ``min(decay, (1 + n) / (10 + n))``, so that a short run is not dominated by its start.
    """

    @torch.no_grad()
    def lerp(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - now)
            else:
                old.copy_(new)

    return AveragedModel(method, multi_avg_fn=lerp, use_buffers=True)


class _Gradients:
    """Gradients by optimiser, until it steps; a parameter of two optimisers has one for each."""

    def __init__(self, optimizers: Mapping[str, Optimizer]) -> None:
        self._owned = {name: [p for group in o.param_groups for p in group["params"]] for name, o in optimizers.items()}
        self._held: dict[str, list[Tensor | None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def add(self, update: Update, share: float, *, keep_graph: bool) -> dict[str, float]:
        """Add those of a share of the losses; the value of each loss."""
        self.put(update.optimizer)
        losses = torch.stack([loss.float() for loss in update.losses.values()])
        owned = self._owned[update.optimizer]
        total = losses.sum() * share
        torch.autograd.backward(total, inputs=owned, retain_graph=keep_graph)  # no other network gets a gradient
        self._held[update.optimizer] = [parameter.grad for parameter in owned]
        named = zip(update.losses, losses.tolist(), strict=True)
        return {f"{update.optimizer}/{term}": value for term, value in named}

    def put(self, name: str) -> list[torch.nn.Parameter]:
        """Give the parameters of an optimiser its gradients, or none."""
        owned = self._owned[name]
        for parameter, gradient in zip(owned, self._held.get(name, repeat(None)), strict=False):
            parameter.grad = gradient
        return owned

    def finish(self, clip: float | None, engine: Engine) -> tuple[list[str], bool]:
        """Average and clip all; the optimisers that have some, and whether all are finite. The next start anew."""
        finite = True
        for name in self._held:
            owned = self.put(name)
            engine.average_gradients(owned)
            finite = math.isfinite(_norm(owned, clip)) and finite
            self._held[name] = [parameter.grad for parameter in owned]
        return list(self._held), finite

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()


def _norm(parameters: Sequence[torch.nn.Parameter], clip: float | None) -> float:
    """Norm of all gradients; they are scaled down to ``clip`` where it is given, and not touched otherwise."""
    if clip:
        return float(clip_grad_norm_(parameters, clip))
    return float(get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None]))


def _step(
    method: Method,
    micro: Sequence[Any],
    progress: float,
    optimizers: dict[str, Optimizer],
    clip: float | None,
    engine: Engine,
) -> tuple[dict[str, float], bool]:
    """All updates of one step over its micro-batches; the mean losses, and whether all was finite."""
    if not micro:
        raise ValueError("the batches ended before the schedule did")
    together, share = len(micro) > 1, 1 / len(micro)
    losses: dict[str, float] = {}
    gradients, finite = _Gradients(optimizers), True
    for batch in micro:
        updates, current, seen = method.updates(batch, progress), dict[str, float](), set[str]()
        while joint := _advance(updates, engine):
            if together:
                _require_once(joint, seen)
            for number, update in enumerate(joint, start=1):
                current |= gradients.add(update, share, keep_graph=number < len(joint))
            finite = finite and all(math.isfinite(value) for value in current.values())
            if not together and not _apply(gradients, finite, optimizers, clip, engine):
                return current, False
        losses = {key: losses.get(key, 0.0) + value * share for key, value in current.items()}
    if together:
        finite = _apply(gradients, finite, optimizers, clip, engine)
    return losses, finite


def _require_once(joint: Sequence[Update], seen: set[str]) -> None:
    for update in joint:
        if update.optimizer in seen:
            raise UsageError(
                f"'{update.optimizer}' steps more than once a batch, so its gradients cannot be accumulated",
                fix="set schedule.accumulate to 1",
            )
        seen.add(update.optimizer)


def _apply(
    gradients: _Gradients, finite: bool, optimizers: dict[str, Optimizer], clip: float | None, engine: Engine
) -> bool:
    """Step all optimisers that have gradients, or none where a loss or gradient of any process is not finite."""
    names, all_finite = gradients.finish(clip, engine)
    if not engine.everywhere(finite and all_finite):
        return False
    for name in names:
        gradients.put(name)
        optimizers[name].step()
    gradients.clear()
    return True


@torch.no_grad()
def _put_back(buffers: Iterable[Tensor], before: Sequence[Tensor]) -> None:
    """Forget what a skipped step did to running statistics: a mean with one NaN in it stays NaN."""
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)


def _advance(updates: Iterator[Step], engine: Engine) -> tuple[Update, ...]:
    """Run the method up to its next update, or several on one graph, in the engine's precision; none at the end."""
    with engine.autocast():
        step = next(updates, None)
    if step == ():
        raise ValueError("a method yielded a joint step without updates")
    return (step,) if isinstance(step, Update) else step or ()


def _set_rate(optimizer: Optimizer, factor: float) -> float:
    """Set every learning rate to ``factor`` times its first value; return the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
    rate: float = optimizer.param_groups[0]["lr"]
    return rate
