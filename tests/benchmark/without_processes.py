"""Runs of a benchmark in the process of the test, for tests of what comes out of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from medgen.benchmark import running, worker


class _Here:
    """Does the work of the process of a run in this one, which has loaded what a process must load first."""

    def __init__(self, run, command, environment, heard):
        self.run, self.error = run, ""
        code = worker.main(command[len(running.WORKER) :])
        self.process = SimpleNamespace(wait=lambda timeout=None: code, terminate=lambda: None)
        heard.put((self, None))


@contextmanager
def runs_in_this_process() -> Iterator[None]:
    """Until the end, no run of a benchmark starts a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "_Worker", _Here)
        yield
