"""Samples as a case table: the ordinary training then learns from them, to be scored on real cases.

A generator of images **and** labels has the label map among its inputs, with an intensity window of whole numbers. Its
samples hold numbers in between; here the nearest whole number of the window becomes the label.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import Case, assign_splits, columns_of, write_cases
from medgen.errors import InputError, UsageError
from medgen.files import require_output, storage_errors
from medgen.inference.sample_folder import MANIFEST, RAW, read_slices
from medgen.sampling.patches import PLANES
from medgen.volume import Kind, Volume, read_volume, write_volume


@dataclass(frozen=True)
class SyntheticCases:
    """What was made of a folder of samples.

    Attributes:
        table: the case table.
        cases: how many cases it has.
        empty: by role of a label map, how many cases have nothing but background.
        notes: what ``samples.json`` warns of, and images in normalised units.
    """

    table: Path
    cases: int
    empty: Mapping[str, int]
    notes: tuple[str, ...]


def cases_from_samples(
    folder: str | Path, output: str | Path, *, labels: Sequence[str], validation: float = 0.2
) -> SyntheticCases:
    """Make a case table of the samples that ``medgen sample`` has written, with label maps.

    Volumes stay where they are. Label maps, and slices as volumes of one slice, are written into a folder beside the
    table that has its name without ``.csv``.

    Args:
        folder: the samples.
        output: the case table to write.
        labels: roles among the samples that are label maps (or masks).
        validation: fraction of the samples that get split ``val``, by the hash of their names. The others get
            ``train``, and none ``test``: that is for real cases.

    Returns:
        The table, and how many label maps are empty.

    Raises:
        UsageError: no label map is named, the table exists, or the folder beside it is not empty.
        InputError: the folder holds no samples, they lack a role, the window of a label map is not of whole numbers, or
            all its label maps are empty.
        StorageError: the disk is full or the folder cannot be written.
    """
    folder, output = Path(folder).absolute(), Path(output).absolute()
    if output.is_file():
        raise UsageError("the output exists", where=output, fix="choose another -o, or move that table")
    manifest = _manifest(folder)
    columns = {name: columns_of(each["role"])[0] for name, each in manifest["roles"].items()}
    if not labels:
        raise UsageError("no label map is named", where=folder, fix=f"e.g. --label {list(columns.values())[-1]}")
    windows = {role: _window(role, manifest, columns, folder) for role in labels}
    images = _images_folder(output)
    splits = assign_splits([_case_name(number) for number in range(manifest["count"])], validation=validation)
    empty = dict.fromkeys(labels, 0)
    cases = []
    for number, volumes in enumerate(_volumes(folder, manifest)):
        case, paths = _case_name(number), dict[str, Path]()
        for name, image in volumes.items():
            role, path = columns[name], images / f"{case}_{name}.nii.gz"
            if role in windows:
                volume = read_volume(image) if isinstance(image, Path) else image
                values = np.rint(np.clip(volume.data, *windows[role])).astype(np.int64)
                empty[role] += not values.any()
                paths[role] = write_volume(volume.with_data(values), path, kind="label")
            elif isinstance(image, Path):
                paths[role] = image
            else:
                kind: Kind = "hu" if manifest["roles"][name]["unit"] == "HU" else "scalar"
                paths[role] = write_volume(image, path, kind=kind)
        cases.append(Case(case, splits[case], None, paths))
    if silent := [role for role, number in empty.items() if number == len(cases)]:
        shutil.rmtree(images)
        raise InputError(
            f"no sample has a voxel of '{silent[0]}', so nothing can be learnt from them",
            where=folder,
            fix="train the generator for longer, or draw more samples",
        )
    notes = (*manifest.get("notes", ()), *_normalised_twice(manifest, columns))
    return SyntheticCases(write_cases(cases, output), len(cases), empty, notes)


def _case_name(number: int) -> str:
    return f"sample_{number:04d}"


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or not {"roles", "files", "count"} <= manifest.keys():
        raise InputError(
            f"the folder has no {MANIFEST} of samples", where=folder, fix="give the folder that 'medgen sample' made"
        )
    roles, files = manifest["roles"], manifest["files"]
    if (
        not isinstance(roles, dict)
        or not all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in roles.values())
        or not isinstance(files, list)
        or manifest["count"] != len(files)
        or not all(isinstance(each, dict) and each.keys() == roles.keys() for each in files)
        or not all(isinstance(name, str) and name == Path(name).name for each in files for name in each.values())
    ):
        raise InputError(
            "the list of samples is damaged",
            where=folder / MANIFEST,
            fix="draw the samples again with 'medgen sample'",
        )
    return manifest


def _window(role: str, manifest: Mapping[str, Any], columns: Mapping[str, str], folder: Path) -> tuple[int, int]:
    """The lowest and the highest label of a role."""
    name = next((name for name, column in columns.items() if column == role), None)
    if name is None:
        raise InputError(
            f"the samples have no '{role}', they have: {', '.join(columns.values())}",
            where=folder / MANIFEST,
            fix="name one of these, or train a generator with the label map among data.inputs",
        )
    low, high = manifest["roles"][name].get("window") or (0.5, 0.5)
    if low != round(low) or high != round(high) or not 0 <= low < high:
        raise InputError(
            f"'{role}' has no intensity window of whole numbers from 0 on, so its values are no labels",
            where=folder / MANIFEST,
            fix=f"train the generator with preparation.intensity.{role}.window=[0, 1], or the highest label for 1",
        )
    return round(low), round(high)


def _normalised_twice(manifest: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[str]:
    """Of a z-score or percentiles: they are taken in the body, which may not be found in a sample as in an image."""
    for name, column in columns.items():
        if not manifest["roles"][name].get("window"):
            yield (
                f"'{column}' is in normalised units and will be normalised again, in a body that is found in samples "
                f"with clean air alone; preparation.intensity.{column}.window in both recipes avoids that"
            )


def _images_folder(output: Path) -> Path:
    folder = output.with_suffix("")
    if output.suffix != ".csv" or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UsageError(
            "the table must end in .csv, and the folder beside it that has its name must be empty",
            where=folder,
            fix="choose another -o, or remove that folder",
        )
    require_output(output)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _volumes(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Path | Volume]]:
    """The images of one sample after the other: files, or slices as volumes of one slice."""
    if "plane" not in manifest:
        for files in manifest["files"]:
            yield {name: folder / file for name, file in files.items()}
        return
    if "thickness_mm" not in manifest:
        raise InputError(
            "these slices do not say how thick they are, as an earlier medgen wrote them",
            where=folder / MANIFEST,
            fix="draw them again with 'medgen sample'",
        )
    across = PLANES[manifest["plane"]]
    spacing = list(manifest["spacing_mm"])
    spacing.insert(across, manifest["thickness_mm"])
    arrays = {name: read_slices(folder, name) for name in manifest["roles"]}
    if any(len(stack) != manifest["count"] for stack in arrays.values()):
        raise InputError(
            f"{RAW} has not the {manifest['count']} samples of {MANIFEST}",
            where=folder,
            fix="draw the samples again with 'medgen sample'",
        )
    for number in range(manifest["count"]):
        yield {
            name: Volume(np.expand_dims(stack[number], across)[None], np.diag([*spacing, 1.0]))
            for name, stack in arrays.items()
        }
