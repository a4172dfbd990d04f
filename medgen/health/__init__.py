"""Is an adaptation healthy? Signals that need no label of the target domain, a verdict, and how well signals rank.

While a method that adapts is trained, every validation also looks at held-out cases of both domains
(:mod:`~medgen.health.signals`) and writes what it found into ``metrics.jsonl``. :func:`judge` turns the looks of a run
into one of ``healthy``, ``not adapting`` and ``collapsed``, by the :data:`RULE` that is printed with it. On a phantom,
where the truth is known, :func:`rank_checkpoints` tells how well each signal would have chosen a checkpoint.
"""

from medgen.health.looks import Look, read_looks
from medgen.health.ranking import Rank, rank_checkpoints
from medgen.health.signals import Subset, choose_subset, measure
from medgen.health.snapshots import list_snapshots, write_snapshot_model
from medgen.health.verdict import RULE, Verdict, adaptation_facts, judge
from medgen.health.watch import Watch

__all__ = [
    "RULE",
    "Look",
    "Rank",
    "Subset",
    "Verdict",
    "Watch",
    "adaptation_facts",
    "choose_subset",
    "judge",
    "list_snapshots",
    "measure",
    "rank_checkpoints",
    "read_looks",
    "write_snapshot_model",
]
