"""A map of numbers, such as a probability or a standard deviation, as a DICOM parametric map (PS3.3, A.75)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medgen.dicom.elements import Made, Owner, add_side, new_uid, plain_text
from medgen.dicom.folders import new_folder, save
from medgen.dicom.highdicom import finished, in_their_order, require_highdicom, stand_ins, words
from medgen.dicom.placing import on_slices, require_one_channel
from medgen.dicom.source import SourceSeries
from medgen.errors import InputError, UsageError
from medgen.volume.image import Volume
from medgen.volume.slices import silenced

UNITS = {"1": ("1", "UCUM", "no units"), "HU": ("[hnsf'U]", "UCUM", "Hounsfield unit")}
"""Units of a map, by their usual name."""


def write_parametric_maps(
    maps: Mapping[str, Volume],
    source: SourceSeries,
    folder: str | Path,
    *,
    unit: str | Mapping[str, str] = "1",
    owner: Owner | None = None,
    made: Made | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write maps in 32-bit floating point into the study of their source, one series and object a map.

    Args:
        maps: by what each says, e.g. ``probability of contusion``; (1, X, Y, Z).
        source: the series that they were made from.
        folder: is made, with ``PM_0001.dcm`` for the first map.
        unit: of all maps, or of each by what it says; one of :data:`UNITS`.
        owner: whose study; by default the source's.
        made: by what.
        overwrite: replace a folder that holds such objects and nothing else.

    Returns:
        What was decided on the way, for the user.

    Raises:
        InputError: a map lies elsewhere or has values that are no numbers.
        UsageError: highdicom is not installed, the unit is not known, a map has several channels, or the folder is not
            empty, and may not be replaced.
        StorageError: the disk is full or the folder cannot be written.
    """
    highdicom = require_highdicom()
    owner, made, all_exact = owner or Owner(), made or Made(), True
    units = {says: unit if isinstance(unit, str) else unit[says] for says in maps}
    if unknown := sorted({*units.values()} - {*UNITS}):
        raise UsageError(f"the unit '{unknown[0]}' is not known", fix=f"choose from: {', '.join(UNITS)}")
    now = datetime.datetime.now()
    with silenced(), new_folder(folder, source.stack.path, overwrite=overwrite) as empty:
        images = stand_ins(source, owner)
        for number, (says, volume) in enumerate(maps.items(), start=1):
            require_one_channel(volume)
            values, exact = on_slices(volume, source.stack, fill=0.0, nearest=False)
            all_exact &= exact
            with np.errstate(over="ignore"):
                pixels = in_their_order(values.astype(np.float32), source)
            if not np.isfinite(pixels).all():
                raise InputError("the map has voxels that are no numbers", where=volume.source, fix="predict it again")
            low, high = float(pixels.min()), float(pixels.max())
            width = max(high - low, 1e-6)
            one = highdicom.pm.ParametricMap(
                images,
                pixels,
                series_instance_uid=new_uid(),  # its description is that of the whole series
                sop_instance_uid=new_uid(),
                instance_number=1,
                contains_recognizable_visual_features=False,
                real_world_value_mappings=[
                    highdicom.pm.RealWorldValueMapping(
                        lut_label=str(number),
                        lut_explanation=plain_text(says),
                        unit=highdicom.sr.CodedConcept(*UNITS[units[says]]),
                        value_range=(low, max(high, low + 1e-6)),
                        slope=1.0,
                        intercept=0.0,
                    )
                ],
                voi_lut_transformations=[
                    highdicom.VOILUTTransformation((low + high) / 2, width, voi_lut_function="LINEAR_EXACT")
                ],
                content_label="MAP",
                **words(made, source, 200 + number),
            )
            add_side(one, source)
            save(finished(one, source, owner, made, says.capitalize(), now), empty / f"PM_{number:04d}.dcm")
    told = () if all_exact else ("the maps lie on another grid, and were interpolated at the voxels of the source",)
    return (*told, *source.notes)
