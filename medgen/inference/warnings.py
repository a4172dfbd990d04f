"""What is odd about one prediction: its images against those of the training set, its classes against their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medgen.errors import CasesFailed
from medgen.inference.labels import Found
from medgen.inference.lesions import Detected
from medgen.preparation import Preparation, Prepared
from medgen.preparation.plausible import Range, implausible

_CALLED, _FAINT = 0.5, 4.0
"""Confidence from which a lesion is as large as a label would be; the dynamic threshold spreads a faint one far, so it
may be this many times as long as the longest of the training cases."""


def image_warnings(prepared: Prepared, preparations: Iterable[Preparation]) -> tuple[str, ...]:
    """Warnings on images that are unlike the training images of a member of the ensemble, each once."""
    return tuple(dict.fromkeys(note for each in preparations for note in each.unlike_training(prepared)))


def class_warnings(
    found: Mapping[str, Found], detected: Sequence[Detected], ranges: Mapping[str, Range]
) -> tuple[str, ...]:
    """Warnings on classes of which there is more, less or longer than training cases let expect.

    Args:
        found: of the label map.
        detected: the lesions, of a model that detects them.
        ranges: by class, from the training labels; empty for models of earlier versions.
    """
    warnings = [
        warning
        for name, each in found.items()
        if name in ranges
        for warning in implausible(name, each.ml, each.components, each.extent_mm, ranges[name])
    ]
    return (*warnings, *(warning for each in detected for warning in _long_lesions(each, ranges)))


def _long_lesions(detected: Detected, ranges: Mapping[str, Range]) -> tuple[str, ...]:
    name = detected.settings.target_class
    if name not in ranges:
        return ()
    known, warnings = ranges[name], []
    for lesion in detected.lesions:
        longest, expected = (
            max(lesion.extent_mm),
            known.mm if lesion.confidence >= _CALLED else _FAINT * known.trained_mm,
        )
        if longest > expected:
            warnings.append(
                f"{name}: a lesion of {longest:.3g} mm (confidence {lesion.confidence:.2g}) is implausible: at most "
                f"{known.trained_mm:g} mm in the training cases, up to {expected:g} mm expected"
            )
    return tuple(warnings)


def require_plausible(warnings: Sequence[str], *, strict: bool) -> None:
    """With ``strict``, a warning ends the case.

    Raises:
        CasesFailed: there is one.
    """
    if strict and warnings:
        raise CasesFailed(
            f"refused by --strict: {'; '.join(warnings)}",
            fix="look at the image; without --strict the result is written, with these warnings",
        )
