"""All that is measured of one predicted structure: overlap, surface and lesions, by name."""

from __future__ import annotations

from medgen.metrics.lesions import count_lesions
from medgen.metrics.matching import OVERLAP
from medgen.metrics.overlap import Mask, Spacing, dice, precision, recall, volume, volume_error
from medgen.metrics.surface import TOLERANCE, surface_scores

UNITS = {
    "dice": "",
    "hd95": "mm",
    "nsd": "",
    "recall": "",
    "precision": "",
    "volume_error": "ml",
    "lesion_f1": "",
    "lesion_recall": "",
    "lesion_precision": "",
    "lesions_true": "",
    "lesions_predicted": "",
    "volume_ml": "ml",
    "volume_true_ml": "ml",
}
"""The metrics of :func:`segmentation_scores` in their order, with their units."""

DEFINITIONS: dict[str, object] = {
    "hd95": "larger directed 95th percentile of the surface's area, in mm (DeepMind surface-distance)",
    "nsd": "share of both surfaces within 'tolerance' mm of the other",
    "volume_error": "predicted minus true, in ml",
    "lesions": "26-connected pieces, matched one to one at an intersection over union of 'lesion_overlap'; f1 is the "
    "harmonic mean of lesion recall and precision",
    "empty_masks": {
        "both": "no score applies; counted in n_not_applicable",
        "prediction": "dice, nsd, recall, precision and lesion scores 0, hd95 the diagonal of the image; in n_missed",
        "truth": "dice, nsd, precision, lesion f1 and precision 0, hd95 the diagonal of the image; no recall applies",
    },
}
"""What the numbers mean, and what empty masks count as; written beside every result."""


def segmentation_scores(
    prediction: Mask,
    truth: Mask,
    spacing: Spacing,
    *,
    tolerance: float = TOLERANCE,
    lesion_overlap: float = OVERLAP,
    lesion_minimum_ml: float = 0.0,
) -> dict[str, float]:
    """All metrics of one structure in one case, by name; what empty masks count as stands in ``DEFINITIONS``.

    Args:
        prediction: ``(X, Y, Z)``, the whole image: its diagonal is the HD95 of a structure that is missed.
        truth: as the prediction.
        spacing: voxel size in mm.
        tolerance: of the normalised surface Dice, in mm.
        lesion_overlap: least intersection over union, in (0, 1], of a true and a predicted lesion that match.
        lesion_minimum_ml: lesions smaller than this are not counted.

    Returns:
        The metrics of ``UNITS``.

    Raises:
        ValueError: the two are not masks of one shape.
    """
    distance, near = surface_scores(prediction, truth, spacing, tolerance=tolerance)
    lesions = count_lesions(prediction, truth, spacing, overlap=lesion_overlap, minimum_ml=lesion_minimum_ml)
    return {
        "dice": dice(prediction, truth),
        "hd95": distance,
        "nsd": near,
        "recall": recall(prediction, truth),
        "precision": precision(prediction, truth),
        "volume_error": volume_error(prediction, truth, spacing),
        "lesion_f1": lesions.f1,
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
        "lesions_true": float(lesions.true),
        "lesions_predicted": float(lesions.predicted),
        "volume_ml": volume(prediction, spacing),
        "volume_true_ml": volume(truth, spacing),
    }
