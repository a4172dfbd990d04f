"""The monitor of an adaptation: signals, verdict and log at every validation."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medgen.cases import SOURCE, TARGET, Case
from medgen.errors import InputError, UsageError
from medgen.methods.base import Adapts, Method
from medgen.preparation import StoredCase
from medgen.recipe.settings import Schedule
from medgen.run.keeping import Keep
from medgen.run.monitor.history import Choice, choose_weights
from medgen.run.monitor.records import MonitorRecord, read_records
from medgen.run.monitor.signals import CaseSignals, Subset, case_signals, choose_subset, measure
from medgen.run.monitor.snapshots import snapshot_path
from medgen.run.monitor.stop import Stop, find_stop, stop_setting
from medgen.run.monitor.verdict import LIMITS, Verdict, interval_of, judge
from medgen.run.session import Part, Session
from medgen.training.checkpoint import load_weights

log = logging.getLogger(__name__)

Found = TypeVar("Found")

DISCRIMINATOR = "discriminator_accuracy"
"""The signal of the method's own discriminator; it is shown, and no rule reads it."""


class Monitor:
    """The records of one network of a run; its earlier ones are read from the log, so a resumed run goes on with them.

    Args:
        session: the run.
        part: the network.
        subset: the cases to measure on.
    """

    def __init__(self, session: Session, part: Part, subset: Subset) -> None:
        self.session, self.part, self.subset = session, part, subset
        self._seen: dict[str, CaseSignals] = {}
        self._told = False
        records = read_records(session.log.path, part.name)
        self.verdict: Verdict | None = judge(records) if records else None

    def estimated(self, case: StoredCase, probabilities: NDArray[np.float32]) -> None:
        """Take note of a prediction that was made anyway."""
        if any(case.name == other.name for other in self.subset.source):
            self._seen[case.name] = case_signals(probabilities, case)

    def check(self, method: Method, step: int, source_dice: float | None) -> Verdict:
        """Measure, judge and write a line; the weights and the random state stay as they are.

        Args:
            method: as it would be kept.
            step: of the log.
            source_dice: mean over the labelled held-out cases.
        """
        recipe, engine = self.session.recipe, self.session.engine
        dice = math.nan if source_dice is None else source_dice
        signals = measure(method, self.subset, recipe, engine, source_dice=dice, seen=self._seen)
        self._seen.clear()
        # From the log, which forgets what was measured after the checkpoint that a run went back to.
        before = [record for record in read_records(self.session.log.path, self.part.name) if record.step < step]
        now = MonitorRecord(step, signals, step < steps_before_adaptation(recipe.schedule, method))
        verdict = judge([*before, now])
        self.session.log.write(self.part.name, step, health=signals, verdict=verdict.word)
        self._tell(now, verdict)
        self.verdict = verdict
        return verdict

    def _tell(self, now: MonitorRecord, verdict: Verdict) -> None:
        """The line of a validation; what a verdict cannot know is told with the first one of a session."""
        worse = verdict.word in ("collapsed", "not adapting")
        changed = self.verdict is None or verdict.word != self.verdict.word
        level = logging.WARNING if worse and changed else logging.INFO
        told = verdict.reason
        if math.isfinite(now["discriminator_accuracy"]):
            told += f"; the method's own discriminator, which decides nothing: {interval_of(now, '', DISCRIMINATOR)}"
        log.log(level, "%s, step %d: adaptation: %s (%s)", self.part.name, now.step, verdict.word, told)
        if not now.warming_up and not self._told:
            self._told = True
            log.info("%s: %s", self.part.name, LIMITS)


