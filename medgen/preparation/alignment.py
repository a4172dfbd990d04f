"""The images of one patient on one grid, and voxels that hold no number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.preparation.resampling import resample
from medgen.volume import SAME_GRID, Volume, corner_distance, overlap, to_ras

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Place:
    """The prepared grid, and the reference that the other images of the patient must overlap."""

    reference: Volume
    affine: Array
    shape: tuple[int, ...]

    def bring(self, role: str, volume: Volume, notes: list[str], *, nearest: bool) -> Array:
        """The values of a volume on the prepared grid; air beyond its field of view."""
        volume = to_ras(volume)
        affine = self._affine_of(role, volume, notes)
        fill = 0.0 if nearest else float(volume.data.min())
        result = resample(volume.data, affine, self.affine, self.shape, fill=fill, nearest=nearest)
        return result if nearest else np.ascontiguousarray(result, np.float32)

    def _affine_of(self, role: str, volume: Volume, notes: list[str]) -> Array:
        """The reference's own affine where the grids differ by rounding only."""
        if volume.source == self.reference.source and np.array_equal(volume.affine, self.reference.affine):
            return self.reference.affine
        for each in (volume, self.reference):
            if not each.has_world_position:
                raise InputError(
                    "the file has no world position (sform and qform codes are 0): it cannot be combined with others",
                    where=each.source,
                    fix="convert the image again from its DICOM series, which knows the position",
                )
        if volume.shape == self.reference.shape:
            distance = corner_distance(volume, self.reference) / min(self.reference.spacing)
            if distance <= SAME_GRID:
                return self.reference.affine
        covered = overlap(self.reference, volume)
        if covered == 0:
            raise InputError(
                f"'{role}' and the reference '{self.reference.source}' do not overlap in space",
                where=volume.source,
                fix="check that both belong to one patient and one session, or register them",
            )
        notes.append(f"{role}: resampled to the grid of the first input, {covered:.0%} of which it covers")
        return volume.affine


def finite(role: str, volume: Volume, rule: str, notes: list[str]) -> Volume:
    """Apply the rule for voxels that are NaN or infinite; one of them would spread through the whole volume."""
    good = np.isfinite(volume.data)
    if good.all():
        return volume
    count = int(good.size - good.sum())
    share = f"{count} voxels ({count / good.size:.2%}) of '{role}' are NaN or infinite"
    if rule == "error" or not good.any():
        raise InputError(share, where=volume.source, fix="mend the file, or choose --nan zero, min or median")
    values = volume.data[good]
    value = {"zero": 0.0, "min": values.min(), "median": np.median(values)}[rule]
    notes.append(f"{share}; replaced by {float(value):g} ({rule})")
    return volume.with_data(np.where(good, volume.data, np.asarray(value, volume.data.dtype)))
