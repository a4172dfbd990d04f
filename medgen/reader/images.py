"""Real and synthetic images of a study, read so that nothing but their content tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.evaluation.references import find_references, stem_of, table_in
from medgen.files import storage_errors
from medgen.inference.sample_folder import MANIFEST, RAW
from medgen.report.slices import PLANES
from medgen.types import Array, SplitOrAll
from medgen.volume import read_volume, to_ras

if TYPE_CHECKING:
    from medgen.inference.opened import Opened

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
    model: Path | None,
    allow_modules: Sequence[str],
) -> tuple[Side, Side]:
    """The real and the synthetic images of a study.

    Args:
        real: a case table, a folder of ``<case>_<role>.nii.gz``, or a folder like that of ``medgen sample``.
        synthetic: a folder of the same kinds.
        count: how many of each are needed.
        seed: of the patches that are cut.
        role: of the images; by default the one that the samples have, or every volume of a folder.
        split: cases of a table; by default ``test`` if it has any, else all.
        model: that made the samples: real images are patches of the cases as it saw them in training.
        allow_modules: modules outside medgen that the model may name as its method.

    Raises:
        InputError: a side has fewer images than needed, or they do not fit together.
        UsageError: the role is not clear.
    """
    role = role or _only_role(synthetic)
    if real.resolve() == synthetic.resolve():
        raise UsageError("the real and the synthetic images are the same", where=real, fix="give two folders")
    made = _side(synthetic, role, "all" if table_in(synthetic).suffix == ".csv" else None)
    if model is not None:
        from medgen.inference.opened import open_model

        patches = _Patches(open_model(model, "cpu", allow_modules), real, synthetic, role, split)
        taken = patches.side(count, seed)
    else:
        taken = _side(real, role, split)
    if taken.plane != made.plane:
        kinds = [f"{side.plane} slices" if side.plane else "volumes" for side in (taken, made)]
        raise InputError(
            f"the real images are {kinds[0]}, the synthetic ones are {kinds[1]}",
            where=real,
            fix="give --model RUN, the model that made the samples: real cases are then cut as it saw them",
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
    path = folder / RAW
    try:
        with np.load(path) as arrays:
            values = np.asarray(arrays[role], np.float32)
        axis = _axis(manifest["plane"])
        spacing = _spacing(manifest)
        names = [str(files[role]) for files in manifest["files"]]
        if values.ndim != 3 or len(values) != len(names) or len(spacing) != 3:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, StopIteration, BadZipFile) as error:
        raise InputError(
            "the values of the samples are missing or damaged", where=path, fix="draw them again"
        ) from error
    return Side(_in_memory(names, np.expand_dims(values, axis + 1), spacing), str(manifest["plane"]), folder)


def _spacing(manifest: dict[str, Any]) -> Spacing:
    """Of samples in mm along x, y, z; slices have no thickness of their own, which is 1 mm here."""
    spacing = [float(mm) for mm in manifest["spacing_mm"]]
    if manifest.get("plane"):
        spacing.insert(_axis(manifest["plane"]), 1.0)
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


@dataclass(frozen=True)
class _Patches:
    """Real images cut from the cases of a table as a model saw them in training."""

    model: Opened
    table: Path
    samples: Path
    role: str | None
    split: SplitOrAll | None

    def side(self, count: int, seed: int) -> Side:
        """As many patches as are needed."""
        manifest = _manifest(self.samples)
        if not manifest:
            raise UsageError(
                "--model is for samples of 'medgen sample', and this folder has no samples.json",
                where=self.samples,
                fix="leave out --model: whole volumes are compared",
            )
        weights = (manifest.get("model") or {}).get("weights_sha256")
        if weights != self.model.origin["weights_sha256"]:
            raise InputError(
                "the samples were made by another model", where=self.samples, fix="give --model the run that drew them"
            )
        from medgen.inference.references import reference_patches
        from medgen.inference.sample_writing import channels_of

        channels = channels_of(self.model)
        number = next(place for place, channel in enumerate(channels) if channel.name == self.role)
        channel, spacing = channels[number], _spacing(manifest)
        found = reference_patches(self.model, self.table, split=self._split(), count=count, seed=seed)
        restored = channel.restored(found.images[:, number])
        restored = np.rint(restored) if channel.unit == "HU" else restored  # as samples in HU are written
        plane = manifest.get("plane")
        restored = restored if plane is None else np.expand_dims(restored, _axis(plane) + 1)
        names = [f"{case}, patch {patch}" for patch, case in enumerate(found.cases)]
        return Side(_in_memory(names, restored, spacing), plane, self.table)

    def _split(self) -> Any:
        """By default ``test`` if the table has such cases, else all, as for every score."""
        if self.split is None:
            return "test" if read_cases(self.table).select(split="test") else None
        return None if self.split == "all" else self.split


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
                fix="give --model RUN, or resample both sides alike: another voxel size would tell them apart",
            )
    return tuple(min(edges) for edges in zip(*(shape for shape, _ in found), strict=True))


def cut(values: Array, size: Sequence[int]) -> Array:
    """The middle of an image."""
    starts = [(have - want) // 2 for have, want in zip(values.shape, size, strict=True)]
    return values[tuple(slice(start, start + want) for start, want in zip(starts, size, strict=True))]