class KeepHealthy(Keep):
    """The weights of the validation that the signals prefer, by the rule :data:`~medgen.run.monitor.history.SELECTION`.

    Where the monitor may end the training, also those that its rule :data:`~medgen.run.monitor.stop.STOPPING` keeps.
    The records are read from the log, which is the same however often the run was stopped.
    """

    def __init__(self, session: Session, part: Part) -> None:
        self._session, self._part = session, part

    def ended(self) -> Stop | None:
        """Whether the last validation ends the training; every process asks."""
        return self._asked(lambda records, _, stop: find_stop(records, stop))

    def choose(self, method: Method, checkpoints: Path) -> dict[str, Any]:
        """Those of the chosen snapshot, or of the last step where none can be chosen."""
        choice, end = self._asked(choose_weights), self.ended()
        if choice.step is not None:
            method.load_state_dict(load_weights(snapshot_path(checkpoints, choice.step + 1)))
        if self._session.engine.rank == 0:
            self._tell(choice, end)
        kept = {} if choice.step is None else {"healthy_step": choice.step + 1}
        return kept if end is None else {**kept, "stopped": end._asdict()}

    def _asked(self, rule: Callable[[Sequence[MonitorRecord], str, str], Found]) -> Found:
        """What a rule says of the records so far; the first process reads them."""
        engine, schedule = self._session.engine, self._session.recipe.schedule
        records = read_records(self._session.log.path, self._part.name) if engine.rank == 0 else []
        mine = rule(records, schedule.keep, stop_setting(schedule)) if engine.rank == 0 else None
        found: Found = engine.gather(mine)[0]
        return found

    def _tell(self, choice: Choice, end: Stop | None) -> None:
        name = self._part.name
        if end is not None:
            level = logging.WARNING if end.harmful else logging.INFO
            log.log(level, "%s: the training ends at step %d: %s: %s", name, end.step, end.cause, end.reason)
        if choice.step is not None:
            log.info("%s: the weights of step %d are kept: %s", name, choice.step, choice.reason)
        elif choice.reason:
            log.warning("%s: the weights of the last step are kept: %s", name, choice.reason)


def monitored_cases(session: Session, part: Part, method: Method) -> Subset | None:
    """The cases to measure on, the same in all processes; None without an adaptation, or without both domains."""
    health = session.recipe.schedule.health
    if health is None or not method.adapts() or not part.held_out:
        return None
    looks = any(stream.domain == TARGET for stream in method.batches(method.config).streams())
    if not looks or all(case.domain != TARGET for case in part.cases):  # nothing of the target is learnt
        return None
    subset = choose_subset(part.held_out, health, session.recipe.seed)
    if subset is None and session.engine.rank == 0:
        log.warning(
            "the health of the adaptation is not monitored: it takes cases of split 'val' of both domains "
            "(those of the target need no labels)"
        )
    return subset


def steps_before_adaptation(schedule: Schedule, method: Method) -> int:
    """How many steps are done when adaptation begins: the validation then is the one to compare with.

    Args:
        schedule: of the run.
        method: that is trained.
    """
    begins = method.target_begins if isinstance(method, Adapts) else 1.0
    return bisect_left(range(schedule.steps), begins, key=lambda step: step / schedule.steps)


def require_selection(method: type[Method], schedule: Schedule, cases: Sequence[Case], where: Path) -> None:
    """Refuse ``keep: health`` and ``health.stop: probe`` where there will be no signals, before anything is trained.

    Args:
        method: that is to be trained.
        schedule: of the recipe.
        cases: to train and to validate on.
        where: the case table.

    Raises:
        UsageError: the method does not adapt, or health is not monitored.
        InputError: a domain has no held-out case.
    """
    if schedule.keep == "health":
        what, fix = "schedule.keep is 'health'", "set schedule.keep to last"
    elif stop_setting(schedule) != "never":
        what, fix = f"schedule.health.stop is '{stop_setting(schedule)}'", "set schedule.health.stop to never"
    else:
        return
    if not method.adapts():
        raise UsageError(
            f"{what}, and this method does not adapt, so there is no health to go by",
            fix=f"{fix}, or choose a method that adapts",
        )
    if schedule.health is None:
        raise UsageError(
            "schedule.keep is 'health', and schedule.health is null, so nothing is measured",
            fix="remove schedule.health from the recipe, or set schedule.keep to last",
        )
    held_out = {case.domain == TARGET for case in cases if case.split == "val"}
    for of_target, name in ((False, SOURCE), (True, TARGET)):
        if of_target not in held_out:
            raise InputError(
                f"{what}, and no case of domain '{name}' has split 'val'",
                where=where,
                fix=f"hold cases of both domains back (the target's need no labels), or {fix}",
            )
    held_of = [sum((case.domain == TARGET) is each for case in cases if case.split == "val") for each in (False, True)]
    if stop_setting(schedule) != "never" and min(schedule.health.cases, *held_of) < 2:
        log.warning(
            "%s, and one held-out case of a domain is looked at: a probe then has no interval, so training can stop "
            "only where the verdict is collapsed; hold 8 of each domain back, and set schedule.health.cases to 8",
            what,
        )
