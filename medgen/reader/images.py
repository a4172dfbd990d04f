"""Real and synthetic images of a study, read so that nothing but their content tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.evaluation.references import find_references, stem_of, table_in
from medgen.files import storage_errors
from medgen.inference.sample_folder import MANIFEST, read_slices
from medgen.preparation.intensity import unit_to_window
from medgen.report.slices import PLANES
from medgen.types import Array, SplitOrAll
from medgen.volume import read_volume, to_ras

if TYPE_CHECKING:
    from medgen.inference.references import References

Spacing = tuple[float, ...]
_SAME_SPACING = 0.01


@dataclass(frozen=True, eq=False)
class Image:
    """An image that is read when it is needed.

    Attributes:
        name: its file, or its case; stays in the study folder and is never shown.
        read: gives (X, Y, Z), RAS+, with one voxel across the plane of a slice; and the voxel size in mm.
    """

    name: str
    read: Callable[[], tuple[Array, Spacing]]


@dataclass(frozen=True, eq=False)
class Side:
    """The real images of a study, or the synthetic ones.

    Attributes:
        images: all that there are.
        plane: of slices ``axial``, ``coronal`` or ``sagittal``; None of volumes.
        where: that they come from.
    """

    images: tuple[Image, ...]
    plane: str | None
    where: Path


def sides(
    real: Path,
    synthetic: Path,
    *,
    count: int,
    seed: int,
    role: str | None,
    split: SplitOrAll | None,
) -> tuple[Side, Side]:
    """The real and the synthetic images of a study.

    Args:
        real: a case table, a folder of ``<case>_<role>.nii.gz``, or a folder like that of ``medgen sample``. Cases of a
            table are cut as the model that drew the samples saw them, where samples say how.
        synthetic: a folder of the same kinds.
        count: how many of each are needed.
        seed: of the patches that are cut.
        role: of the images; by default the one that the samples have, or every volume of a folder.
        split: cases of a table; by default ``test`` if it has any, else all.

    Raises:
        InputError: a side has fewer images than needed, or they do not fit together.
        UsageError: the role is not clear.
    """
    role = role or _only_role(synthetic)
    if real.resolve() == synthetic.resolve():
        raise UsageError("the real and the synthetic images are the same", where=real, fix="give two folders")
    made = _side(synthetic, role, "all" if table_in(synthetic).suffix == ".csv" else None)
    table = table_in(real)
    if role is not None and table.suffix == ".csv" and _manifest(synthetic):
        taken = _cut_like(synthetic, table, role, split, count, seed)
    else:
        taken = _side(real, role, split)
    if taken.plane != made.plane:
        kinds = [f"{side.plane} slices" if side.plane else "volumes" for side in (taken, made)]
        raise InputError(
            f"the real images are {kinds[0]}, the synthetic ones are {kinds[1]}",
            where=real,
            fix="give a case table: its cases are cut as the model that drew the samples saw them",
        )
    for side, name in ((taken, "real"), (made, "synthetic")):
        if len(side.images) < count:
            raise InputError(
                f"the study needs {count} {name} images, and there are {len(side.images)}",
                where=side.where,
                fix="give more images, or a smaller --count (--help says how many images it needs)",
            )
    return taken, made


def _only_role(folder: Path) -> str | None:
    """The role of samples that have one; None of a folder that does not name its roles."""
    roles = list(_manifest(folder).get("roles", ()))
    if len(roles) > 1:
        what = f"the samples have the roles {', '.join(roles)}: choose the one to show"
        raise UsageError(what, where=folder, fix=f"e.g. --role {roles[0]}")
    return str(roles[0]) if roles else None


def _manifest(folder: Path) -> dict[str, Any]:
    """The content of ``samples.json``; empty where there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if isinstance(content["roles"], dict) and isinstance(content["files"], list):
            return dict(content)
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError("the list of the samples is damaged", where=path, fix="draw the samples again")


def _side(path: Path, role: str | None, split: SplitOrAll | None) -> Side:
    manifest = _manifest(path) if path.is_dir() else {}
    if manifest and role is not None and role not in manifest["roles"]:
        raise InputError(
            f"the samples have no role '{role}'", where=path, fix=f"--role {' or '.join(manifest['roles'])}"
        )
    if role is not None and manifest.get("raw_values"):
        return _slices(path, role, manifest)
    is_table = table_in(path).suffix == ".csv"
    if role is None and is_table:
        roles = read_cases(table_in(path)).roles
        raise UsageError("the table needs the role to show", where=path, fix=f"--role {' or '.join(roles)}")
    found, _, _ = find_references(path, role or "", None, split)
    if role and not is_table and not stem_of(found[0].truth).endswith(f"_{role}"):
        fix = "choose another --role; without it, every volume of a folder is taken"
        raise InputError(f"no file here is named <case>_{role}.nii.gz", where=path, fix=fix)
    return Side(tuple(Image(each.case, partial(_volume, each.truth)) for each in found), None, path)


