"""Whether an adaptation ends before its last step, by what its validations have measured.

The answer is a function of the records alone, so that a resumed run ends where the whole one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from medgen.run.monitor.records import MonitorRecord
from medgen.run.monitor.verdict import LEAST_DICE, interval_of, judge, late_layers

if TYPE_CHECKING:
    from medgen.recipe.settings import Schedule

CHANCE = 0.5
"""Accuracy of a probe that cannot tell two domains apart."""

STOPPING = (
    "After adaptation began, the training ends at a validation that is one of these. COLLAPSED: so says the verdict."
    " PUSHED APART: in a layer of the later half a fresh linear probe tells the domains of unseen patients apart surely"
    " better than before (lower end of the 95 % interval now above the upper end then; not asked if the source Dice was"
    f" below {LEAST_DICE:g} then). GOAL REACHED: the verdict is healthy, in every layer of the later half the interval"
    f" contains {CHANCE:g} or lies below it, now and at the validation before this one, and in one of them it now lies"
    " wholly below that from before (else it may merely be too wide to tell). 'Before' is the last validation before"
    " adaptation begins; without one only COLLAPSED is asked. The method's own discriminator decides nothing. Weights"
    " of a validation that is COLLAPSED or PUSHED APART are not kept: with keep: health an earlier one is chosen by its"
    " rule; otherwise, and where none can be, it is the validation before this one, even one from before adaptation."
)
"""The whole rule in words."""


class Stop(NamedTuple):
    """The end of a training by what a validation found.

    Attributes:
        step: of the log, counted from 0.
        cause: ``collapsed``, ``pushed apart`` or ``goal reached``.
        reason: the numbers that decided.
    """

    step: int
    cause: Literal["collapsed", "pushed apart", "goal reached"]
    reason: str

    @property
    def harmful(self) -> bool:
        """Whether the weights of this validation are worse than earlier ones."""
        return self.cause != "goal reached"


def stop_setting(schedule: Schedule) -> str:
    """``schedule.health.stop``; ``never`` where health is not monitored."""
    return "never" if schedule.health is None else schedule.health.stop


def find_stop(records: Sequence[MonitorRecord], stop: str = "probe") -> Stop | None:
    """The first validation at which the training ends by :data:`STOPPING`; None where it goes on.

    Args:
        records: of one network, in the order of their steps.
        stop: ``schedule.health.stop`` of the recipe.
    """
    if stop == "never":
        return None
    ends = (_stop_at(records[: number + 1]) for number in range(len(records)))
    return next((found for found in ends if found is not None), None)


def _stop_at(records: Sequence[MonitorRecord]) -> Stop | None:
    """Whether the last of ``records`` ends the training."""
    now = records[-1]
    if now.warming_up:
        return None
    verdict = judge(records)
    if verdict.word == "collapsed":
        return Stop(now.step, "collapsed", verdict.reason)
    before = next((record for record in reversed(records) if record.warming_up), None)
    if before is None:
        return None
    if worse := _pushed_apart(now, before):
        return Stop(now.step, "pushed apart", worse)
    if verdict.word == "healthy" and not records[-2].warming_up and (near := _reached(records[-2], now, before)):
        return Stop(now.step, "goal reached", near)
    return None


def _pushed_apart(now: MonitorRecord, before: MonitorRecord) -> str:
    """The late layers whose interval lies above that from before; empty where there is none, or nothing was learnt."""
    if not before["source_dice"] >= LEAST_DICE:
        return ""
    worse = [layer for layer in late_layers(now) if _low(now, layer) > _high(before, layer)]
    return _told("a fresh probe tells the domains apart surely better than before adaptation", worse, now, before)


def _reached(previous: MonitorRecord, now: MonitorRecord, before: MonitorRecord) -> str:
    """The late layers whose interval fell below that from before, if twice no late layer is surely above chance."""
    late = late_layers(now)
    if not all(_low(record, layer) <= CHANCE for record in (previous, now) for layer in late):  # NaN is not
        return ""
    fell = [layer for layer in late if _high(now, layer) < _low(before, layer)]
    return _told("twice in a row no late layer tells the domains apart, and surely one did before", fell, now, before)


def _told(what: str, layers: Sequence[str], now: MonitorRecord, before: MonitorRecord) -> str:
    numbers = (f"{layer}: {interval_of(now, layer)}, before {interval_of(before, layer)}" for layer in layers)
    return f"{what} ({'; '.join(numbers)})" if layers else ""


def _low(record: MonitorRecord, layer: str) -> float:
    return record[f"domain_accuracy_low/{layer}"]


def _high(record: MonitorRecord, layer: str) -> float:
    return record[f"domain_accuracy_high/{layer}"]
