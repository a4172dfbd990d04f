"""The lesions of one patient: the region that is searched, the class around each, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medgen
from medgen.errors import ModelError
from medgen.files import write_json
from medgen.inference.candidates import Lesion, find_candidates
from medgen.metrics.overlap import CUBE
from medgen.preparation.intensity import grown
from medgen.recipe.prediction import DetectionConfig
from medgen.volume import Volume

DETECTION_MAP, LESIONS = "detection_map", "lesions"
NOTICE = "Research software: no diagnosis. What is listed may be harmless, and what is missed may not be."

_AROUND = 3.0
"""mm around a lesion in which the class around it is counted: its own voxels are mostly labelled as lesion."""


@dataclass(frozen=True, eq=False)
class Detected:
    """What was found in one patient.

    Attributes:
        map: (1, X, Y, Z) float32 on the grid of the first input, the confidence of a lesion in all of its voxels and
            0 elsewhere.
        lesions: the most confident first.
        regions: for each lesion, the other class that most of the label map has in it and 3 mm around; "" for none.
        score: the patient's score, the highest confidence, or 0.
        settings: how they were found.
        notes: decisions made on the way.
    """

    map: Volume
    lesions: tuple[Lesion, ...]
    regions: tuple[str, ...]
    score: float
    settings: DetectionConfig
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one line."""
        return f"{self.settings.target_class}: patient score {self.score:.3f}, lesions: {len(self.lesions)}"

    def rows(self) -> list[dict[str, Any]]:
        """The lesions as plain values, for a table; lengths in mm to a thousandth."""
        return [
            {"number": number, **_rounded(asdict(lesion)), "region": region}
            for number, (lesion, region) in enumerate(zip(self.lesions, self.regions, strict=True), start=1)
        ]


OnDetected = Callable[[Detected], None]
"""Called with the lesions of a patient."""


def detect(probability: Volume, label: Volume, classes: Sequence[str], settings: DetectionConfig) -> Detected:
    """Find the lesions of one patient on the patient's own grid.

    Args:
        probability: (1, X, Y, Z) in [0, 1] of the class ``settings.target_class``, 0 outside the body.
        label: (1, X, Y, Z) integers, n for the class n - 1 of ``classes``, on the same grid.
        classes: names of the classes, without the background.
        settings: threshold, sizes, and the organ they must be near.
    """
    inside, notes = _near(label, classes, settings)
    found = find_candidates(
        probability.data[0], probability.spacing, settings, affine=probability.affine, inside=inside
    )
    own = 1 + list(classes).index(settings.target_class)
    regions = tuple(_region(lesion, found.map, label, classes, own) for lesion in found.lesions)
    place = probability.with_data(found.map)
    return Detected(place, found.lesions, regions, found.score, settings, notes)


def write_lesions(path: Path, detected: Detected, *, case: str, detection_map: str, model: Mapping[str, Any]) -> None:
    """Write ``<case>_lesions.json``, atomically; it holds no patient data.

    Args:
        path: the file.
        detected: the lesions.
        case: name of the patient.
        detection_map: name of the file with the map.
        model: its method and hashes.
    """
    volume = detected.map
    write_json(
        path,
        {
            "research_use_only": True,
            "notice": NOTICE,
            "medgen": medgen.__version__,
            "case": case,
            "class": detected.settings.target_class,
            "patient_score": detected.score,
            "lesions": detected.rows(),
            "detection_map": detection_map,
            "coordinates": "centre_mm: RAS+ millimetres; voxels and slices count from 0 on the grid of detection_map",
            "grid": {"shape": volume.shape, "spacing_mm": volume.spacing, "affine": volume.affine.tolist()},
            "settings": detected.settings.model_dump(mode="json"),
            "model": dict(model),
            "notes": detected.notes,
        },
    )


def _near(
    label: Volume, classes: Sequence[str], settings: DetectionConfig
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """(X, Y, Z), the largest connected piece of the organ and its surroundings; None: anywhere."""
    from scipy import ndimage

    if not settings.near:
        return None, ()
    values = label.data[0]
    numbers = [1 + list(classes).index(name) for name in settings.near]
    if not np.isin(values, numbers).any():
        listed = ", ".join(settings.near)
        return None, (f"no voxel of {listed} was found: lesions were searched for everywhere",)
    organ = np.isin(values, [*numbers, 1 + list(classes).index(settings.target_class)])
    pieces, _ = ndimage.label(organ, CUBE)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return grown(np.asarray(pieces == sizes.argmax()), label.affine, settings.near_mm), ()


def _region(lesion: Lesion, confidence: NDArray[np.float32], label: Volume, classes: Sequence[str], own: int) -> str:
    """The most frequent class in and around a lesion, other than background and the lesion's own."""
    reach = [int(_AROUND / step + 1e-6) for step in label.spacing]
    box = tuple(
        slice(max(0, low - more), high + more + 1)
        for low, high, more in zip(lesion.first_voxel, lesion.last_voxel, reach, strict=True)
    )
    # No two lesions touch, but two may have one confidence: the piece around the peak is meant.
    same = confidence[box] == confidence[lesion.peak_voxel]
    around = grown(_piece(same, lesion, box), label.affine, _AROUND)
    counts = np.bincount(label.data[0][box][around].astype(np.intp), minlength=1 + len(classes))
    counts[[0, own]] = 0
    return classes[int(counts.argmax()) - 1] if counts.any() else ""


def _piece(mask: NDArray[np.bool_], lesion: Lesion, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    from scipy import ndimage

    pieces, _ = ndimage.label(mask, CUBE)
    peak = tuple(at - part.start for at, part in zip(lesion.peak_voxel, box, strict=True))
    return np.asarray(pieces == pieces[peak])


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Millimetres and voxel places to a thousandth; a confidence as it stands in the map."""
    exact = {"confidence", "mean_probability"}
    return {name: value if name in exact else _thousandth(value) for name, value in values.items()}


def _thousandth(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_thousandth(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


def require_classes(detection: DetectionConfig | None, classes: Sequence[str]) -> None:
    """Refuse a model that detects lesions in, or near, a class that it does not make.

    Raises:
        ModelError: there is no such class.
    """
    for name in (detection.target_class, *detection.near) if detection else ():
        if name not in classes:
            raise ModelError(
                f"model.json names the class '{name}' for the detection of lesions, and the model does not make it"
            )
