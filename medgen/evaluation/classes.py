"""Which label values are which class, in the references and in the predictions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from medgen.errors import InputError, UsageError
from medgen.volume import class_indices

Classes = Mapping[str, Collection[int]]

_REPORT = "prediction.json"


@dataclass(frozen=True)
class Grouping:
    """How label values become class indices.

    Args:
        classes: name of a class to the label values of the references; empty: each value is a class of its own.
        group_predictions: whether predictions hold such values too, and not class indices.

    Raises:
        UsageError: a value is in two classes, a class has no value or the background's, or there is none to group by.
    """

    classes: Classes = field(default_factory=dict)
    group_predictions: bool = False

    def __post_init__(self) -> None:
        members = [value for values in self.classes.values() for value in values]
        doubled = sorted({value for value in members if members.count(value) > 1})
        if doubled:
            raise UsageError(
                f"the label value {doubled[0]} is in two classes", fix="give each value to one class, or to none"
            )
        if any(value < 1 for value in members) or not all(self.classes.values()):
            raise UsageError("a class needs label values of 1 and more", fix="0 is the background; name:1,2 is a class")
        if self.group_predictions and not self.classes:
            raise UsageError(
                "there are no classes to group the predictions by", fix="name them, for example tumour:1,2"
            )

    def of_reference(self, values: NDArray[Any]) -> NDArray[Any]:
        """Class indices of a true label map."""
        return class_indices(values, self.classes) if self.classes else values

    def of_prediction(self, values: NDArray[Any], path: Path) -> NDArray[Any]:
        """Class indices of a predicted label map.

        Raises:
            InputError: it holds a number that is no class.
        """
        if self.group_predictions:
            return class_indices(values, self.classes)
        if self.classes and values.max() > len(self.classes):
            raise InputError(
                f"the prediction has the value {values.max()}, but there are {len(self.classes)} classes: "
                f"{', '.join(f'{index} {name}' for index, name in enumerate(self.classes, start=1))}",
                where=path,
                fix="name all classes of the model; if these are values of the references, group the predictions too",
            )
        return values

    @classmethod
    def for_predictions(cls, classes: Classes, group_predictions: bool, predictions: Path) -> Grouping:
        """The grouping that fits the model which wrote ``prediction.json`` beside the predictions, if one did.

        A model whose recipe groups values has named classes, and the same groups must be given here, in its order. One
        whose recipe groups none names its classes by their values; its predictions hold the references' values, so
        they are grouped like them.

        Raises:
            UsageError: the classes are not those of the model.
            InputError: ``prediction.json`` is damaged.
        """
        model = predicted_by(predictions).classes
        if not model:
            return cls(classes, group_predictions)
        if all(name.isdecimal() for name in model):
            return cls(classes, bool(classes))
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(model, start=1))
        if tuple(classes) != model:
            given = ", ".join(classes) or "none"
            raise UsageError(
                f"the predictions hold the classes {listed} of their model; the classes given here are {given}",
                where=predictions,
                fix="give the label values of each class in this order, as 'data.classes' of the model's recipe does",
            )
        if group_predictions:
            raise UsageError(
                f"the predictions hold classes already: {listed}", where=predictions, fix="do not group them again"
            )
        return cls(classes)


class PredictedBy(NamedTuple):
    """The model that made a folder of predictions, as ``prediction.json`` tells.

    Attributes:
        classes: names of its classes; none of a model that makes images, or of another tool.
        target: role of its output; "" of another tool.
        values: by class, the values that it has in the label maps of training; empty where they are not recorded.
    """

    classes: tuple[str, ...]
    target: str
    values: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def predicted_by(predictions: Path) -> PredictedBy:
    """The model that made a folder of predictions.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    report = predictions / _REPORT
    if not report.is_file():
        return PredictedBy((), "")
    try:
        model = json.loads(report.read_text(encoding="utf-8"))["model"]
        values = {str(name): tuple(map(int, each)) for name, each in (model.get("class_values") or {}).items()}
        classes = tuple(str(name) for name in model.get("classes") or ())
        return PredictedBy(classes, str(model.get("target") or ""), values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("the report of the prediction is damaged", where=report, fix="predict again") from None
