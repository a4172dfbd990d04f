"""The files of one prediction: what they are called, whether they may be written, and what to say besides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medgen.errors import UsageError
from medgen.inference.labels import Found

_STALE_SECONDS = 3600.0
"""A temporary file next to a single output that is older than this was left by a killed process."""


@dataclass(frozen=True)
class Written:
    """What there is to say about one prediction besides its files.

    Attributes:
        notes: what was decided on the way.
        found: of a label map, by class, how much of it there is; empty for an image.
    """

    notes: tuple[str, ...] = ()
    found: Mapping[str, Found] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The notes, and a line on each class that was found."""
        lines = [
            f"{name}: {each.ml:g} ml, {each.voxels} voxels, connected pieces: {each.components}"
            for name, each in self.found.items()
            if each.voxels
        ]
        return (*self.notes, *lines)


def probability_file(output: Path, role: str, name: str) -> Path:
    """Where the map of a class goes, beside the label map.

    Args:
        output: the label map.
        role: of the label map; where its name ends in that, it is left out.
        name: the class.

    >>> probability_file(Path("p1/p1_label.nii.gz"), "label", "white matter").as_posix()
    'p1/p1_probability_white-matter.nii.gz'
    >>> probability_file(Path("lesions.nii"), "label", "tumour").as_posix()
    'lesions_probability_tumour.nii'
    """
    stem = output.name.removesuffix(".gz").removesuffix(".nii")
    ending = output.name[len(stem) :]
    return output.with_name(f"{stem.removesuffix(f'_{role}')}_probability_{name.replace(' ', '-')}{ending}")


def require_writable(output: Path, *, overwrite: bool) -> None:
    """Refuse before the work what writing would refuse after it, and remove what a killed process left here.

    Raises:
        UsageError: not named like NIfTI, or it exists and may not be overwritten.
    """
    if not output.name.endswith((".nii", ".nii.gz")):
        raise UsageError("one volume is written as NIfTI", where=output, fix="end the output's name in .nii.gz")
    if output.exists() and not overwrite:
        raise UsageError("the output exists", where=output, fix="choose another name, or --overwrite")
    for left in output.parent.glob(".partial-*") if output.parent.is_dir() else ():
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)
