"""Which files were scored, and which model made them."""

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
        else None and nothing; and ``sha256`` of each file by case.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    model = predicted_by(predictions)
    return {
        KEY: {
            "method": model.method or None,
            "weights_sha256": list(model.weights),
            "sha256": {case: sha256(path) for case, path in paths.items()},
        }
    }
