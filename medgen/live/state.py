"""How far a run is, from the files that it writes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen.errors import InputError
from medgen.recipe.settings import load_recipe
from medgen.run.pace import in_words

LOG = "metrics.jsonl"
_QUIET = 600.0
"""Seconds without a record after which a run is said to be silent; a validation of whole cases takes minutes."""


@dataclass
class Watched:
    """One run, looked at again and again.

    Args:
        run: its folder.
        clock: seconds since the epoch.

    Raises:
        InputError: it is no run.
    """

    run: Path
    clock: Callable[[], float] = time.time
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.run / "recipe.yaml").is_file():
            fix = "name the folder of 'medgen train --out'"
            raise InputError("there is no run here", where=self.run, fix=fix)
        self.steps = load_recipe(self.run / "recipe.yaml").schedule.steps

    @property
    def ended(self) -> bool:
        """Whether it has its model."""
        return (self.run / "model" / "model.json").is_file()

    def version(self) -> tuple[int, ...]:
        """Changes whenever the page would: the log, a checkpoint, the model."""
        files = [self.run / LOG, self.run / "run.json", self.run / "model" / "model.json", *self.checkpoints()]
        return tuple(when for file in files if (when := written(file)) is not None)

    def checkpoints(self) -> list[Path]:
        """What pictures can be made with before there is a model, the newest last."""
        files = [*self.run.glob("checkpoints/*/step-*.pt"), *self.run.glob("checkpoints/*/final.safetensors")]
        times = {file: when for file in files if (when := written(file)) is not None}
        return sorted(times, key=times.__getitem__)

    def sentence(self) -> str:
        """Which network is at which step, the time of a step as far as it was seen, and the time left."""
        if self.ended:
            return "The training has ended."
        path = self.run / LOG
        last = last_record(path)
        if last is None:
            return "The training begins: images are prepared."
        part, step = str(last["part"]), int(last["step"])
        quiet = self.clock() - path.stat().st_mtime
        told = f"In training: {part}, step {step} of {self.steps}"
        when, first = self._seen.setdefault(part, (path.stat().st_mtime, step))
        if step > first:
            each = (path.stat().st_mtime - when) / (step - first)
            told += f", {each:.2g} s a step, {in_words(each * (self.steps - step))} left for this network"
        if quiet > _QUIET:
            told += f". Nothing was written for {in_words(quiet)}: a long validation, or the training has stopped"
        return told + "."


def written(path: Path) -> int | None:
    """When a file was written, in ns; None where it is none, or no longer: a training removes its old checkpoints."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def last_record(path: Path) -> dict[str, Any] | None:
    """The last whole line of a log; None where there is none."""
    if not path.is_file():
        return None
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        try:
            record = json.loads(line)
        except ValueError:  # torn by a kill, or being written
            continue
        if isinstance(record, dict) and {"part", "step"} <= record.keys():
            return record
    return None
