"""Which weights become the model, by what needs no label of the target (``schedule.keep: health``).

On the phantom the ranking of checkpoints by these signals was an illustration and no evidence (five checkpoints of one
run, see the benchmarks), so this is not the default: a method that adapts keeps the weights of its last step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from medgen.run.monitor.looks import Look
from medgen.run.monitor.ranking import JOINED, mean_rank
from medgen.run.monitor.verdict import judge

SELECTION = (
    f"Kept are the weights of the look with the best mean rank over {', '.join(JOINED)} (a signal that was not measured"
    " at each of them is left out), of equals those of the last. A look before the target had a say cannot be chosen,"
    " nor one whose verdict is collapsed. Where no look can be, the weights of the last step are kept."
)
"""The whole rule in words."""


class Choice(NamedTuple):
    """The look whose weights are to be kept.

    Attributes:
        step: of the log, counted from 0; None where no look can be chosen.
        reason: why this one, or why none.
    """

    step: int | None
    reason: str


def choose_look(looks: Sequence[Look]) -> Choice:
    """Choose among the looks of one run by :data:`SELECTION`.

    Args:
        looks: of one network, in the order of their steps.
    """
    adapting = [number for number, look in enumerate(looks) if not look.warming_up]
    chosen = [looks[number] for number in adapting if judge(looks[: number + 1]).word != "collapsed"]
    if not chosen:
        found = f"all {len(adapting)} that there were are collapsed" if adapting else "there was none"
        return Choice(None, f"no look can be chosen: since the target had a say {found}")
    ranks = mean_rank(chosen)
    if not math.isfinite(ranks[0]):  # a signal counts where all looks have it, so one without a rank is all without
        return Choice(None, "no look can be chosen: no signal was measured at all of them")
    best = max(range(len(chosen)), key=lambda number: (ranks[number], number))
    return Choice(chosen[best].step, f"mean rank {ranks[best]:.1f} of {len(chosen)} looks that could be chosen")


def kept_looks(looks: Sequence[Look], keep: str) -> Sequence[Look]:
    """The looks up to the one whose weights are the model: its verdict is that of the last of these.

    Args:
        looks: of one network, in the order of their steps.
        keep: ``schedule.keep`` of the recipe.
    """
    step = choose_look(looks).step if keep == "health" else None
    return looks if step is None else [look for look in looks if look.step <= step]
