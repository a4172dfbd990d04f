"""Fitting one network of a run: the ``for`` body of train(), with its log, validation and checkpoints."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from medgen.errors import Diverged, ModelError, Preempted
from medgen.files import sha256, write_json
from medgen.methods.base import Method
from medgen.run.keeping import Keep, OnValidation, weights_of
from medgen.run.session import Part, Session, new_method
from medgen.sampling.loading import patch_batches, worker_errors
from medgen.sampling.patches import Patches
from medgen.sampling.streams import StreamSource
from medgen.training.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from medgen.training.engine import Engine
from medgen.training.loop import Record, moving_average, train
from medgen.training.stopping import INTERRUPT
from medgen.training.transfer import take
from medgen.training.watch import Watch

log = logging.getLogger(__name__)

SLOWER = 0.1
"""Factor on the learning rates of a training that diverged and went back to a checkpoint."""
LOG_EVERY = 10
"""Steps from one line of losses in the log to the next."""


class _State:
    """A network in training, as it is saved and restored."""

    def __init__(self, session: Session, part: Part, *, new: bool) -> None:
        self.seed = session.recipe.seed * 1000 + part.number
        self.method = new_method(session, part)
        if new and session.origin is not None:
            take(self.method, session.origin.stage(part.stage))
        session.engine.place(self.method)
        self.optimizers: dict[str, Optimizer] = self.method.optimizers()
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        decay = session.recipe.schedule.averaging
        self.average: AveragedModel | None = moving_average(self.method, decay) if decay else None
        self.watch = Watch()
        self.warnings: list[str] = []
        self.step, self.seconds, self.clock = 0, 0.0, time.monotonic()
        self.on_validation: OnValidation | None = session.validations(session, part, self.method)
        self.keep = self.on_validation.keep if self.on_validation else Keep()

    @property
    def current(self) -> Method:
        """The network that is validated and kept: the moving average where there is one."""
        return self.method if self.average is None else cast(Method, self.average.module)

    def state_dict(self, engine: Engine) -> dict[str, Any]:
        """Tensors and plain values; every process must ask, since each has a memory of its own."""
        own = {name: dict(part.state_dict()) for name, part in self.method.memory().items()}
        memory = engine.gather(own) if own else []
        return {
            "step": self.step,
            "seconds": self.seconds,
            "method": self.method.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "memory": memory,
            "keep": self.keep.state_dict(),
            "watch": self.watch.state_dict(),
            "warnings": list(self.warnings),
        }

    def load_state_dict(self, state: Mapping[str, Any], engine: Engine) -> None:
        """Go back to a saved step; with another number of processes each takes the memory of the first."""
        saved = state.get("memory") or []
        for name, part in self.method.memory().items() if saved else ():
            part.load_state_dict(saved[engine.rank if len(saved) == engine.world else 0][name])
        self.step, self.seconds = state["step"], state["seconds"]
        self.keep.load_state_dict(state["keep"])
        self.warnings = list(state.get("warnings", ()))
        if "watch" in state:  # earlier versions did not watch
            self.watch.load_state_dict(state["watch"])
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def fit(session: Session, part: Part) -> Method:
    """Train one network, or go on where an earlier session stopped.

    Returns:
        The network in evaluation mode, with the weights of the best validation or of the look that the health signals
        prefer, as ``schedule.keep`` says, or of the end without one.

    Raises:
        Diverged: the losses exploded, or something is not finite, twice or before there was a checkpoint.
        MemoryExhausted: a process that loads patches was killed.
        Preempted: the run was asked to stop; its state is saved.
        KeyboardInterrupt: Ctrl-C; its state is saved too.
    """
    folder = session.folder / "checkpoints" / part.name
    finished = _finished(session, part, folder)
    if finished is not None:
        return finished
    state = _state(session, part, folder)
    with session.stop.listening(INTERRUPT), worker_errors():  # Ctrl-C waits for the end of the step, like SIGTERM
        try:
            _train(session, part, state, folder)
        except Diverged as error:
            state = _state_before(session, part, state, folder, error)
            _train(session, part, state, folder)
    main = session.engine.rank == 0
    method = state.current
    chosen = state.keep.choose(method, folder)
    if main:
        _finish(folder, method, state, chosen)
    session.engine.barrier()
    return method.eval()


def _train(session: Session, part: Part, state: _State, folder: Path) -> None:
    """All steps that are left, unless a validation ends the training."""
    recipe, method = session.recipe, state.method
    source = StreamSource(
        method.batches(method.config),
        part.cases,
        recipe.patches,
        state.seed,
        part.contexts,
        recipe.data.inputs,
        method.paired_fraction,
    )
    if state.on_validation and state.on_validation.end():  # killed there before the weights were written
        return
    for record in _records(session, state, source):
        if _after_step(session, part, state, record, folder, source):
            return


def _state(session: Session, part: Part, folder: Path, *, until: int | None = None) -> _State:
    """A new network, or one as the newest checkpoint (of ``until`` steps at most) left it; the log ends there too."""
    saved = load_checkpoint(folder, until=until)
    state = _State(session, part, new=saved is None)
    if saved is not None:
        with _fitting_weights(folder):
            state.load_state_dict(saved, session.engine)
    if session.engine.rank == 0:
        session.log.rewind(part.name, state.step)
    return state


def _state_before(session: Session, part: Part, state: _State, folder: Path, error: Diverged) -> _State:
    """The last good checkpoint with smaller learning rates: with the same ones every step would repeat itself.

    Raises:
        Diverged: there is none, or the training went back before.
    """
    if state.warnings or load_checkpoint(folder, until=error.good) is None:
        raise error
    state = _state(session, part, folder, until=error.good)
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] *= SLOWER
    text = f"{error.what}; it went on from step {state.step} with {SLOWER:g} times the learning rates"
    state.warnings = [text]
    if session.engine.rank == 0:
        log.warning("%s: %s", part.name, text)
    return state


@contextmanager
def _fitting_weights(folder: Path) -> Iterator[None]:
    """Refuse weights of other networks than the recipe describes, as after an update or a copy between runs.

    Raises:
        ModelError: they do not fit.
    """
    try:
        yield
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the saved weights do not fit the networks of this recipe: {reason}",
            where=folder,
            fix="resume with the medgen and the recipe that began the run, or start a new run in another folder",
        ) from error


def _records(session: Session, state: _State, source: Patches) -> Iterator[Record]:
    schedule, engine = session.recipe.schedule, session.engine
    batches = patch_batches(
        source,
        state.method.batches(state.method.config),
        batch=state.method.draws * schedule.batch // schedule.accumulate,
        start=state.step * schedule.accumulate,
        stop=schedule.steps * schedule.accumulate,
        workers=schedule.workers,
        rank=engine.rank,
        world=engine.world,
    )
    return train(
        state.method,
        state.optimizers,
        batches,
        schedule,
        engine,
        average=state.average,
        watch=state.watch,
        start=state.step,
        seed=state.seed,
    )


def _after_step(session: Session, part: Part, state: _State, record: Record, folder: Path, source: Patches) -> bool:
    """Everything that is not training: log, progress, validation, checkpoint, leaving in time; whether all is done."""
    schedule, main = session.recipe.schedule, session.engine.rank == 0
    now = time.monotonic()
    state.seconds, state.clock = state.seconds + now - state.clock, now
    state.step = record.step + 1
    last = state.step == schedule.steps
    if main and (record.step % LOG_EVERY == 0 or last or record.skipped):
        extra = (
            {"skipped": True, "patches": _patches(source, record.step, state.method.draws * schedule.batch)}
            if record.skipped
            else {}
        )
        session.log.write(part.name, record.step, losses=record.losses, learning_rate=record.learning_rate, **extra)
    told = session.pace.step(part.name, state.step)
    if session.progress is not None and main:
        session.progress(state.step, schedule.steps, f"{told}  {_readable(record.losses)}")
    validations = state.on_validation
    if validations and (state.step % schedule.validate_every == 0 or last or state.step == validations.extra):
        validations(state.current, record.step)
        last = validations.end() or last
    stop = not session.engine.everywhere(not session.stop.reason)
    # While the losses are suspicious nothing is saved: the last good checkpoints would make way for it.
    due = state.step % schedule.save_every == 0 and session.engine.everywhere(not state.watch.since)
    if due or last or stop:
        content = state.state_dict(session.engine)
        if main:
            save_checkpoint(folder, state.step, content)
    if stop and not last:
        session.engine.barrier()
        raise _stopped(session, part, state)
    return last


def _stopped(session: Session, part: Part, state: _State) -> Preempted | KeyboardInterrupt:
    """What a run leaves with when its state is saved."""
    what = (
        f"stopped by {session.stop.reason or 'another process'} at step {state.step} of "
        f"{session.recipe.schedule.steps} ({part.name}); the state is saved"
    )
    fix = "run the same command with --resume"
    if session.stop.interrupted:
        log.warning("%s; to go on, %s", what, fix)
        return KeyboardInterrupt(what)
    return Preempted(what, where=session.folder.name, fix=fix)


def _patches(source: Patches, step: int, batch: int) -> list[tuple[str, tuple[int, int, int]]]:
    """Case and centre of every patch of a step, over all processes: one of them may be why it was skipped."""
    return [source.describe(n) for n in range(step * batch, (step + 1) * batch)]


def _finish(folder: Path, method: Method, state: _State, chosen: Mapping[str, Any]) -> None:
    """Write the weights and the note that this part is done; its checkpoints are no longer needed."""
    path = folder / "final.safetensors"
    save_weights(path, weights_of(method))
    content = {"steps": state.step, "seconds": state.seconds, "weights_sha256": sha256(path), **chosen}
    if state.warnings:
        content["warnings"] = state.warnings
    write_json(folder / "done.json", content)
    for checkpoint in folder.glob("step-*.pt"):
        checkpoint.unlink()
    (folder / "index.json").unlink(missing_ok=True)


def _finished(session: Session, part: Part, folder: Path) -> Method | None:
    """The network of a part that is done; None, in all processes, where it is not or its weights are damaged."""
    engine, note = session.engine, folder / "done.json"
    there = engine.everywhere(note.is_file())
    if not there:
        return None
    weights = _kept(folder)
    if not engine.everywhere(weights is not None) or weights is None:
        if engine.rank == 0:
            log.warning("the weights of %s are damaged; it is trained again", part.name)
            note.unlink()
        engine.barrier()
        return None
    method = new_method(session, part)
    with _fitting_weights(folder):
        method.load_state_dict(weights)
    engine.place(method)
    return method.eval()


def _kept(folder: Path) -> dict[str, Tensor] | None:
    """The final weights, or None where they or the note with their hash are damaged."""
    try:
        digest = json.loads((folder / "done.json").read_text())["weights_sha256"]
        return load_weights(folder / "final.safetensors", digest=digest)
    except (ModelError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _readable(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
