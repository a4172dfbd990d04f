"""What is done at each validation of a run: scores, the log, the weights to keep, snapshots, the monitor."""

from __future__ import annotations

import logging

from medgen.baselines.constant import constant_error
from medgen.methods.base import Method
from medgen.recipe.settings import Schedule
from medgen.run.keeping import Keep, KeepBest, weights_of
from medgen.run.monitor.monitor import KeepHealthy, Monitor, monitored_cases, steps_before_adaptation
from medgen.run.monitor.snapshots import save_snapshot
from medgen.run.monitor.stop import stop_setting
from medgen.run.session import Part, Session
from medgen.run.validation import Validation, validate
from medgen.run.warnings import ignored_input, winning_discriminator, worse_than_constant

log = logging.getLogger(__name__)


class PartValidations:
    """The validations of one part; see :class:`~medgen.run.keeping.OnValidation`."""

    def __init__(self, session: Session, part: Part, method: Method) -> None:
        self._session, self._part = session, part
        schedule, main = session.recipe.schedule, session.engine.rank == 0
        self.keep = _keep(schedule, session, part)
        self._snapshots = main and (schedule.snapshots or isinstance(self.keep, KeepHealthy))
        subset = monitored_cases(session, part, method)
        self.extra = None if subset is None else steps_before_adaptation(schedule, method)
        if main and self.extra == 0 and stop_setting(schedule) != "never":
            log.warning(
                "%s: adaptation begins at the first step, so no validation is there to compare with: "
                "schedule.health.stop can only find a collapse",
                part.name,
            )
        self._monitor = Monitor(session, part, subset) if subset is not None and main else None
        self._constant: dict[str, float] | None = None
        self._warned: set[str] = set()

    def __call__(self, method: Method, step: int) -> None:
        """Validate, log, keep, and let the monitor measure."""
        session, part, monitor = self._session, self._part, self._monitor
        found = validate(method, part.held_out, part.contexts, session, monitor.estimated if monitor else None)
        self.keep.saw(step + 1, found.loss, method)
        if session.engine.rank == 0:
            self._write(method, step, found)
        if self._snapshots:
            save_snapshot(session.folder / "checkpoints" / part.name, step + 1, weights_of(method))
        if monitor is not None:
            monitor.check(method, step, found.scores.get("dice"))

    def end(self) -> bool:
        """Whether the monitor ends the training here, by the validations so far."""
        return isinstance(self.keep, KeepHealthy) and self.keep.ended() is not None

    def _write(self, method: Method, step: int, found: Validation) -> None:
        """Log the scores, those of the constant, and what is wrong with the method; a warning that is new is shown."""
        session, part = self._session, self._part
        constant = self._scores_of_constant(method)
        named = {
            "constant": worse_than_constant(method.batch_class.task(), found.scores, constant),
            "input": ignored_input(method, part, session),
            "discriminator": winning_discriminator(session.log.path, part.name, method),
        }
        warnings = {name: text for name, text in named.items() if text}
        told = {"constant": constant} if constant else {}
        session.log.write(part.name, step, validation=found.scores, **told, warnings=list(warnings.values()))
        for name, text in warnings.items():
            log.log(logging.INFO if name in self._warned else logging.WARNING, "%s, step %d: %s", part.name, step, text)
        self._warned = set(warnings)

    def _scores_of_constant(self, method: Method) -> dict[str, float]:
        """What the constant of the training cases scores on the held-out ones; empty where the truth is missing."""
        if self._constant is None:
            session, part, task = self._session, self._part, method.batch_class.task()
            error = constant_error(task, part.cases, part.held_out, session.preparation, session.shape.outputs)
            self._constant = {} if error is None else {task.metric: error}
        return self._constant


def on_validation(session: Session, part: Part, method: Method) -> PartValidations | None:
    """What to do at the validations of a part; None where no case is held out."""
    return PartValidations(session, part, method) if part.held_out else None


def _keep(schedule: Schedule, session: Session, part: Part) -> Keep:
    if schedule.keep == "health" or stop_setting(schedule) != "never":  # a method that adapts has no best score
        return KeepHealthy(session, part)
    return KeepBest() if schedule.keep == "best" else Keep()
