"""Every fault of a dataset in one go, before time is spent on training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medgen.cases import Case, CaseTable, columns_of, is_optional
from medgen.checks.extent import require_plausible_extent
from medgen.checks.hounsfield import clean_hounsfield, looks_like_hounsfield, require_hounsfield
from medgen.errors import InputError, MedgenError
from medgen.types import Progress
from medgen.volume import PADDING, Geometry, Grid, Volume, overlap, ras_grid, read_label, read_volume, require_same_grid

Severity = Literal["error", "warning"]

LABEL_ROLES = ("label", "labels")
"""What a table without a recipe may mean by a label map of the classes to learn."""
_MAP_ROLES = ("lesion", "zones")  # further label maps of such a table, with values of their own
_MASK_ROLES = ("mask", "gland")
_OFTEN_EMPTY = ("lesion",)  # nothing is lesion in a healthy patient
_CT_ROLES = ("ct",)
_DOUBTS = ("no unit", "no world position", "the voxel size")  # notes of reading that a user should see
TARGET_ELSEWHERE = "resample it onto the grid of the first input, or set preparation.resample_target to true"
MAP_ELSEWHERE = "resample it onto the grid of the first input, with nearest neighbour"
_OF_PADDING = "nothing, if these voxels lie outside the scanner's field of view"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image.

    Args:
        case: name of the case.
        role: column of the table.
        what: what is wrong.
        fix: what to do.
        severity: ``error`` stops training, ``warning`` does not.
    """

    case: str
    role: str
    what: str
    fix: str
    severity: Severity = "error"


@dataclass(frozen=True)
class _Plan:
    """What is asked of each role."""

    inputs: tuple[str, ...]
    required: tuple[str, ...]
    labels: tuple[str, ...]
    maps: tuple[str, ...]
    masks: tuple[str, ...]
    classes: Collection[int] | None
    hounsfield: tuple[str, ...]
    resampled: tuple[str, ...]
    target: tuple[str, ...]
    geometry: Geometry | None
    allow_nan: bool

    @property
    def whole(self) -> tuple[str, ...]:
        """Roles that hold whole numbers in place of an image."""
        return self.labels + self.maps + self.masks

    def roles(self, case: Case) -> tuple[str, ...]:
        """The roles of a case to look at; ``a|b`` becomes whichever the case has."""
        wanted = (*self.required, *self.labels, *self.masks) if self.required else tuple(case.images)
        found = (next((name for name in columns_of(role) if name in case.images), None) for role in wanted)
        return tuple(dict.fromkeys(name for name in found if name))


def _names(roles: Iterable[str | None]) -> tuple[str, ...]:
    """The columns that roles can mean, each once: ``a|b`` means two."""
    return tuple(dict.fromkeys(name for role in roles if role for name in columns_of(role)))


@dataclass
class _Seen:
    """Images met so far, by the hash of their voxels."""

    first: dict[str, tuple[Case, str]] = field(default_factory=dict)

    def faults(self, case: Case, role: str, key: str) -> Iterator[Fault]:
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


def check_cases(
    table: CaseTable,
    *,
    inputs: Sequence[str] = (),
    target: str | None = None,
    labels: str | None = None,
    mask: str | None = None,
    classes: Collection[int] | None = None,
    hounsfield: Sequence[str] = _CT_ROLES,
    resample_target: bool = False,
    geometry: Geometry | None = None,
    allow_nan: bool = False,
    lacking: Callable[[Case], Collection[str]] | None = None,
    progress: Progress | None = None,
) -> tuple[Fault, ...]:
    """Look for everything that would spoil training: each image is read once, one at a time.

    Missing and unreadable files; roles of a case on different grids (another axis order is no difference); NaN and
    infinity; units that cannot be; constant channels; CT values that are not HU; labels outside the declared classes;
    empty labels; one patient in two splits, by the hash of the voxels.

    Args:
        table: the cases.
        inputs: roles that a model sees; ``"ge|swi"`` means whichever a case has. Where neither these nor ``target``
            are given, every role of the table is looked at.
        target: role of the image to be made.
        labels: role of the label map. Domain ``target`` needs none.
        mask: role of the region to learn from.
        classes: values that may occur in the label map beside 0; None allows every integer >= 0.
        hounsfield: roles whose values must be HU.
        resample_target: whether the preparation brings a target on another grid onto that of the first input; it is
            then a warning.
        geometry: which one the preparation believes where sform and qform disagree; None makes it a fault.
        allow_nan: whether the preparation replaces NaN and infinity; some of them are then a warning.
        lacking: roles that a case lacks for the method that will learn from it, e.g. by
            :func:`medgen.sampling.streams.lacking`; by default all of the above are wanted of each case.
        progress: called with the number of cases done, their total and the name of the next.

    Returns:
        Faults in the order of the table.
    """
    required = (*inputs, *([target] if target else []))
    plan = _Plan(
        inputs=_names(inputs),
        required=required,
        labels=_names([labels] if labels or required else LABEL_ROLES),
        maps=() if required else _MAP_ROLES,
        masks=_names([mask] if mask or required else _MASK_ROLES),
        classes=classes,
        hounsfield=_names(hounsfield),
        resampled=_names([*inputs, target if resample_target else None]),
        target=_names([target]),
        geometry=geometry,
        allow_nan=allow_nan,
    )
    seen = _Seen()
    faults: list[Fault] = []
    for done, case in enumerate(table.cases):
        if progress:
            progress(done, len(table.cases), case.name)
        faults += _missing_roles(case, plan, labels, mask, lacking)
        faults += _case_faults(case, plan, seen)
    if progress:
        progress(len(table.cases), len(table.cases), "")
    return tuple(faults)


