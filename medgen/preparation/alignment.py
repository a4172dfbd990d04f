"""The images of one patient on one grid, and voxels that hold no number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medgen.errors import InputError
from medgen.preparation.resampling import resample
from medgen.types import Array
from medgen.volume import Grid, Volume, overlap, require_same_grid, to_ras

_NAN_FIX = "mend the file, or set preparation.nan to zero, min or median in the recipe (when predicting: --nan zero)"


@dataclass(frozen=True, eq=False)
class Place:
    """The prepared grid, and where each image of the patient lies.

    Attributes:
        affine: (4, 4) of the prepared grid, voxel index to RAS+ mm.
        shape: (X, Y, Z) of the prepared grid.
        affines: by role, the (4, 4) of the image with its axes in RAS+ order.
    """

    affine: Array
    shape: tuple[int, ...]
    affines: Mapping[str, Array]

    def bring(self, role: str, volume: Volume, *, nearest: bool) -> Array:
        """The values of a volume on the prepared grid; air beyond its field of view."""
        data = to_ras(volume).data
        fill = 0.0 if nearest else float(data.min())
        result = resample(data, self.affines[role], self.affine, self.shape, fill=fill, nearest=nearest)
        return result if nearest else np.ascontiguousarray(result, np.float32)


def located(role: str, grid: Grid, reference: Grid, notes: list[str], *, elsewhere: str | None) -> Array:
    """Where an image lies: the reference's own affine where the two grids differ by rounding only.

    Args:
        role: for messages.
        grid: of the image, axes in RAS+ order.
        reference: of the first input, likewise.
        notes: gets one where the grids differ.
        elsewhere: what to do about an image on another grid, which is refused; None allows it.

    Raises:
        InputError: the image has no position, lies beside the reference, or on another grid where that is refused.
    """
    if grid is reference:
        return reference.affine
    for each in (grid, reference):
        if not each.has_world_position:
            raise InputError(
                "the file has no world position (sform and qform codes are 0): it cannot be combined with others",
                where=each.source,
                fix="convert the image again from its DICOM series, which knows the position",
            )
    try:
        require_same_grid(grid, reference)
        return reference.affine
    except InputError as error:
        difference = error
    covered = overlap(reference, grid)
    if covered == 0:
        raise InputError(
            f"'{role}' and the reference '{reference.source}' do not overlap in space",
            where=grid.source,
            fix="check that both belong to one patient and one session, or register them",
        )
    if elsewhere is not None:
        what = f"'{role}' lies on another grid than the first input: {difference.what}"
        raise InputError(what, where=difference.where, fix=elsewhere) from difference
    notes.append(f"{role}: resampled to the grid of the first input, {covered:.0%} of which it covers")
    return grid.affine


def finite(role: str, volume: Volume, rule: str, notes: list[str]) -> Volume:
    """Apply the rule for voxels that are NaN or infinite; one of them would spread through the whole volume."""
    good = np.isfinite(volume.data)
    if good.all():
        return volume
    count = int(good.size - good.sum())
    share = f"{count} voxels ({count / good.size:.2%}) of '{role}' are NaN or infinite"
    if rule == "error" or not good.any():
        raise InputError(share, where=volume.source, fix=_NAN_FIX)
    values = volume.data[good]
    value = {"zero": 0.0, "min": values.min(), "median": np.median(values)}[rule]
    notes.append(f"{share}; replaced by {float(value):g} ({rule})")
    return volume.with_data(np.where(good, volume.data, np.asarray(value, volume.data.dtype)))
