"""Warnings on predictions, and on the model that made them, from the files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medgen.cases.phantoms import phantom_notice
from medgen.errors import content_errors


@dataclass(frozen=True)
class Warned:
    """What the reader of a report must know first.

    Attributes:
        phantoms: a sentence on a model that learnt from phantoms; empty for one that did not, or is not known to.
        cases: by case, the warnings that its prediction came with.
        predicted: how many predictions there are.
        coverage: nominal, of their intervals; None where they have none.
    """

    phantoms: str = ""
    cases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    predicted: int = 0
    coverage: float | None = None


def read_warned(folder: Path) -> Warned:
    """Read ``predictions/prediction.json``, and where it has no notice ``model.json`` of the run.

    Args:
        folder: a run folder, or one that holds ``run/`` and ``predictions/``.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    path = folder / "predictions" / "prediction.json"
    prediction = _read(path)
    with content_errors("the prediction report is damaged", where=path, fix="predict again"):
        warned = _warned(prediction)
    return warned if warned.phantoms else replace(warned, phantoms=_notice_of_models(folder))


def _notice_of_models(folder: Path) -> str:
    for path in (place / "model" / "model.json" for place in (folder, folder / "run")):
        with content_errors("the model is damaged", where=path, fix="copy it again, or train again"):
            if notice := phantom_notice(_read(path)):
                return notice
    return ""


def _warned(prediction: Mapping[str, Any]) -> Warned:
    notice = (prediction.get("model") or {}).get("phantoms") or ""
    cases = [case for case in prediction.get("cases", ()) if case.get("status") != "failed"]
    warned = {str(case["case"]): tuple(map(str, case["warnings"])) for case in cases if case.get("warnings")}
    coverage = (prediction.get("interval") or {}).get("coverage")
    return Warned(str(notice), warned, len(cases), float(coverage) if isinstance(coverage, int | float) else None)


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; nothing where there is none that can be read, so that a report can be made."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
