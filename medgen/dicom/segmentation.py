"""Classes of a label map as DICOM segmentations (PS3.3, A.51), one object a class."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import __version__
from medgen.dicom.elements import Made, Owner, new_uid, plain_text
from medgen.dicom.folders import new_folder, save
from medgen.dicom.highdicom import finished, in_their_order, require_highdicom, stand_ins, words
from medgen.dicom.placing import labels_on_slices
from medgen.dicom.source import SourceSeries
from medgen.volume.image import Volume
from medgen.volume.slices import silenced

if TYPE_CHECKING:
    from pydicom import Dataset

_TISSUE = ("85756007", "SCT", "Tissue")
_STRUCTURE = ("49755003", "SCT", "Morphologically Abnormal Structure")
_ANATOMY = ("91723000", "SCT", "Anatomical Structure")
_LESION, _TUMOUR = ("52988006", "SCT", "Lesion"), ("108369006", "SCT", "Neoplasm")
KNOWN: Mapping[str, tuple[tuple[str, str, str], tuple[str, str, str]]] = {
    **dict.fromkeys(("lesion", "contusion"), (_STRUCTURE, _LESION)),
    **dict.fromkeys(("tumour", "tumor", "cancer"), (_STRUCTURE, _TUMOUR)),
    "oedema": (_STRUCTURE, ("79654002", "SCT", "Edema")),
    "necrosis": (_STRUCTURE, ("6574001", "SCT", "Necrosis")),
    "prostate": (_ANATOMY, ("41216001", "SCT", "Prostate")),
    "brain": (_ANATOMY, ("12738006", "SCT", "Brain")),
}
"""Category and type of a class by its name, as SNOMED CT codes; any other class is tissue."""


def write_segmentations(
    volume: Volume,
    source: SourceSeries,
    folder: str | Path,
    *,
    classes: Sequence[str],
    owner: Owner | None = None,
    made: Made | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write each class of a label map as a binary segmentation in the study of its source.

    All slices of the source have a frame, also those without the class: readers that take frames for evenly spaced
    slices would close the gaps. There is one object a class, because such readers cannot tell two apart.

    Args:
        volume: (1, X, Y, Z), whole numbers: 0 background, 1 the first class.
        source: the series that it was made from.
        folder: is made, with ``SEG_0001.dcm`` for the first class.
        classes: their names.
        owner: whose study; by default the source's.
        made: by what.
        overwrite: replace a folder that holds such objects and nothing else.

    Returns:
        What was decided on the way, for the user.

    Raises:
        InputError: the volume lies elsewhere, or is no label map.
        UsageError: highdicom is not installed, the labels name more classes than there are, or the folder is not
            empty, and may not be replaced.
        StorageError: the disk is full or the folder cannot be written.
    """
    highdicom = require_highdicom()
    owner, made = owner or Owner(), made or Made()
    names, values, notes = labels_on_slices(volume, source, classes)
    now = datetime.datetime.now()
    with silenced(), new_folder(folder, source.stack.path, overwrite=overwrite) as empty:
        images, series = stand_ins(source, owner), new_uid()
        for number, name in enumerate(names, start=1):
            mask = in_their_order((values == number).astype(np.uint8), source)
            one = highdicom.seg.Segmentation(
                images,
                mask,
                "BINARY",
                [_described(highdicom, name, made)],
                series_instance_uid=series,
                sop_instance_uid=new_uid(),
                instance_number=number,
                omit_empty_frames=False,
                content_label="SEGMENTATION",
                **words(made, source, 100),
            )
            save(finished(one, source, owner, made, "Segmentation", now), empty / f"SEG_{number:04d}.dcm")
    return notes


def _described(highdicom: Any, name: str, made: Made) -> Dataset:
    """The segment of one class."""
    category, kind = KNOWN.get(name.lower(), (_TISSUE, _TISSUE))
    concept = highdicom.sr.CodedConcept
    described: Dataset = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=name,
        segmented_property_category=concept(*category),
        segmented_property_type=concept(*kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=plain_text(made.model),
            family=concept("123110", "DCM", "Artificial Intelligence"),
            version=__version__,
        ),
    )
    return described
