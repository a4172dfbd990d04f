"""From the records of a run to one word, by rules that are printed with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from medgen.run.monitor.records import WARMING_UP, MonitorRecord

LEAST_DICE = 0.1
"""Below this nothing was learnt that could be lost."""
SOURCE_KEPT = 2 / 3
"""Share of the best source Dice that must be left. In the pilots on the phantom, adversaries that still helped the
target kept 0.71 or more of it; the published trade is a small loss."""
ENTROPY_HIGH = 0.5
"""Share of the largest entropy, over the whole mask. Most of a brain is no lesion, and a segmenter that works is
sure of it: means of 0.02 to 0.1 are usual."""
VOLUME_FACTOR = 5.0
"""Largest factor between the predicted volumes on target and source. Mean lesion volumes of a handful of patients
differ by three or so; the published network without adaptation predicts eight times too much. At 10, the factor that
stood here first, adversaries on the phantom that changed nothing were called healthy."""
LEAST_VOLUME = 0.01
"""ml; added to both sides of a ratio, so that two empty predictions are equal."""
TOLD_APART = 0.8
"""The domains are surely told apart where the lower end of the accuracy's interval is above this. A linear probe finds
small differences after an adaptation that worked, so it must not be nearer to chance."""
CLOSE = math.log(1.25)
"""Volumes or entropies within a quarter of each other are equal, for a few patients."""
NEARER = 0.8
"""A distance between the domains counts as less when this share of it is left; records of a few patients scatter."""

RULE = (
    f"COLLAPSED if the source Dice fell below {SOURCE_KEPT:.2f} of its best so far (that is at least {LEAST_DICE:g}),"
    f" or the target's mean entropy is above {ENTROPY_HIGH:g} of the maximum, or the predicted volume of a target case"
    f" is less than 1/{VOLUME_FACTOR:g} or more than {VOLUME_FACTOR:g} times that of a source case and was not before."
    f" NOT ADAPTING if that volume is as wrong as it was before, or if in every layer of the later half a linear probe"
    f" tells the domains of unseen patients apart (lower end of the 95 % interval above {TOLD_APART:g}) while neither"
    f" volume nor entropy of the target came near the source's: within {math.expm1(CLOSE):.0%}, or to {NEARER:g} of the"
    f" distance (of logarithms) before. UNKNOWN while the source Dice is below {LEAST_DICE:g}, or where no probe could"
    f" be measured (it takes two patients of each domain). HEALTHY otherwise. 'Before' is the last validation"
    f" before adaptation begins, or the first one. The method's own discriminator decides nothing."
)
"""The whole rule in words."""

LIMITS = (
    "The verdict compares predicted volumes, entropies and features of the two domains, without a label of the target."
    " It cannot know the Dice on the target, nor whether another disease or prevalence, rather than the scanner, makes"
    " the domains differ."
)
"""What a verdict can know and what it cannot; it stands wherever a verdict is explained."""

Word = Literal["healthy", "not adapting", "collapsed", "warming up", "unknown"]


class Verdict(NamedTuple):
    """What is to be thought of an adaptation.

    Attributes:
        word: ``healthy``, ``not adapting`` or ``collapsed``; ``warming up`` before adaptation begins, ``unknown``
            where the records do not suffice.
        reason: the numbers that decided.
    """

    word: Word
    reason: str


def judge(records: Sequence[MonitorRecord]) -> Verdict:
    """The verdict on the last of ``records``, by :data:`RULE`.

    Args:
        records: of one run, in the order of their steps; one at least.
    """
    now, start = records[-1], before_of(records)
    if now.warming_up:
        return Verdict(WARMING_UP, "adaptation has not begun yet")
    if lost := _lost(records):
        return Verdict("collapsed", lost)
    if not now["source_dice"] >= LEAST_DICE:  # nor is it known, without labelled cases
        return Verdict("unknown", f"nothing is learnt yet: the source Dice is {now['source_dice']:.2f}")
    if unsure := _unsure(now):
        return Verdict("collapsed", unsure)
    if now is start:
        return Verdict("unknown", "there is no earlier validation to compare with")
    if wrong := _volume_wrong(now):
        as_before = _volume_wrong(start) and (_ratio(now) > 1) == (_ratio(start) > 1)
        return Verdict("not adapting", f"{wrong}, as before") if as_before else Verdict("collapsed", wrong)
    apart, near = _told_apart(now), _came_near(now, start)
    if apart and not near:
        return Verdict("not adapting", f"{apart}, and neither volume nor entropy of the target came near the source's")
    reasons = [
        f"source Dice {now['source_dice']:.2f}",
        f"target volume {_ratio(now):.2g} times the source's",
        f"{apart}, but {near}" if apart else _not_told_apart(now),
    ]
    return Verdict("healthy" if _measured(now) else "unknown", "; ".join(reasons))


def before_of(records: Sequence[MonitorRecord]) -> MonitorRecord:
    """The record to compare with: the last one before adaptation begins, or else the first."""
    return next((record for record in reversed(records) if record.warming_up), records[0])


def distance(record: MonitorRecord, signal: str) -> float:
    """``|log(target / source)|`` of ``volume``, ``entropy`` or ``lesions``: 0 where the domains are alike."""
    least = {"volume": LEAST_VOLUME, "lesions": 1.0}.get(signal, 1e-6)
    return abs(math.log((record[f"{signal}_target"] + least) / (record[f"{signal}_source"] + least)))


def late_layers(record: MonitorRecord) -> list[str]:
    """The later half of the probed feature maps, with the middle one of an odd number."""
    return record.layers[len(record.layers) // 2 :]


def interval_of(record: MonitorRecord, layer: str = "", signal: str = "domain_accuracy") -> str:
    """An accuracy with its 95 % interval, e.g. ``0.83 [0.71, 0.91]``."""
    value, low, high = (record[f"{signal}{end}{f'/{layer}' if layer else ''}"] for end in ("", "_low", "_high"))
    return f"{value:.2f} " + ("(too few patients for an interval)" if math.isnan(low) else f"[{low:.2f}, {high:.2f}]")


def _lost(records: Sequence[MonitorRecord]) -> str:
    now = records[-1]["source_dice"]
    best = max(
        (record for record in records if record["source_dice"] == record["source_dice"]), key=_dice_of, default=None
    )
    if best is None or _dice_of(best) < LEAST_DICE or not now < SOURCE_KEPT * _dice_of(best):
        return ""
    return f"the source Dice fell to {now:.2f} from {_dice_of(best):.2f} at step {best.step}"


def _dice_of(record: MonitorRecord) -> float:
    return record["source_dice"]


def _unsure(now: MonitorRecord) -> str:
    entropy = now["entropy_target"]
    return f"the mean entropy on the target is {entropy:.2f} of the maximum" if entropy > ENTROPY_HIGH else ""


def _ratio(record: MonitorRecord) -> float:
    return (record["volume_target"] + LEAST_VOLUME) / (record["volume_source"] + LEAST_VOLUME)


def _volume_wrong(record: MonitorRecord) -> str:
    if 1 / VOLUME_FACTOR <= _ratio(record) <= VOLUME_FACTOR:
        return ""
    target, source = record["volume_target"], record["volume_source"]
    return f"the predicted volume is {target:.2g} ml on a target case and {source:.2g} ml on a source case"


def _told_apart(now: MonitorRecord) -> str:
    late = late_layers(now)
    if not late or not all(now[f"domain_accuracy_low/{layer}"] > TOLD_APART for layer in late):
        return ""
    return f"the domains are told apart in the late layers ({_accuracies(now)})"


def _measured(now: MonitorRecord) -> bool:
    return any(math.isfinite(now[f"domain_accuracy/{layer}"]) for layer in now.layers)


def _not_told_apart(now: MonitorRecord) -> str:
    if not _measured(now):
        return "how well the domains are told apart was not measured"
    return f"the domains are not surely told apart ({_accuracies(now)})"


def _accuracies(record: MonitorRecord) -> str:
    return ", ".join(f"{layer}: {interval_of(record, layer)}" for layer in late_layers(record)) or "not measured"


def _came_near(now: MonitorRecord, start: MonitorRecord) -> str:
    near = []
    for signal in ("volume", "entropy"):
        left, had = distance(now, signal), distance(start, signal)
        if left < max(CLOSE, NEARER * had):
            near.append(
                f"its {signal} came near the source's (factor {math.exp(left):.2g}, before {math.exp(had):.2g})"
            )
    return " and ".join(near)
