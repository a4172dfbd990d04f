"""What one validation measured, and where it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WARMING_UP: Literal["warming up"] = "warming up"
"""The verdict while the method does not use the target domain yet."""


@dataclass(frozen=True)
class MonitorRecord:
    """The signals of one validation.

    Args:
        step: of the log, counted from 0.
        signals: by name, see :func:`medgen.run.monitor.signals.measure`; NaN where one could not be measured.
        warming_up: whether the method did not adapt yet.
    """

    step: int
    signals: Mapping[str, float]
    warming_up: bool = False

    def __getitem__(self, name: str) -> float:
        """One signal; NaN where it was not measured."""
        return self.signals.get(name, math.nan)

    @property
    def layers(self) -> list[str]:
        """The feature maps that were probed, in the order of the network."""
        return [name.split("/", 1)[1] for name in self.signals if name.startswith("domain_accuracy/")]


def read_records(log: str | Path, part: str = "stage0") -> list[MonitorRecord]:
    """The records in a ``metrics.jsonl``, in the order of their steps.

    Args:
        log: the file; none at all is a run without records.
        part: the network they are of.
    """
    path, found = Path(log), {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        if record["part"] == part and "health" in record:
            signals = {name: math.nan if value is None else float(value) for name, value in record["health"].items()}
            found[int(record["step"])] = MonitorRecord(
                int(record["step"]), signals, record.get("verdict") == WARMING_UP
            )
    return [found[step] for step in sorted(found)]
