"""Scores of a folder of predictions against references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from medgen.errors import UsageError
from medgen.evaluation.detection import DetectionOptions, evaluate_detection
from medgen.evaluation.scores import Scores
from medgen.evaluation.segmentation import SegmentationOptions, evaluate_segmentation
from medgen.evaluation.synthesis import SynthesisOptions, evaluate_synthesis
from medgen.types import Progress

__all__ = [
    "DetectionOptions",
    "Progress",
    "Scores",
    "SegmentationOptions",
    "SynthesisOptions",
    "evaluate",
    "evaluate_detection",
    "evaluate_segmentation",
    "evaluate_synthesis",
]

_TASKS: dict[str, Callable[..., Scores]] = {
    "synthesis": evaluate_synthesis,
    "segmentation": evaluate_segmentation,
    "detection": evaluate_detection,
}


@overload
def evaluate(
    task: Literal["synthesis"], predictions: str | Path, references: str | Path, **options: Unpack[SynthesisOptions]
) -> Scores: ...


@overload
def evaluate(
    task: Literal["segmentation"],
    predictions: str | Path,
    references: str | Path,
    **options: Unpack[SegmentationOptions],
) -> Scores: ...


@overload
def evaluate(
    task: Literal["detection"],
    predictions: str | Path,
    references: str | Path,
    **options: Unpack[DetectionOptions],
) -> Scores: ...


def evaluate(task: str, predictions: str | Path, references: str | Path, **options: Any) -> Scores:
    """Score predictions of one task.

    Args:
        task: ``"synthesis"`` calls :func:`evaluate_synthesis`, ``"segmentation"`` :func:`evaluate_segmentation`, and
            ``"detection"`` :func:`evaluate_detection`; these describe the other arguments.
        predictions: folder of predictions.
        references: the truth.
        **options: keyword arguments of the task's function.

    Returns:
        The scores.

    Raises:
        UsageError: the task is unknown.
    """
    if task not in _TASKS:
        raise UsageError(f"unknown evaluation task '{task}'", fix=f"choose one of: {', '.join(_TASKS)}")
    return _TASKS[task](predictions, references, **options)
