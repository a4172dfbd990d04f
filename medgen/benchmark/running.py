"""Running of the unfinished runs, each in its own process with its share of the cores, a few at a time."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from medgen.benchmark.runs import FACTS, Run
from medgen.training.stopping import StopRequest
from medgen.types import Progress

log = logging.getLogger(__name__)

LOG = "worker.log"
WORKER = (sys.executable, "-m", "medgen.benchmark.worker")
"""The command for one run."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
_PATIENCE = 120.0
"""Seconds that a worker has for saving its state after it was asked to stop."""


@dataclass(frozen=True)
class Failure:
    """A run without scores.

    Attributes:
        run: name of the run.
        folder: its folder, relative to that of the benchmark.
        reason: the error and the fix.
    """

    run: str
    folder: str
    reason: str


@dataclass
class Outcome:
    """Failed and unfinished runs.

    Attributes:
        failed: runs without scores.
        stopped: the reason why runs are unfinished; empty if all were finished or failed.
    """

    failed: list[Failure] = field(default_factory=list)
    stopped: str = ""


def run_all(
    runs: Sequence[Run],
    out: Path,
    *,
    workers: int = 1,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    max_minutes: float | None = None,
    progress: Progress | None = None,
    after_each: Callable[[Outcome], object] | None = None,
) -> Outcome:
    """Do all runs that are not finished.

    A failed run does not stop the others. When the time is up, or on SIGTERM, no further run is started and the active
    runs save their state; the next call continues from it.

    Args:
        runs: runs in the order of their start.
        out: folder of the benchmark; its ``store/`` is written.
        workers: number of runs at the same time; each process gets an equal share of the cores.
        device: as for ``train``.
        allow_modules: modules outside medgen that the recipe may name.
        max_minutes: time limit, from now.
        progress: called with (runs done, number of runs, what is running).
        after_each: called when a run has its scores and others are unfinished, e.g. to write an intermediate table.

    Returns:
        The failed runs.

    Raises:
        KeyboardInterrupt: Ctrl-C; the active runs have saved their state.
    """
    waiting = [run for run in runs if not run.done]
    pool = _Pool(out, len(runs), len(runs) - len(waiting), workers, device, allow_modules, progress)
    stop = StopRequest(max_minutes)
    with ExitStack() as stack:
        stack.callback(pool.end)
        stack.enter_context(stop.listening())
        while (waiting and not stop.reason) or pool.working:
            while len(pool.working) < workers and not stop.reason and (ready := _ready(waiting, pool)) is not None:
                waiting.remove(ready)
                pool.start(ready)
            if pool.listen(seconds=0.5) and after_each and (waiting or pool.working):
                after_each(pool.outcome)
            if stop.reason and not pool.outcome.stopped:
                pool.outcome.stopped = stop.reason
                pool.stop()
        if waiting:
            pool.outcome.stopped = stop.reason
    return pool.outcome


def _ready(waiting: list[Run], pool: _Pool) -> Run | None:
    """The first run that can start: its start has its weights. One whose start failed is taken out, and fails too."""
    for run in list(waiting):
        if run.start is None or run.start.done:
            return run
        if run.start not in waiting and all(worker.run != run.start for worker in pool.working):
            waiting.remove(run)
            pool.failed(run, f"{run.start.name}, from which it starts, failed")
    return None


def environment(workers: int) -> dict[str, str]:
    """Environment of one of ``workers`` processes, which sets the number of threads to its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**os.environ, **dict.fromkeys(_THREADS, str(max(1, cores // workers))), "OMP_WAIT_POLICY": "PASSIVE"}


class _Worker:
    """The process of a run, and the thread that reads its messages."""

    def __init__(self, run: Run, command: Sequence[str], environment: dict[str, str], heard: queue.Queue[Any]) -> None:
        self.run, self.error = run, ""
        with (run.folder / LOG).open("a") as log_file:
            # The worker gets its own session, so that Ctrl-C reaches this process only, which then stops its workers.
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log_file, env=environment, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        threading.Thread(target=self._hear, args=(self.process.stdout, heard), daemon=True).start()

    def _hear(self, stream: IO[str], heard: queue.Queue[Any]) -> None:
        for line in stream:
            try:
                heard.put((self, json.loads(line)))
            except json.JSONDecodeError:  # some library printed a line
                log.debug("%s: %s", self.run.name, line.rstrip())
        heard.put((self, None))


class _Pool:
    """The active processes."""

    def __init__(
        self,
        out: Path,
        total: int,
        done: int,
        workers: int,
        device: str,
        allow_modules: Sequence[str],
        progress: Progress | None,
    ) -> None:
        self.out, self.total, self.done, self.progress = out, total, done, progress
        options = [f"--store={out / 'store'}", f"--device={device}", *(f"--allow-module={m}" for m in allow_modules)]
        self._command = [*WORKER, *options]
        self._environment = environment(workers)
        self._heard: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self.working: list[_Worker] = []
        self.outcome = Outcome()
        self._say("benchmark")

    def start(self, run: Run) -> None:
        """Start or continue a run."""
        if not (run.folder / FACTS).is_file():
            run.write()
        self.working.append(_Worker(run, [*self._command, str(run.folder)], self._environment, self._heard))

    def listen(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the next message of a worker; return whether a run has got its scores."""
        try:
            worker, content = self._heard.get(timeout=seconds)
        except queue.Empty:
            return False
        if content is None:
            self._ended(worker)
            return worker.run.done
        if "error" in content:
            worker.error = _reason(**content["error"])
        else:
            self._say(f"{worker.run.name}: {content['done']}/{content['total']} {content['what']}")
        return False

    def _ended(self, worker: _Worker) -> None:
        code = worker.process.wait()
        self.working.remove(worker)
        run = worker.run
        if run.done:
            self.done += 1
            self._say(f"{run.name}: done")
        elif not self.outcome.stopped:
            self.failed(run, worker.error or f"the process ended with code {code}; see {LOG} in its folder")

    def failed(self, run: Run, reason: str) -> None:
        """Take note of a run without scores."""
        self.outcome.failed.append(Failure(run.name, run.folder.relative_to(self.out).as_posix(), reason))
        log.warning("%s failed: %s", run.name, reason)

    def stop(self) -> None:
        """Ask all processes to save their state and end."""
        for worker in self.working:
            worker.process.terminate()

    def end(self) -> None:
        """Stop all processes and wait for them."""
        self.stop()
        deadline = time.monotonic() + _PATIENCE
        for worker in self.working:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _say(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total, what)


def _reason(what: str, where: str | None, fix: str) -> str:
    """An error on one line, without folders of this machine, because results are shared."""
    place = f"in {Path(where).name}" if where else ""
    return "; ".join(each for each in (what, place, fix) if each)
