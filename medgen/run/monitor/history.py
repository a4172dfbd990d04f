"""The records of a run together: which weights they prefer, and what the manifest says of them.

Which weights become the model, by what needs no label of the target, is ``schedule.keep: health``. No study has shown
that they are better, so this is not the default: a method that adapts keeps the weights of its last step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medgen.run.monitor.ranking import JOINED, mean_rank
from medgen.run.monitor.records import MonitorRecord, read_records
from medgen.run.monitor.stop import STOPPING, find_stop
from medgen.run.monitor.verdict import LIMITS, RULE, before_of, judge

SELECTION = (
    f"Kept are the weights of the validation with the best mean rank over {', '.join(JOINED)} (a signal that was not"
    " measured at each of them is left out), of equals those of the last. A validation before adaptation begins cannot"
    " be chosen, nor one whose verdict is collapsed. Where none can be, the weights of the last step are kept."
)
"""The whole rule in words."""


BEFORE_HARM = "the last validation before the one that ended the training"
"""Why a validation is chosen without a rank."""


class Choice(NamedTuple):
    """The validation whose weights are to be kept.

    Attributes:
        step: of the log, counted from 0; None where none can be chosen.
        reason: why this one, or why none.
    """

    step: int | None
    reason: str


def choose_record(records: Sequence[MonitorRecord]) -> Choice:
    """Choose among the records of one run by :data:`SELECTION`.

    Args:
        records: of one network, in the order of their steps.
    """
    adapting = [number for number, record in enumerate(records) if not record.warming_up]
    chosen = [records[number] for number in adapting if judge(records[: number + 1]).word != "collapsed"]
    if not chosen:
        found = f"all {len(adapting)} that there were are collapsed" if adapting else "there was none"
        return Choice(None, f"no validation can be chosen: since adaptation began, {found}")
    ranks = mean_rank(chosen)
    if not math.isfinite(ranks[0]):  # a signal counts where all records have it, so one without a rank is all without
        return Choice(None, "no validation can be chosen: no signal was measured at all of them")
    best = max(range(len(chosen)), key=lambda number: (ranks[number], number))
    return Choice(chosen[best].step, f"mean rank {ranks[best]:.1f} of {len(chosen)} validations that could be chosen")


def choose_weights(records: Sequence[MonitorRecord], keep: str, stop: str = "never") -> Choice:
    """Which validation's weights become the model; the step is None for those of the last step of the training.

    Args:
        records: of one network, in the order of their steps.
        keep: ``schedule.keep`` of the recipe.
        stop: ``schedule.health.stop`` of the recipe. A validation that ended the training because it did harm is not
            chosen.
    """
    end = find_stop(records, stop)
    usable = [record for record in records if record.step < end.step] if end and end.harmful else records
    choice = choose_record(usable) if keep == "health" else Choice(None, "")
    if choice.step is None and usable and len(usable) < len(records):
        return Choice(usable[-1].step, BEFORE_HARM)
    return choice


def kept_records(records: Sequence[MonitorRecord], keep: str, stop: str = "never") -> Sequence[MonitorRecord]:
    """The records up to the one whose weights are the model: its verdict is that of the last of these.

    Args:
        records: of one network, in the order of their steps.
        keep: ``schedule.keep`` of the recipe.
        stop: ``schedule.health.stop`` of the recipe.
    """
    step = choose_weights(records, keep, stop).step
    return records if step is None else [record for record in records if record.step <= step]


def adaptation_manifest(
    folder: str | Path, part: str = "stage0", keep: str = "last", stop: str = "never"
) -> dict[str, Any] | None:
    """The verdict on the weights that were kept; None for a run without records.

    Args:
        folder: the run, with its ``metrics.jsonl``.
        part: the network.
        keep: ``schedule.keep`` of the recipe. With ``health`` the manifest says under ``kept`` which one was chosen and
            why; where none could be, the reason of the verdict says so too.
        stop: ``schedule.health.stop`` of the recipe. Where it ended the training, the manifest says under ``stopped``
            at which step and why.
    """
    everything = read_records(Path(folder) / "metrics.jsonl", part)
    if not everything:
        return None
    records = kept_records(everything, keep, stop)
    verdict, now, before = judge(records), records[-1], before_of(records)
    facts = {
        "verdict": verdict.word,
        "reason": verdict.reason,
        "rule": RULE,
        "limits": LIMITS,
        "step": now.step,
        "signals": dict(now.signals),
        "before": {"step": before.step, "signals": dict(before.signals)},
    }
    if end := find_stop(everything, stop):
        facts["stopped"] = {**end._asdict(), "rule": STOPPING}
    step, reason = choose_weights(everything, keep, stop)
    if keep == "health" or step is not None:
        by, rule = ("stop", STOPPING) if reason == BEFORE_HARM else ("health", SELECTION)
        facts["kept"] = {"by": by, "step": now.step, "reason": reason, "rule": rule}
        if step is None:
            facts["reason"] = f"{verdict.reason}; {reason}, so the weights of the last step were kept"
    return facts
