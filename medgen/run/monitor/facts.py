"""What ``run.json`` says of an adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgen.run.monitor.looks import read_looks
from medgen.run.monitor.selection import SELECTION, choose_look, kept_looks
from medgen.run.monitor.verdict import RULE, before_of, judge


def adaptation_facts(folder: str | Path, part: str = "stage0", keep: str = "last") -> dict[str, Any] | None:
    """The verdict on the weights that were kept; None for a run without looks.

    Args:
        folder: the run, with its ``metrics.jsonl``.
        part: the network.
        keep: ``schedule.keep`` of the recipe. With ``health`` the facts say under ``kept`` which look was chosen and
            why; where none could be, the reason of the verdict says so too.
    """
    everything = read_looks(Path(folder) / "metrics.jsonl", part)
    if not everything:
        return None
    looks = kept_looks(everything, keep)
    verdict, now, before = judge(looks), looks[-1], before_of(looks)
    facts = {
        "verdict": verdict.word,
        "reason": verdict.reason,
        "rule": RULE,
        "step": now.step,
        "signals": dict(now.signals),
        "before": {"step": before.step, "signals": dict(before.signals)},
    }
    if keep == "health":
        step, reason = choose_look(everything)
        facts["kept"] = {"by": "health", "step": now.step, "reason": reason, "rule": SELECTION}
        if step is None:
            facts["reason"] = f"{verdict.reason}; {reason}, so the weights of the last step were kept"
    return facts
