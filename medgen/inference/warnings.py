"""What is odd about one prediction: its images against those of the training set, its classes against their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medgen.errors import CasesFailed
from medgen.inference.labels import Found
from medgen.inference.lesions import Detected
from medgen.preparation import Preparation, Prepared
from medgen.preparation.plausible import Range, implausible


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
    for each in detected:
        name = each.settings.target_class
        longest = max((edge for lesion in each.lesions for edge in lesion.extent_mm), default=0.0)
        if name in ranges and longest > ranges[name].mm:
            warnings.append(
                f"{name}: a detected lesion of {longest:.3g} mm is implausible: at most {ranges[name].trained_mm:g} mm "
                f"in the training cases, up to {ranges[name].mm:g} mm expected"
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
