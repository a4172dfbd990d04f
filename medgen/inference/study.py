"""The images that a model reads, found among the series of a DICOM study."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgen.cases import columns_of, is_optional
from medgen.dicom.studies import FoundSeries, list_studies
from medgen.errors import InputError, UsageError
from medgen.inference.sources import Source
from medgen.volume.series import holds_dicom

log = logging.getLogger(__name__)

KINDS: Mapping[str, str] = {
    "t1": "T1", "t1w": "T1", "t1c": "T1 with contrast", "t1ce": "T1 with contrast", "t2": "T2W", "t2w": "T2W",
    "flair": "FLAIR", "pd": "PD", "ge": "GE", "swi": "SWI", "adc": "ADC", "hbv": "high b", "dwi": "high b", "ct": "CT",
}  # fmt: skip
"""What a series must look like to be taken for a role; see :func:`medgen.dicom.studies.list_studies`."""


def inputs_of(source: Source, roles: Sequence[str]) -> Source:
    """The series of a study by role, where ``source`` is a folder of folders; anything else as it is.

    A series is taken for a role only where it is the one that looks like it. Each must lie in a folder of its own.

    Args:
        source: of a prediction.
        roles: that the model reads; ``ge|swi`` takes whichever there is, and ``swi?`` may be absent.

    Raises:
        UsageError: for a role there is no series or more than one, or two lie in one folder; the message lists them.
        InputError: the folder holds several patients or studies, or no DICOM at all.
    """
    if not isinstance(source, str | Path) or not Path(source).is_dir() or holds_dicom(Path(source)):
        return source
    folder = Path(source)
    found = list_studies(folder)
    for what, numbers in (("patients", [each.patient for each in found]), ("studies", [each.study for each in found])):
        if len(set(numbers)) > 1:
            raise InputError(
                f"the folder holds {len(set(numbers))} {what}", where=folder, fix="give the folder of one study"
            )
    taken = {role: _candidates(role, found) for role in roles}
    doubts = [role for role, each in taken.items() if len(each) > 1 or not (each or is_optional(role))]
    if doubts:
        listed = "; ".join(f"{role}: {', '.join(map(_said, taken[role])) or 'none'}" for role in doubts)
        raise UsageError(
            f"the study does not tell which series to take for {', '.join(doubts)} ({listed})",
            where=folder,
            fix=f"see 'medgen dicom list', and name each: {' '.join(f'-i {columns_of(r)[0]}=FOLDER' for r in roles)}",
        )
    chosen = {role: each[0] for role, each in taken.items() if each}
    shared = Counter(each.where for each in found)
    for role, each in chosen.items():
        if shared[each.where] > 1:
            raise UsageError(
                f"{_said(each)} looks like {role} and shares its folder with other series",
                where=folder / each.where,
                fix=f"medgen fix FOLDER -o {role}.nii.gz --series {each.number or 'NUMBER'} takes it out",
            )
        log.info("%s: %s", role, _said(each))
    return {role: folder / each.where for role, each in chosen.items()}


def _candidates(role: str, found: Sequence[FoundSeries]) -> list[FoundSeries]:
    """The series that look like a role; of ``ge|swi`` like the first that is there."""
    for column in columns_of(role):
        if like := [each for each in found if each.could_be and each.could_be == KINDS.get(column.lower())]:
            return like
    return []


def _said(each: FoundSeries) -> str:
    words = f" '{each.description}'" if each.description else ""
    return f"series {each.number or 'without a number'}{words} in {each.where}"
