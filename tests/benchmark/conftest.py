"""Fixtures of the benchmark's tests."""

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


@pytest.fixture(scope="module")
def in_this_process():
    """Runs of a benchmark without processes of their own, for tests of what comes out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "_Worker", _Here)
        yield
