"""Mapping from label values to classes, in the references and in the predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from medgen.cases import columns_of, is_role
from medgen.errors import InputError, UsageError, content_errors
from medgen.evaluation.references import stem_of
from medgen.volume import class_indices

Classes = Mapping[str, Collection[int]]

_REPORT = "prediction.json"


@dataclass(frozen=True)
class Grouping:
    """Mapping from label values to class indices.

    Args:
        classes: by class name its label values in the references; if empty, each value is a class of its own.
        group_predictions: whether predictions hold label values too, instead of class indices.

    Raises:
        UsageError: a value is in two classes, a class has no value or the value 0, or predictions are to be grouped
            without classes.
    """

    classes: Classes = field(default_factory=dict)
    group_predictions: bool = False

    def __post_init__(self) -> None:
        members = [value for values in self.classes.values() for value in values]
        doubled = sorted({value for value in members if members.count(value) > 1})
        if doubled:
            raise UsageError(
                f"the label value {doubled[0]} is in two classes", fix="list each value in at most one class"
            )
        if any(value < 1 for value in members) or not all(self.classes.values()):
            raise UsageError(
                "the label values of a class must be 1 or more, because 0 is the background",
                fix="write for example name:1,2",
            )
        if self.group_predictions and not self.classes:
            raise UsageError(
                "predictions cannot be grouped without classes", fix="give classes, for example tumour:1,2"
            )

    def of_reference(self, values: NDArray[Any]) -> NDArray[Any]:
        """Class indices of a true label map."""
        return class_indices(values, self.classes) if self.classes else values

    def of_prediction(self, values: NDArray[Any], path: Path) -> NDArray[Any]:
        """Class indices of a predicted label map.

        Raises:
            InputError: it holds a number larger than the number of classes.
        """
        if self.group_predictions:
            return class_indices(values, self.classes)
        if self.classes and values.max() > len(self.classes):
            raise InputError(
                f"the prediction contains the value {values.max()}, but there are {len(self.classes)} classes: "
                f"{', '.join(f'{index} {name}' for index, name in enumerate(self.classes, start=1))}",
                where=path,
                fix="name all classes of the model; if the predictions hold label values instead of class numbers, "
                "add --group-predictions (group_predictions=True in Python)",
            )
        return values

    @classmethod
    def for_predictions(cls, classes: Classes, group_predictions: bool, predictions: Path) -> Grouping:
        """The grouping for the model that wrote ``prediction.json`` beside the predictions, if there is such a file.

        If the model's recipe groups values into named classes, the same classes must be given here in the same order.
        If it does not, its classes are named by their values and its predictions hold label values like the
        references, so both are grouped in the same way.

        Raises:
            UsageError: the classes differ from those of the model.
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
                f"the model of these predictions has the classes {listed}; the classes given here are {given}",
                where=predictions,
                fix="give the same classes in the same order, with the label values in 'data.classes' of the recipe",
            )
        if group_predictions:
            raise UsageError(
                f"the predictions already hold class numbers: {listed}",
                where=predictions,
                fix="omit --group-predictions (group_predictions in Python)",
            )
        return cls(classes)


class Judged(NamedTuple):
    """What ``predict`` said of a case with several estimates.

    Attributes:
        mean_sd: the score of the gate, see :func:`medgen.metrics.uncertainty.mean_sd`; in the unit of the image.
        accepted: the verdict of the gate; None if the model was not calibrated.
    """

    mean_sd: float
    accepted: bool | None = None


class PredictedBy(NamedTuple):
    """The model that made a folder of predictions, read from ``prediction.json``.

    Attributes:
        classes: names of its classes; empty for a model that makes images and for another tool.
        target: role of its output; "" for another tool.
        values: by class its values in the label maps of training; empty if they are not recorded.
        method: its name; "" for another tool.
        weights: SHA-256 of the weights, of an ensemble of each model; empty if they are not recorded.
        calibrated_on: ``split`` and ``cases_sha256`` of the cases that its intervals were calibrated on, if they were.
        judged: of several estimates of an image, by its file relative to the folder (``.`` is the one file that was
            asked for), what was said of the case.
        interval: ``coverage`` (nominal) and ``calibrated`` of the intervals, if there are any.
        threshold: at which probabilities became labels; None if it is not recorded.
    """

    classes: tuple[str, ...]
    target: str
    values: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    method: str = ""
    weights: tuple[str, ...] = ()
    calibrated_on: Mapping[str, str] = MappingProxyType({})
    judged: Mapping[str, Judged] = MappingProxyType({})
    interval: Mapping[str, Any] = MappingProxyType({})
    threshold: float | None = None


def predicted_by(predictions: Path) -> PredictedBy:
    """Read which model made a folder of predictions, or one file.

    The record of one file is ``<name>.prediction.json`` beside it, or the ``prediction.json`` of the cohort in its
    folder or the one above, where that names the file.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    for report in _reports_of(predictions):
        with content_errors("the prediction report is damaged", where=report, fix="predict again"):
            content = json.loads(report.read_text(encoding="utf-8"))
            if predictions.is_dir():
                return _predicted_by(content)
            output = predictions.absolute().relative_to(report.parent).as_posix()
            if rows := [row for row in map(dict, content.get("cases") or ()) if row.get("output") == output]:
                return _predicted_by({**content, "cases": [{**rows[0], "output": "."}]})
    return PredictedBy((), "")


def _reports_of(predictions: Path) -> list[Path]:
    """The files that may say which model made a folder of predictions, or one file."""
    places = [predictions / _REPORT]
    if predictions.is_file():
        file = predictions.absolute()
        places = [file.with_name(f"{stem_of(file)}.{_REPORT}"), *(folder / _REPORT for folder in file.parents[:2])]
    return [place for place in places if place.is_file()]


def _predicted_by(content: Mapping[str, Any]) -> PredictedBy:
    model, known = content["model"], content.get("calibration")
    calibrated_on = {key: str(known[key]) for key in ("split", "cases_sha256")} if known else {}
    values = {str(name): tuple(map(int, each)) for name, each in (model.get("class_values") or {}).items()}
    classes = tuple(str(name) for name in model.get("classes") or ())
    target = str(model.get("target") or "")
    if target and not all(is_role(column) for column in columns_of(target)):
        raise ValueError("no role")
    hashes = (model.get("weights_sha256"), *(model.get("ensemble_sha256") or ()))
    weights = tuple(str(each) for each in hashes if each)
    rows = [row for row in map(dict, content.get("cases") or ()) if "measured" in row]
    judged = {str(row["output"]): _judged(row["measured"]) for row in rows}
    scale = content.get("interval") or {}
    interval = {"coverage": float(scale["coverage"]), "calibrated": bool(scale["calibrated"])} if scale else {}
    method = str(model.get("method") or "")
    threshold = float(content["threshold"]) if "threshold" in content else None
    return PredictedBy(classes, target, values, method, weights, calibrated_on, judged, interval, threshold)


def _judged(measured: Mapping[str, Any]) -> Judged:
    score, accepted = measured["mean_sd"], measured.get("accepted")
    if isinstance(score, bool) or not math.isfinite(score) or not isinstance(accepted, bool | None):
        raise ValueError("no score, or no verdict")
    return Judged(float(score), accepted)
