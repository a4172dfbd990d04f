"""Is an adaptation healthy? Signals that need no label of the target domain, a verdict, and how well signals rank.

While a method that adapts is trained, every validation also measures signals on held-out cases of both domains
(:mod:`~medgen.run.monitor.monitor`, :mod:`~medgen.run.monitor.signals`) and writes them into ``metrics.jsonl`` as one
record. :func:`judge` turns the records of a run into one of ``healthy``, ``not adapting`` and ``collapsed``, by the
:data:`RULE` that is printed with it, beside the :data:`LIMITS` of what it can know. :func:`find_stop` ends the training
early where ``schedule.health.stop`` is ``probe``, by the rule :data:`STOPPING`. :func:`choose_record` chooses among the
records where ``schedule.keep`` is ``health``, by the rule :data:`SELECTION`. On a phantom, where the truth is known,
the weights of every validation can be kept (:mod:`~medgen.run.monitor.snapshots`) and scored, and
:func:`rank_checkpoints` says how well each signal would have chosen.

What is imported here needs no torch, so that a report opens fast.
"""

from medgen.run.monitor.history import (
    SELECTION,
    Choice,
    adaptation_manifest,
    choose_record,
    choose_weights,
    kept_records,
)
from medgen.run.monitor.ranking import Rank, rank_checkpoints
from medgen.run.monitor.records import MonitorRecord, read_records
from medgen.run.monitor.stop import STOPPING, Stop, find_stop, stop_setting
from medgen.run.monitor.verdict import LIMITS, RULE, Verdict, judge

__all__ = [
    "LIMITS",
    "RULE",
    "SELECTION",
    "STOPPING",
    "Choice",
    "MonitorRecord",
    "Rank",
    "Stop",
    "Verdict",
    "adaptation_manifest",
    "choose_record",
    "choose_weights",
    "find_stop",
    "judge",
    "kept_records",
    "rank_checkpoints",
    "read_records",
    "stop_setting",
]