def _missing_roles(
    case: Case,
    plan: _Plan,
    labels: str | None,
    mask: str | None,
    lacking: Callable[[Case], Collection[str]] | None,
) -> Iterator[Fault]:
    inputs = set(plan.inputs)
    wanted = (*plan.required, None if case.domain == "target" else labels, mask)
    needed = set(wanted if lacking is None else lacking(case))
    for role in wanted:
        if not role or is_optional(role) or case.path(role) is not None:
            continue
        # A test case without its truth can be predicted, only not scored.
        of_truth = case.split == "test" and not inputs.issuperset(_names([role]))
        severity: Severity = "warning" if of_truth else "error"
        if of_truth or role in needed:
            yield Fault(case.name, role, "the table has no image for this role", "add it or remove the case", severity)


def _case_faults(case: Case, plan: _Plan, seen: _Seen) -> Iterator[Fault]:
    reference: tuple[str, Grid] | None = None
    doubts: dict[str, list[str]] = {}
    for role in plan.roles(case):
        path = case.images[role]
        try:
            is_label = role in plan.whole
            if is_label:
                classes = plan.classes if role in plan.labels else None
                volume = read_label(path, classes, geometry=plan.geometry)
            else:
                volume = read_volume(path, geometry=plan.geometry)
        except MedgenError as error:
            yield Fault(case.name, role, error.what, error.fix)
            continue
        for note in volume.notes:
            if note.startswith(PADDING):
                yield Fault(case.name, role, note, _OF_PADDING, "warning")
            if note.startswith(_DOUBTS):
                doubts.setdefault(note, []).append(role)
        yield from _header_faults(case, role, volume)
        yield from (
            _label_faults(case, role, volume, plan) if is_label else _image_faults(case, role, volume, plan, seen)
        )
        if reference is None:
            reference = role, volume.grid
        else:
            yield from _grid_faults(case, role, volume.grid, reference, plan)
    for note, roles in doubts.items():
        yield Fault(case.name, ", ".join(roles), note, "convert again from DICOM if that is in doubt", "warning")


def _header_faults(case: Case, role: str, volume: Volume) -> Iterator[Fault]:
    try:
        require_plausible_extent(volume)
    except InputError as error:
        yield Fault(case.name, role, error.what, error.fix)
    if min(volume.shape) == 1:
        yield Fault(case.name, role, f"the image is one slice ({volume.shape})", "give a 3D volume")


def _label_faults(case: Case, role: str, volume: Volume, plan: _Plan) -> Iterator[Fault]:
    if volume.data.any() or (role in _OFTEN_EMPTY and role in plan.maps):
        return
    if role in plan.masks:
        yield Fault(case.name, role, "the mask is empty", "draw it again or leave the cell empty")
    else:
        yield Fault(case.name, role, "the label map is empty", "nothing, if there is nothing to label", "warning")


def _image_faults(case: Case, role: str, volume: Volume, plan: _Plan, seen: _Seen) -> Iterator[Fault]:
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
    if role in plan.hounsfield:
        try:
            require_hounsfield(volume)
            _, padding = clean_hounsfield(volume)
        except InputError as error:
            yield Fault(case.name, role, error.what, error.fix)
            padding = ""
        if padding.startswith(PADDING):
            yield Fault(case.name, role, padding, _OF_PADDING, "warning")
    elif looks_like_hounsfield(data):
        what = "the values look like the HU of a CT"
        yield Fault(case.name, role, what, "check that the columns are not swapped", "warning")
    yield from seen.faults(case, role, _voxel_hash(volume))


def _voxel_hash(volume: Volume) -> str:
    """Hash of the values and the shape: the same image is recognised under another name, packing or header."""
    hasher = hashlib.sha256(repr(volume.shape).encode())
    for slab in range(volume.shape[2]):
        hasher.update(np.ascontiguousarray(volume.data[0, :, :, slab]).data)
    return hasher.hexdigest()


def _grid_faults(case: Case, role: str, grid: Grid, reference: tuple[str, Grid], plan: _Plan) -> Iterator[Fault]:
    name, other = reference
    try:
        require_same_grid(_turned(grid), _turned(other))
        return
    except InputError as error:
        what, fix = f"other grid than '{name}': {error.what}", error.fix
    covered = overlap(other, grid) if grid.has_world_position and other.has_world_position else 1.0
    if covered == 0:
        what, fix = f"no overlap in space with '{name}'", "check that both belong to one patient and one session"
    elif role in plan.resampled:
        fix = "nothing: it is resampled onto the grid of the first input"
    elif role in plan.target:
        fix = TARGET_ELSEWHERE
    elif role in plan.whole:
        fix = MAP_ELSEWHERE
    # Preparation brings further inputs onto the first; a target (unless the recipe says so), a label map and a mask
    # have to lie there already.
    resampled = covered > 0 and role in plan.resampled
    severity: Severity = "warning" if resampled and grid.has_world_position and other.has_world_position else "error"
    yield Fault(case.name, role, what, fix, severity)


def _turned(grid: Grid) -> Grid:
    return ras_grid(grid) if grid.has_world_position else grid
