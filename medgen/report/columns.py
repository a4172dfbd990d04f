"""How each metric is shown: its heading, unit, decimals, and which direction is good."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Column:
    """How one metric is shown.

    Args:
        key: its name in a file of scores.
        heading: for people, without the unit.
        unit: "HU", "dB" or nothing.
        better: which direction is good.
        decimals: after the point.
    """

    key: str
    heading: str
    unit: str = ""
    better: Literal["lower", "higher", "zero", ""] = ""
    decimals: int = 3

    @property
    def titled(self) -> str:
        """The heading with the unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    @property
    def arrow(self) -> str:
        """A sign for the good direction."""
        return {"lower": "↓", "higher": "↑", "zero": "→\u00a00", "": ""}[self.better]

    def text(self, value: float | None) -> str:
        """``value`` with this metric's number of decimals; a dash where there is none.

        >>> Column("me", "mean error", "HU", "zero", 1).text(-3.14)
        '−3.1'
        """
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value:.{self.decimals}f}".replace("-", "−")

    def interval(self, ends: tuple[float, float] | None, between: str = " to ") -> str:
        """A 95 % interval; nothing where there is none.

        >>> Column("dice", "Dice").interval((0.5, 0.75))
        '0.500 to 0.750'
        """
        return between.join(self.text(end) for end in ends or ())

    def listed(self, values: Iterable[float]) -> str:
        """The values of a few cases.

        >>> Column("dice", "Dice").listed([0.5, 0.75])
        '0.500, 0.750'
        """
        return ", ".join(self.text(value) for value in values)

    def badness(self, mean: float) -> float:
        """A number that is smaller the better ``mean`` is; NaN where no direction is known."""
        return {"lower": mean, "higher": -mean, "zero": abs(mean), "": math.nan}[self.better]

    @classmethod
    def of(cls, key: str) -> Column:
        """The column of a metric, also of one class (``hd95_core``); an unknown one is shown under its own name.

        >>> Column.of("hd95_core").titled
        'HD95 core (mm)'
        """
        if key in _COLUMNS:
            return _COLUMNS[key]
        general = max((name for name in _COLUMNS if key.startswith(f"{name}_")), key=len, default="")
        if not general:
            return cls(key, key.replace("_", " "))
        known = _COLUMNS[general]
        return replace(known, key=key, heading=f"{known.heading} {key.removeprefix(f'{general}_').replace('_', ' ')}")


_COLUMNS = {
    column.key: column
    for column in (
        Column("mae", "MAE", "HU", "lower", 1),
        Column("mae_soft", "MAE soft tissue", "HU", "lower", 1),
        Column("mae_bone", "MAE bone", "HU", "lower", 1),
        Column("mae_air", "MAE air", "HU", "lower", 1),
        Column("me", "mean error", "HU", "zero", 1),
        Column("psnr", "PSNR", "dB", "higher", 2),
        Column("ssim", "SSIM", "", "higher", 3),
        Column("ms_ssim", "MS-SSIM", "", "higher", 3),
        Column("dice_bone", "Dice bone", "", "higher", 3),
        Column("edge_error_bone", "edge error bone", "HU", "lower", 1),
        Column("gradient_ratio", "gradient ratio", "", "", 3),
        Column("false_tissue", "tissue outside the mask", "ml", "lower", 1),
        Column("psnr_nie", "PSNR of Nie", "dB", "higher", 2),
        Column("sd_error_correlation", "correlation of SD and error", "", "higher", 3),
        Column("coverage", "error within 2 SD", "", "", 3),
        Column("mean_sd", "mean SD", "HU", "", 1),
        Column("interval_coverage", "coverage", "", "", 3),
        Column("interval_width", "interval width", "HU", "lower", 1),
        Column("ause", "AUSE", "", "lower", 3),
        Column("ece", "ECE", "", "lower", 3),
        Column("dice", "Dice", "", "higher", 3),
        Column("hd95", "HD95", "mm", "lower", 2),
        Column("nsd", "NSD", "", "higher", 3),
        Column("recall", "recall", "", "higher", 3),
        Column("precision", "precision", "", "higher", 3),
        Column("volume_error", "volume error", "ml", "zero", 2),
        Column("lesion_f1", "lesion F1", "", "higher", 3),
        Column("lesion_recall", "lesion recall", "", "higher", 3),
        Column("lesion_precision", "lesion precision", "", "higher", 3),
        Column("lesions_true", "lesions, true", "", "", 1),
        Column("lesions_predicted", "lesions, predicted", "", "", 1),
        Column("volume_ml", "volume, predicted", "ml", "", 2),
        Column("volume_true_ml", "volume, true", "ml", "", 2),
        Column("auroc", "AUROC", "", "higher", 3),
        Column("ap", "AP", "", "higher", 3),
        Column("score", "PI-CAI score", "", "higher", 3),
        Column("sensitivity_at", "sensitivity, FP ≤", "", "higher", 3),
        Column("voxel_sensitivity", "voxel sensitivity", "", "higher", 3),
        Column("voxel_specificity", "voxel specificity", "", "higher", 4),
        Column("lesions_found", "lesions, found", "", "", 1),
        Column("false_positives", "false positives", "", "", 1),
        Column("confidence", "patient score", "", "", 3),
    )
}


def in_order(keys: Iterable[str]) -> list[Column]:
    """The columns of some metrics: those that are known in their usual order, then the others."""
    found = dict.fromkeys(keys)
    known = [key for key in _COLUMNS if key in found]
    return [Column.of(key) for key in (*known, *(key for key in found if key not in _COLUMNS))]
