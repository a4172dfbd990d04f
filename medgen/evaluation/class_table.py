"""The table of scores by case and class, its summary, and remarks on anything that the scores alone do not show."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medgen.cases import listed
from medgen.evaluation.classes import Classes, Grouping
from medgen.evaluation.references import Reference
from medgen.metrics.segmentation import UNITS, segmentation_scores
from medgen.metrics.statistics import Summary, summarise

Found = dict[int, dict[str, float]]
"""Of one case: by class index, its metrics."""
_NOTHING = np.zeros((1, 1, 1), dtype=bool)
ABSENT = segmentation_scores(_NOTHING, _NOTHING, (1.0, 1.0, 1.0))
"""Scores of a class that is neither in the reference nor predicted."""
_AVERAGED = ("dice", "hd95", "nsd", "recall", "precision", "lesion_f1", "lesion_recall", "lesion_precision", "ece")


def names_of(classes: Classes, scored: Mapping[str, Found]) -> dict[int, str]:
    """Names by class index; without classes, the label values that occur."""
    if classes:
        return dict(enumerate(classes, start=1))
    return {index: str(index) for index in sorted({index for values in scored.values() for index in values} or {1})}


class _Column(NamedTuple):
    """One column of the table: a metric of one class, or its mean over several."""

    name: str
    metric: str
    indices: tuple[int, ...]

    def value(self, values: Found | None) -> float:
        """The mean over the classes to which the metric applies; NaN for a case without a score."""
        if values is None:
            return math.nan
        numbers = [values.get(index, ABSENT).get(self.metric, math.nan) for index in self.indices]
        applicable = [number for number in numbers if not math.isnan(number)]
        return sum(applicable) / len(applicable) if applicable else math.nan

    def missed(self, values: Found) -> bool:
        """Whether some class is in the reference and nothing of it is predicted."""
        found = [values.get(index, ABSENT) for index in self.indices]
        return any(each["volume_true_ml"] > 0 and each["volume_ml"] == 0 for each in found)


class ClassTable(NamedTuple):
    """The scores of all cases, and remarks on them.

    Attributes:
        found: the cases that have a truth.
        scored: by case, if it did not fail, the metrics of each class in the reference or the prediction.
        broken: by case, the reason if it failed.
        names: names of the classes by index.
        lacking: by an added metric and case, the classes that it could not be measured of.
    """

    found: Sequence[Reference]
    scored: dict[str, Found]
    broken: Mapping[str, str]
    names: Mapping[int, str]
    lacking: dict[str, Mapping[str, Collection[int]]]

    def add(
        self, metric: str, values: Mapping[str, Mapping[int, float]], lacking: Mapping[str, Collection[int]]
    ) -> None:
        """Add a metric, by case and class index, also of classes that are neither in the reference nor predicted.

        Args:
            metric: its name.
            values: by case and class index.
            lacking: by case the classes that it could not be measured of, for want of a usable file: the case then
                failed in that class and in the mean over the classes.
        """
        if lacking:
            self.lacking[metric] = lacking
        for case, each in values.items():
            for index, value in each.items():
                self.scored[case].setdefault(index, dict(ABSENT))[metric] = value

    def _columns(self) -> list[_Column]:
        known = {metric for values in self.scored.values() for each in values.values() for metric in each}
        known |= self.lacking.keys()  # also of a metric that could be measured nowhere
        metrics = [*UNITS, *sorted(known - set(UNITS))]
        if len(self.names) == 1:
            return [_Column(metric, metric, tuple(self.names)) for metric in metrics]
        means = [_Column(metric, metric, tuple(self.names)) for metric in metrics if metric in _AVERAGED]
        return means + [
            _Column(f"{metric}_{name}", metric, (index,)) for metric in metrics for index, name in self.names.items()
        ]

    def rows(self) -> tuple[dict[str, str | float], ...]:
        """The scores of each case; NaN for cases that failed."""
        columns = self._columns()
        return tuple(
            {"case": item.case, **{each.name: self._value(each, item.case) for each in columns}} for item in self.found
        )

    def summary(self, *, seed: int, draws: int) -> dict[str, Summary]:
        """The summary of each column."""
        return {each.name: self._summary(each, seed=seed, draws=draws) for each in self._columns()}

    def _summary(self, column: _Column, *, seed: int, draws: int) -> Summary:
        summary = summarise([self._value(column, case) for case in self.scored], seed=seed, draws=draws)
        # For a case that was scored, NaN means that the metric does not apply, which is not a failure of the model.
        failed = sum(self._lacks(column, case) for case in self.scored)
        summary["n_not_applicable"], summary["n_failed"] = summary["n_failed"] - failed, len(self.broken) + failed
        summary["n_missed"] = sum(column.missed(each) for each in self.scored.values())
        return summary

    def _value(self, column: _Column, case: str) -> float:
        return math.nan if self._lacks(column, case) else column.value(self.scored.get(case))

    def _lacks(self, column: _Column, case: str) -> bool:
        """Whether the metric could not be measured of one of the classes."""
        return not set(column.indices).isdisjoint(self.lacking.get(column.metric, {}).get(case, ()))

    def remarks(self, mask_role: str | None, grouping: Grouping) -> list[str]:
        """Remarks on anything that the scores alone do not show."""
        remarks = []
        if mask_role and (without := [item.case for item in self.found if item.mask is None]):
            remarks.append(f"no {mask_role} for {listed(without)}: scored in the whole image")
        for index, name in self.names.items():
            remarks += self._remarks_of(index, name)
        true, predicted = self._occurring("volume_true_ml"), self._occurring("volume_ml")
        for index, (name, values) in enumerate(grouping.classes.items(), start=1):
            if self.scored and index not in true:
                which = "no scored reference" if self.broken else "no reference"
                inside = " inside the mask" if mask_role else ""
                numbers = ", ".join(str(value) for value in sorted(values))
                remarks.append(f"{which} contains a value of class '{name}' ({numbers}){inside}")
        never = [name for index, name in self.names.items() if index not in predicted]
        if not grouping.classes and predicted and never:
            remarks.append(
                f"no prediction contains the label value {listed(never)} of the references; "
                "if the model groups values into classes, give --classes (classes in Python)"
            )
        return remarks

    def _remarks_of(self, index: int, name: str) -> Iterator[str]:
        column = _Column("", "dice", (index,))
        if missed := [case for case, values in self.scored.items() if column.missed(values)]:
            yield f"{name} is missed entirely in {listed(missed)}: dice is 0, hd95 the diagonal of the image"
        if absent := [case for case, values in self.scored.items() if math.isnan(column.value(values))]:
            yield f"{name} is neither in the reference nor predicted in {listed(absent)}: not applicable"

    def _occurring(self, volume: str) -> set[int]:
        """Indices of the classes that have a volume in at least one case."""
        return {index for values in self.scored.values() for index, each in values.items() if each[volume] > 0}
