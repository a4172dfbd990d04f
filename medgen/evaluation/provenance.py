"""Which files were scored, which model made them, and whether its intervals were calibrated on the same cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.evaluation.classes import predicted_by
from medgen.files import sha256

KEY = "predictions"
"""Of the settings of the scores."""


def provenance(predictions: Path, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The entry ``predictions`` of the settings: by it a report tells whether scores, predictions and a run fit.

    Args:
        predictions: the folder, or one file.
        paths: by case, the file that was scored.

    Returns:
        ``method`` and ``weights_sha256`` (one hash for each model of an ensemble) as ``prediction.json`` names them,
        else None and nothing; ``sha256`` of each file by case; of a segmentation ``threshold``; and of intervals
        ``interval``, with their nominal ``coverage`` and whether they are ``calibrated``.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    model = predicted_by(predictions)
    return {
        KEY: {
            "method": model.method or None,
            "weights_sha256": list(model.weights),
            "sha256": {case: sha256(path) for case, path in paths.items()},
            **({"threshold": model.threshold} if model.threshold is not None else {}),
            **({"interval": dict(model.interval)} if model.interval else {}),
        }
    }


def calibration_notes(predictions: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """A note if the intervals and the gate were calibrated on the cases that are scored.

    Args:
        predictions: the folder.
        settings: ``split`` and ``references`` of the scores.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    made, table = predicted_by(predictions).calibrated_on, settings.get("references", {}).get("sha256")
    if not made or made["cases_sha256"] != table or settings["split"] not in ("all", made["split"]):
        return ()
    return (
        f"the intervals and the gate were calibrated on cases that are scored here (split '{made['split']}' of this "
        "table), so their coverage and verdicts are no test: score other cases",
    )
