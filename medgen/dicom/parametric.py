"""A map of numbers, such as a probability or a standard deviation, as a DICOM parametric map (PS3.3, A.75)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medgen.dicom.elements import Made, Owner, add_side, new_uid
from medgen.dicom.folders import new_folder, save
from medgen.dicom.highdicom import finished, in_their_order, require_highdicom, stand_ins, words
from medgen.dicom.placing import on_slices
from medgen.dicom.source import SourceSeries
from medgen.errors import InputError
from medgen.volume.image import Volume
from medgen.volume.slices import silenced

UNITS = {"1": ("1", "UCUM", "no units"), "HU": ("[hnsf'U]", "UCUM", "Hounsfield unit")}
"""Units of a map, by their usual name."""


def write_parametric_maps(
    maps: Mapping[str, Volume],
    source: SourceSeries,
    folder: str | Path,
    *,
    unit: str = "1",
    owner: Owner | None = None,
    made: Made | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write maps in 32-bit floating point into the study of their source, one object a map.

    Args:
        maps: by what each says, e.g. ``probability of contusion``; (1, X, Y, Z).
        source: the series that they were made from.
        folder: is made, with ``PM_0001.dcm`` for the first map.
        unit: one of :data:`UNITS`.
        owner: whose study; by default the source's.
        made: by what.
        overwrite: replace a folder that holds such objects and nothing else.

    Returns:
        What was decided on the way, for the user.

    Raises:
        InputError: a map lies elsewhere or has values that are no numbers.
        UsageError: highdicom is not installed, or the folder is not empty, and may not be replaced.
        StorageError: the disk is full or the folder cannot be written.
    """
    highdicom = require_highdicom()
    owner, made, all_exact = owner or Owner(), made or Made(), True
    with silenced(), new_folder(folder, overwrite=overwrite) as empty:
        images, series = stand_ins(source, owner), new_uid()
        for number, (says, volume) in enumerate(maps.items(), start=1):
            values, exact = on_slices(volume, source.stack, fill=0.0, nearest=False)
            all_exact &= exact
            if not np.isfinite(values).all():
                raise InputError("the map has voxels that are no numbers", where=volume.source, fix="predict it again")
            pixels = in_their_order(values.astype(np.float32), source)
            low, high = float(pixels.min()), float(pixels.max())
            one = highdicom.pm.ParametricMap(
                images,
                pixels,
                series_instance_uid=series,
                sop_instance_uid=new_uid(),
                instance_number=number,
                contains_recognizable_visual_features=False,
                real_world_value_mappings=[
                    highdicom.pm.RealWorldValueMapping(
                        lut_label=str(number),
                        lut_explanation=says[:64],
                        unit=highdicom.sr.CodedConcept(*UNITS[unit]),
                        value_range=(low, max(high, low + 1e-6)),
                        slope=1.0,
                        intercept=0.0,
                    )
                ],
                window_center=(low + high) / 2,
                window_width=max(high - low, 1e-6),
                content_label="MAP",
                **words(made, source),
            )
            add_side(one, source)
            save(finished(one, source, owner, made, says.capitalize()), empty / f"PM_{number:04d}.dcm")
    return () if all_exact else ("the maps lie on another grid, and were interpolated at the voxels of the source",)
