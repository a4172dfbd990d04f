"""The curves, findings and settings in a file of scores: checked when the file is read, then used freely."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from medgen.evaluation.provenance import KEY
from medgen.types import Floats

TISSUES = {"all": "all voxels", "air": "air", "soft": "soft tissue", "bone": "bone"}
"""The parts of an image that have scores of their own, with their names for people."""
PANELS = {
    "roc": ("false_positive_rate", "sensitivity"),
    "precision_recall": ("recall", "precision"),
    "froc": ("false_positives", "sensitivity"),
}
"""The curves of a detection: the keys of both axes."""


_LARGEST = 1e30  # no score is so large, and no axis can be drawn that far


def number(value: Any) -> float:
    """A number of a file of scores; null is NaN.

    Raises:
        ValueError: it is no number, or so large that no chart can show it.
    """
    found = np.nan if value is None else float(value)
    if np.isfinite(found) and abs(found) > _LARGEST:
        raise ValueError(f"{found:g} is no score")
    return found


def curve(details: Mapping[str, Any], *keys: str) -> Floats:
    """The numbers of a curve, (n,); null is NaN."""
    values: Any = details
    for key in keys:
        values = values[key]
    return np.array([number(value) for value in values], dtype=np.float64)


def require_details(details: Mapping[str, Any]) -> None:
    """Use every part of the details as a report does, so that what is damaged raises while the file is known.

    Args:
        details: parts of a file of scores, by :data:`DETAILS`.

    Raises:
        Exception: of any kind that Python raises of values that are of another type or out of range.
    """
    for name, part in details.items():
        DETAILS[name](part)


def require_settings(settings: Mapping[str, Any]) -> None:
    """As :func:`require_details`, of the settings."""
    record = settings.get(KEY) or {}
    _texts(record.get("weights_sha256") or ())
    _texts(dict(record.get("sha256") or {}).values())
    if (share := (record.get("interval") or {}).get("coverage")) is not None:
        _finite(share)
    if isinstance(classes := settings.get("classes"), Mapping):
        for values in classes.values():
            [int(value) for value in values]
    dict(settings.get("definitions") or {})
    [int(value) for value in (settings.get("least_grade") or 0, *(settings.get("lesion_values") or ()))]


def _alike(part: Mapping[str, Any], *curves: tuple[str, ...]) -> None:
    """Raise unless all curves are numbers, and as many as the first one has."""
    lengths = {".".join(keys): len(curve(part, *keys)) for keys in curves}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"curves of unequal length: {lengths}")


def _sparsification(part: Mapping[str, Any]) -> None:
    pairs = [(tissue, key) for tissue in TISSUES if tissue in part for key in ("error", "oracle")]
    _alike(part, ("removed",), *pairs)


def _accept_reject(part: Mapping[str, Any]) -> None:
    _alike(part, ("accepted",), ("mae",))


def _gate(part: Mapping[str, Any]) -> None:
    if part:
        [int(part[side]["mae"]["n"]) for side in ("accepted", "rejected")]


def _reliability(part: Mapping[str, Any]) -> None:
    for table in part.values():
        _alike(table, ("probability",), ("frequency",))


def _detection(part: Mapping[str, Any]) -> None:
    for name, axes in PANELS.items():
        _alike(part[name], *((axis,) for axis in axes))


def _findings(part: Mapping[str, Any]) -> None:
    for each in part.values():
        [(bool(lesion), _finite(sure), _finite(overlap)) for lesion, sure, overlap in each]


def _texts(values: Iterable[Any]) -> None:
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise TypeError(f"{wrong[0]!r:.40} is no text")


def _finite(value: Any) -> float:
    if not np.isfinite(found := number(value)):
        raise ValueError(f"{found} is no finite number")
    return found


DETAILS: Mapping[str, Callable[[Any], None]] = {
    "curves": _detection,
    "findings": _findings,
    "sparsification": _sparsification,
    "accept_reject": _accept_reject,
    "gate": _gate,
    "reliability": _reliability,
}
"""What a file of scores may have besides numbers, with the function that uses it once."""
