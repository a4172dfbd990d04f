"""Is an adaptation healthy? Signals that need no label of the target domain, a verdict, and how well signals rank.

While a method that adapts is trained, every validation also looks at held-out cases of both domains
(:mod:`~medgen.run.monitor.watch`, :mod:`~medgen.run.monitor.signals`) and writes what it found into ``metrics.jsonl``.
:func:`judge` turns the looks of a run into one of ``healthy``, ``not adapting`` and ``collapsed``, by the :data:`RULE`
that is printed with it. :func:`choose_look` chooses among the looks where ``schedule.keep`` is ``health``, by the rule
:data:`SELECTION`. On a phantom, where the truth is known, the weights of every validation can be kept
(:mod:`~medgen.run.monitor.snapshots`) and scored, and :func:`rank_checkpoints` tells how well each signal
would have chosen.

What is imported here needs no torch, so that a report opens fast.
"""

from medgen.run.monitor.facts import adaptation_facts
from medgen.run.monitor.looks import Look, read_looks
from medgen.run.monitor.ranking import Rank, rank_checkpoints
from medgen.run.monitor.selection import SELECTION, Choice, choose_look, kept_looks
from medgen.run.monitor.verdict import RULE, Verdict, judge

__all__ = [
    "RULE",
    "SELECTION",
    "Choice",
    "Look",
    "Rank",
    "Verdict",
    "adaptation_facts",
    "choose_look",
    "judge",
    "kept_looks",
    "rank_checkpoints",
    "read_looks",
]
