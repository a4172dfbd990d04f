"""Faults of one image, by its header and its values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from medgen.cases import Case
from medgen.checks.extent import require_plausible_extent
from medgen.checks.hounsfield import clean_hounsfield, looks_like_hounsfield, require_hounsfield
from medgen.checks.roles import Fault, Plan, Severity
from medgen.errors import InputError
from medgen.volume import PADDING, Volume

_OFTEN_EMPTY = ("lesion",)  # nothing is lesion in a healthy patient
OF_PADDING = "nothing, if these voxels lie outside the scanner's field of view"


@dataclass
class Seen:
    """Images met so far, by the hash of their voxels."""

    first: dict[str, tuple[Case, str]] = field(default_factory=dict)

    def faults(self, case: Case, role: str, key: str) -> Iterator[Fault]:
        """The same image met before; remembers it."""
        other, other_role = self.first.setdefault(key, (case, role))
        if other is case:
            if other_role != role:
                yield Fault(case.name, role, f"the image is the same as '{other_role}'", "give each role its own image")
        elif other.split != case.split:
            yield Fault(
                case.name,
                role,
                f"leakage: {case.split} has the same image as '{other_role}' of '{other.name}' in {other.split}",
                "keep each patient in one split",
            )
        else:
            what = f"the image is the same as '{other_role}' of '{other.name}'"
            yield Fault(case.name, role, what, "remove one of the two cases", "warning")


def header_faults(case: Case, role: str, volume: Volume) -> Iterator[Fault]:
    """What is wrong with the size of an image of a case."""
    for what, fix, severity in size_faults(volume):
        yield Fault(case.name, role, what, fix, severity)


def size_faults(volume: Volume) -> Iterator[tuple[str, str, Severity]]:
    """What is wrong with the size of a volume, what to do, and how bad it is."""
    try:
        require_plausible_extent(volume)
    except InputError as error:
        yield error.what, error.fix, "error"
    if min(volume.shape) == 1:
        what = f"the image is one slice ({volume.shape})"
        yield what, "give a 3D volume, unless patches.size of the recipe is one slice as well", "warning"


def label_faults(case: Case, role: str, volume: Volume, plan: Plan) -> Iterator[Fault]:
    """A label map or a mask in which nothing is."""
    if volume.data.any() or (role in _OFTEN_EMPTY and role in plan.maps):
        return
    if role in plan.masks:
        yield Fault(case.name, role, "the mask is empty", "draw it again or leave the cell empty")
    else:
        yield Fault(case.name, role, "the label map is empty", "nothing, if there is nothing to label", "warning")


def image_faults(
    case: Case, role: str, volume: Volume, plan: Plan, seen: Seen, units: dict[str, Fault]
) -> Iterator[Fault]:
    """What is wrong with the values of an image; a wrong unit goes into ``units``, to be told with those of others."""
    data = volume.data
    finite = np.isfinite(data)
    bad = int(finite.size - finite.sum())
    if bad:
        what = f"{bad} voxels ({bad / finite.size:.2%}) are NaN or infinite"
        severity: Severity = "warning" if plan.allow_nan and bad < finite.size else "error"
        fix = "mend the image, or set preparation.nan to zero, min or median"
        yield Fault(case.name, role, what, fix, severity)
        if bad == finite.size:
            return
    low, high = (float(data.min()), float(data.max())) if not bad else (data[finite].min(), data[finite].max())
    if low == high:
        yield Fault(case.name, role, f"the channel is constant ({low:g})", "export it again, or leave the cell empty")
        return  # two constant images prove nothing about patients
    if fault := _unit_fault(case, role, volume, plan):
        units[role] = fault
    elif role in plan.hounsfield:
        _, padding = clean_hounsfield(volume)
        if padding.startswith(PADDING):
            yield Fault(case.name, role, padding, OF_PADDING, "warning")
    yield from seen.faults(case, role, _voxel_hash(volume))


def _unit_fault(case: Case, role: str, volume: Volume, plan: Plan) -> Fault | None:
    if role not in plan.hounsfield:
        what = "the values look like the HU of a CT"
        found = looks_like_hounsfield(volume.data)
        return Fault(case.name, role, what, "check what this image is", "warning") if found else None
    try:
        require_hounsfield(volume)
    except InputError as error:
        return Fault(case.name, role, error.what, error.fix)
    return None


def _voxel_hash(volume: Volume) -> str:
    """Hash of the values and the shape: the same image is recognised under another name, packing or header."""
    hasher = hashlib.sha256(repr(volume.shape).encode())
    for slab in range(volume.shape[2]):
        hasher.update(np.ascontiguousarray(volume.data[0, :, :, slab]).data)
    return hasher.hexdigest()
