"""Stopping a run in time: signals of a scheduler, a limit in minutes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPT = signal.SIGINT
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequest:
    """Whether the run was asked to end; it then saves its state and leaves, to be resumed.

    Args:
        minutes: wall-clock limit from now on.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._signal = ""

    @property
    def reason(self) -> str:
        """Why to stop; empty while the run may go on."""
        if self._signal:
            return f"signal {self._signal}"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "the limit in minutes"
        return ""

    @property
    def interrupted(self) -> bool:
        """Whether a person pressed Ctrl-C, and not a scheduler or the clock."""
        return self._signal == INTERRUPT.name

    @contextmanager
    def listening(self, *signals: signal.Signals) -> Iterator[None]:
        """Note these signals inside the block, by default SIGTERM and SIGUSR1; only the main thread can.

        A second Ctrl-C does not wait for the state to be saved.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            if number == INTERRUPT and self.interrupted:
                raise KeyboardInterrupt
            self._signal = signal.Signals(number).name

        before = {number: signal.signal(number, note) for number in signals or SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
