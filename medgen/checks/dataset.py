"""Every fault of a dataset in one go, before time is spent on training."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from medgen.cases import Case, CaseTable, is_optional, split_warnings
from medgen.checks.images import OF_PADDING, Seen, header_faults, image_faults, label_faults
from medgen.checks.roles import ALL, Fault, Plan, Severity, names_of
from medgen.errors import InputError, MedgenError
from medgen.types import Progress
from medgen.volume import PADDING, Geometry, Grid, overlap, ras_grid, read_label, read_volume, require_same_grid

LABEL_ROLES = ("label", "labels")
"""What a table without a recipe may mean by a label map of the classes to learn."""
_MAP_ROLES = ("lesion", "zones")  # further label maps of such a table, with values of their own
_MASK_ROLES = ("mask", "gland")
_CT_ROLES = ("ct",)
_DOUBTS = ("no unit", "no world position", "the voxel size")  # notes of reading that a user should see
TARGET_ELSEWHERE = "resample it onto the grid of the first input, or set preparation.resample_target to true"
MAP_ELSEWHERE = "resample it onto the grid of the first input, with nearest neighbour"


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
    infinity; units that cannot be; constant channels; CT values that are not HU; a CT and another image that are
    swapped; labels outside the declared classes; empty labels; one patient in two splits, by the hash of the voxels;
    splits that leave nothing to validate on, or one subject to learn from.

    Whether another grid is an error does not depend on whether roles are given: further inputs are resampled, a target
    only where ``resample_target`` says so, label maps and masks never. Without roles, the columns of ``hounsfield`` are
    taken for targets, and all other images for inputs.

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
    images = [role for role in table.roles if role not in (*LABEL_ROLES, *_MAP_ROLES, *_MASK_ROLES)]
    if not required:  # what a recipe would most likely say of these columns
        inputs = [role for role in images if role not in hounsfield]
    targets = [target] if required else [role for role in images if role in hounsfield]
    plan = Plan(
        inputs=names_of(inputs),
        required=required,
        labels=names_of([labels] if labels or required else LABEL_ROLES),
        maps=() if required else _MAP_ROLES,
        masks=names_of([mask] if mask or required else _MASK_ROLES),
        classes=classes,
        hounsfield=names_of(hounsfield),
        resampled=names_of([*inputs, *(targets if resample_target else ())]),
        target=names_of(targets),
        geometry=geometry,
        allow_nan=allow_nan,
        folder=table.path.parent,
    )
    seen = Seen()
    faults = [
        Fault(ALL, "split", what, "write train, val or test into the column 'split'", "warning")
        for what in split_warnings(table.cases)
    ]
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
    plan: Plan,
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
        of_truth = case.split == "test" and not inputs.issuperset(names_of([role]))
        severity: Severity = "warning" if of_truth else "error"
        if of_truth or role in needed:
            yield Fault(case.name, role, "the table has no image for this role", "add it or remove the case", severity)


def _case_faults(case: Case, plan: Plan, seen: Seen) -> Iterator[Fault]:
    reference: tuple[str, Grid] | None = None
    doubts: dict[str, list[str]] = {}
    units: dict[str, Fault] = {}
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
            yield Fault(case.name, role, f"{error.what}: {_shown(error.where or path, plan)}", error.fix)
            continue
        for note in volume.notes:
            if note.startswith(PADDING):
                yield Fault(case.name, role, note, OF_PADDING, "warning")
            if note.startswith(_DOUBTS):
                doubts.setdefault(note, []).append(role)
        yield from header_faults(case, role, volume)
        yield from (
            label_faults(case, role, volume, plan) if is_label else image_faults(case, role, volume, plan, seen, units)
        )
        if reference is None:
            reference = role, volume.grid
        else:
            yield from _grid_faults(case, role, volume.grid, reference, plan)
    yield from _unit_faults(case, units, plan)
    for note, roles in doubts.items():
        yield Fault(case.name, ", ".join(roles), note, "convert again from DICOM if that is in doubt", "warning")


def _shown(path: str | Path, plan: Plan) -> str:
    """A path as the table has it, relative to its folder."""
    return Path(os.path.relpath(path, plan.folder)).as_posix()


def _unit_faults(case: Case, units: dict[str, Fault], plan: Plan) -> Iterator[Fault]:
    """Images without the values that their role must have; where two have each other's, they are swapped."""
    wrong = [role for role in units if role in plan.hounsfield]
    others = [role for role in units if role not in plan.hounsfield]
    if not (wrong and others):
        yield from units.values()
        return
    what = f"'{others[0]}' has the values of a CT in HU and '{wrong[0]}' has not: the two look swapped"
    yield Fault(case.name, f"{others[0]}, {wrong[0]}", what, "exchange the two cells of the table, or its columns")


def _grid_faults(case: Case, role: str, grid: Grid, reference: tuple[str, Grid], plan: Plan) -> Iterator[Fault]:
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
