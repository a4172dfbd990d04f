"""The log of a run: ``metrics.jsonl``, which survives a kill, and TensorBoard where it was asked for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.files import atomic_path, plain, storage_errors

log = logging.getLogger(__name__)


class RunLog:
    """Appends one JSON object a line.

    Args:
        folder: the run.
        tensorboard: also write event files to ``folder/tensorboard``.

    Raises:
        UsageError: TensorBoard was asked for and is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        self._writer = _summary_writer(folder / "tensorboard") if tensorboard else None

    def rewind(self, part: str, step: int) -> None:
        """Forget what a killed run wrote of ``part`` after its checkpoint at ``step``, and a torn last line."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record["part"] != part or record["step"] < step:
                kept.append(line + "\n")
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(kept))

    def write(self, part: str, step: int, **values: Any) -> None:
        """Append a record, e.g. ``losses={"generator/mse": 0.1}``; a number that is not finite becomes ``null``."""
        line = json.dumps(plain({"part": part, "step": step, **values}), allow_nan=False)
        with storage_errors(self.path), self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
        if self._writer is not None:
            self._mirror(part, step, values)

    def _mirror(self, part: str, step: int, values: Mapping[str, Any]) -> None:
        assert self._writer is not None
        try:
            for group, numbers in values.items():
                for name, number in numbers.items() if isinstance(numbers, Mapping) else ():
                    self._writer.add_scalar(f"{part}/{group}/{name}", number, step)
        except OSError as error:  # the tracker is a mirror: training and metrics.jsonl go on
            log.warning("TensorBoard could not be written (%s); metrics.jsonl is complete", error.strerror)
            self._writer = None

    def close(self) -> None:
        """Flush everything to the disk."""
        if self._writer is not None:
            self._writer.close()
        if self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def require_tensorboard() -> None:
    """Refuse a log that needs TensorBoard where it is not installed.

    Raises:
        UsageError: it is not.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise UsageError(
            "schedule.tensorboard is on and TensorBoard is not installed", fix="pip install 'medgen[tensorboard]'"
        ) from None


def _summary_writer(folder: Path) -> Any:
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