def _slices(folder: Path, role: str, manifest: dict[str, Any]) -> Side:
    values = read_slices(folder, role)
    try:
        axis = _axis(manifest["plane"])
        spacing = _spacing(manifest)
        names = [str(files[role]) for files in manifest["files"]]
        if len(values) != len(names) or len(spacing) != 3:
            raise ValueError
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            "the list of samples is damaged", where=folder / MANIFEST, fix="draw them again with 'medgen sample'"
        ) from error
    return Side(_in_memory(names, np.expand_dims(values, axis + 1), spacing), str(manifest["plane"]), folder)


def _spacing(manifest: dict[str, Any]) -> Spacing:
    """Of samples in mm along x, y, z."""
    spacing = [float(mm) for mm in manifest["spacing_mm"]]
    if manifest.get("plane"):
        spacing.insert(_axis(manifest["plane"]), float(manifest.get("thickness_mm", 1.0)))
    return tuple(spacing)


def _axis(plane: str) -> int:
    """Across a plane."""
    return next(each.axis for each in PLANES if each.name == plane)


def _in_memory(names: Sequence[str], images: Array, spacing: Spacing) -> tuple[Image, ...]:
    return tuple(Image(name, partial(_held, each, spacing)) for name, each in zip(names, images, strict=True))


def _held(values: Array, spacing: Spacing) -> tuple[Array, Spacing]:
    return values, spacing


def _volume(path: Path) -> tuple[Array, Spacing]:
    with storage_errors(path):
        volume = to_ras(read_volume(path))
    return volume.data[0], volume.spacing


def _cut_like(samples: Path, table: Path, role: str, split: SplitOrAll | None, count: int, seed: int) -> Side:
    """Patches of the cases of a table, prepared, placed and cut as in the training of the model that drew samples."""
    manifest = _manifest(samples)
    found = _patches(samples, manifest, table, split, count, seed)
    about, spacing = manifest["roles"][role], _spacing(manifest)
    values = found.images[:, list(manifest["roles"]).index(role)]
    if "window" in about:
        values = unit_to_window(values, *about["window"])
    if about.get("unit") == "HU":
        values = np.rint(values)  # as samples in HU are written
    plane = manifest.get("plane")
    if plane is not None:
        values = np.expand_dims(values, _axis(plane) + 1)
    names = [f"{case}, patch {number}" for number, case in enumerate(found.cases)]
    return Side(_in_memory(names, values, spacing), plane, table)


def _patches(
    samples: Path, manifest: dict[str, Any], table: Path, split: SplitOrAll | None, count: int, seed: int
) -> References:
    from medgen.config import build
    from medgen.inference.references import draw_patches
    from medgen.preparation import Preparation
    from medgen.sampling.patches import PatchConfig

    try:
        preparation = Preparation.from_dict(manifest["preparation"])
        patches = build(PatchConfig, manifest["patches"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "the samples do not say how real images are prepared like them",
            where=samples / MANIFEST,
            fix="draw the samples again with 'medgen sample'",
        ) from error
    cases = read_cases(table)
    default: SplitOrAll = "test" if cases.select(split="test") else "all"  # as for every score
    chosen = split or default
    return draw_patches(
        cases.select(split=None if chosen == "all" else chosen), preparation, patches, count=count, seed=seed
    )


def common_grid(images: Sequence[Image], found: Sequence[tuple[tuple[int, ...], Spacing]]) -> tuple[int, ...]:
    """The largest field of view that all images have; they are cut to it around their middle.

    Raises:
        InputError: voxel sizes differ by more than 1 %. Resampling one side would blur it, and so tell which it is.
    """
    reference = np.array(found[0][1])
    for image, (_, spacing) in zip(images, found, strict=True):
        if np.any(np.abs(np.array(spacing) / reference - 1) > _SAME_SPACING):
            sizes = [" x ".join(f"{mm:.3g}" for mm in each) for each in (found[0][1], spacing)]
            raise InputError(
                f"voxel sizes differ: {sizes[0]} mm of '{images[0].name}' and {sizes[1]} mm of '{image.name}'",
                where="the images of the study",
                fix="resample both sides alike first: another voxel size would tell them apart",
            )
    return tuple(min(edges) for edges in zip(*(shape for shape, _ in found), strict=True))


def cut(values: Array, size: Sequence[int]) -> Array:
    """The middle of an image."""
    starts = [(have - want) // 2 for have, want in zip(values.shape, size, strict=True)]
    return values[tuple(slice(start, start + want) for start, want in zip(starts, size, strict=True))]
