"""What is wrong with a network that trains without an error: worse than a constant, blind, or beaten.

Each function looks at one validation and returns a sentence, or nothing. The sentences stand in ``metrics.jsonl``,
those of the weights that became the model also in ``run.json`` and on top of the report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medgen.errors import InputError
from medgen.methods.base import Method, Predicts, Samples, Translates
from medgen.preparation.task import Task
from medgen.run.session import Part, Session
from medgen.run.validation import held_out_batches
from medgen.sampling.parts import centre

IGNORES = 0.01
"""A generator ignores its input if its outputs differ by less than this share of what the truth of them differs by."""
WINS = 0.1
"""A discriminator has won while its loss is below this share of that of one that cannot tell true from false."""
FOR_GOOD = 10
"""Lines of the log, at the least, over which it has won; and the last quarter of its training."""


def worse_than_constant(task: Task, scores: Mapping[str, float], constant: Mapping[str, float]) -> str | None:
    """A validation that the best constant of the training cases would not lose against.

    Args:
        task: of the method.
        scores: of the validation.
        constant: by the same metric, that of the constant; empty where there is none.
    """
    if task.metric not in constant or task.metric not in scores:
        return None
    found, known = scores[task.metric], constant[task.metric]
    if task.sign * found < task.sign * known:
        return None
    return (
        f"the validation is not better than a constant ({task.metric} {found:.4g}, the constant {known:.4g}): "
        "the model has learnt nothing of use yet"
    )


@torch.no_grad()
def ignored_input(network: Method, part: Part, session: Session) -> str | None:
    """A generator that makes the same image whatever it reads, or whatever noise it starts from.

    Args:
        network: of any method; one that makes no images is not looked at.
        part: whose held-out patches are read.
        session: the run.
    """
    if network.batch_class.task().labels or not isinstance(network, Predicts | Translates | Samples):
        return None
    network.eval()
    try:
        batch = next(held_out_batches(network, part.held_out, part.contexts, session))
    except InputError:  # no case has what a stream needs; the validation has said so
        return None
    with session.engine.autocast():
        for what, made, true in _made(network, batch, session):
            if _spread(made) < IGNORES * _spread(centre(true, made)):
                return f"the generator ignores its {what}: it makes the same image of all"
    return None


def _made(network: Method, batch: Any, session: Session) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What differs between the images of a batch, the images that are made of it, and true ones."""
    if isinstance(network, Translates):
        yield "input", network.predict(batch.source, "forward"), batch.target
        yield "input", network.predict(batch.target, "backward"), batch.source
    elif isinstance(network, Predicts):
        yield "input", network.predict(batch.source), batch.target
    elif isinstance(network, Samples):
        generator = torch.Generator(session.engine.device).manual_seed(session.recipe.seed)
        yield "noise", network.sample(len(batch.image), generator), batch.image


def _spread(images: Tensor) -> float:
    """The mean over voxels of the standard deviation over a batch."""
    return float(images.float().std(dim=0).mean())


def winning_discriminator(log: Path, part: str, method: Method) -> str | None:
    """A discriminator that has been sure for so long that a generator has nothing left to learn from it.

    Args:
        log: ``metrics.jsonl``.
        part: the network.
        method: says which of its optimisers are of discriminators.
    """
    for name, chance in method.opponents.items():
        totals = [
            sum(value for value in losses.values())
            for losses in _losses(log, part, name)
            if all(math.isfinite(value) for value in losses.values())
        ]
        last = totals[-max(FOR_GOOD, len(totals) // 4) :]
        if len(last) >= FOR_GOOD and max(last) < WINS * chance:
            return (
                f"the {name} has won for good (its loss is at most {max(last):.2g}, and {chance:.2g} where it cannot "
                "tell true from false): the generator learns nothing from it; lower its learning rate or its weight"
            )
    return None


def _losses(log: Path, part: str, optimizer: str) -> Iterator[dict[str, float]]:
    """The losses of an optimiser in each line of the log that has some."""
    for line in log.read_text().splitlines() if log.is_file() else ():
        record = json.loads(line)
        if record["part"] == part and "losses" in record:
            losses = {
                name: math.nan if value is None else float(value)
                for name, value in record["losses"].items()
                if name.startswith(f"{optimizer}/")
            }
            if losses:
                yield losses


def kept_warnings(log: Path, done: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The warnings about the weights that became a model.

    Args:
        log: ``metrics.jsonl``.
        done: by part, its ``done.json``.

    Returns:
        Sentences that begin with the name of the part: of the validation whose weights are kept, or else of the last.
    """
    found: dict[str, dict[int, list[str]]] = {}
    for line in log.read_text().splitlines() if log.is_file() else ():
        record = json.loads(line)
        if "warnings" in record:
            found.setdefault(record["part"], {})[int(record["step"]) + 1] = record["warnings"]
    sentences = []
    for part, facts in sorted(done.items()):
        steps = found.get(part, {})
        kept = facts.get("best_step", facts.get("healthy_step"))
        at_kept = steps.get(kept if kept in steps else max(steps, default=0), [])
        sentences += [f"{part}: {text}" for text in (*facts.get("warnings", ()), *at_kept)]
    return sentences
