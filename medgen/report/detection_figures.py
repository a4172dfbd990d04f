"""The pictures of a detection with their captions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medgen.report.detection import Example, Patient, choose_examples, point, read_patients
from medgen.report.detection_charts import CAPTION, detection_chart
from medgen.report.detection_images import load_detected, target_of
from medgen.report.detection_montage import DetectionImages, detection_montage
from medgen.report.drawing import Picture, png, themed

if TYPE_CHECKING:
    from medgen.report.sources import Sources


def detection_pictures(sources: Sources) -> list[tuple[str, Callable[[], Picture]]]:
    """What is to be drawn of single cases, in words, and how."""
    shown = [patient for patient in read_patients(sources) if patient.case in sources.cases]
    by_name = {patient.case: patient for patient in shown}
    return [
        (f"case {example.case}", partial(_picture, sources, by_name[example.case], example))
        for example in choose_examples(shown)
    ]


def curves_picture(sources: Sources) -> Picture:
    """ROC, precision and recall, and FROC of every method whose detections were scored."""
    methods = [method for method in sources.methods if method.task == "detection"]
    return themed("detection", "scores", "Curves", CAPTION, lambda theme: detection_chart(methods, theme))


def _picture(sources: Sources, patient: Patient, example: Example) -> Picture:
    images, notes = load_detected(sources, example.case)
    target = target_of(images, example)
    drawn = png(detection_montage(images, target, title=f"{example.case} · {_summary(patient)}"))
    caption = " ".join([*_sentences(images, target, example), *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    return Picture(f"lesion_{example.case}", "case", f"{example.case}: {example.remark}", caption, drawn, drawn)


def _summary(patient: Patient) -> str:
    """The result of a case, for the title of its picture."""
    score = f"patient score {patient.score:.2f}"
    if patient.findings is None:
        return f"{score}, candidates: {len(patient.lesions)}"
    lesions = sum(lesion for lesion, _, _ in patient.findings)
    wrong = sum(not lesion for lesion, _, _ in patient.findings)
    return f"{score}, lesions found: {lesions - patient.missed} of {lesions}, false positives: {wrong}"


def _sentences(images: DetectionImages, target: NDArray[np.bool_], example: Example) -> list[str]:
    what = "true lesion" if example.kind in {"hit", "miss"} and images.truth is not None else "candidate"
    spacing = " × ".join(f"{size:g}" for size in np.round(images.spacing, 3))
    plane = images.plane
    sentences = [
        f"The {plane.name} slice with most of the {what}"
        + (f", whose centre is at {_centre(images, target)} mm (right, anterior, superior)" if target.any() else "")
        + ", plain above and with the candidates below."
    ]
    sides = f"{plane.sides[0]} is on the left of the picture"
    sentences.append(
        f"Radiological convention: {sides}. Voxels of {spacing} mm."
        if images.oriented
        else "The file does not say which side is left: the sides are unknown."
    )
    sentences.append("Grey values are scaled to this slice, colours to confidences from 0 to 1.")
    return sentences


def _centre(images: DetectionImages, target: NDArray[np.bool_]) -> str:
    voxel = np.argwhere(target).mean(axis=0)
    return point((images.affine[:3, :3] @ voxel + images.affine[:3, 3]).tolist())
