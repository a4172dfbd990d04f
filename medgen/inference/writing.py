"""The files of one prediction: their names, whether they may be written, and the notes beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen.cases import Case, columns_of
from medgen.errors import UsageError
from medgen.files import require_output
from medgen.inference.labels import Found
from medgen.inference.lesions import DETECTION_MAP, LESIONS, Detected, write_lesions
from medgen.names import CASE_BYTES, clashing, file_name
from medgen.volume import Volume, write_volume

_STALE_SECONDS = 3600.0
"""A temporary file next to a single output that is older than this was left by a killed process."""


@dataclass(frozen=True)
class Written:
    """The content of one prediction in words and numbers.

    Attributes:
        notes: decisions made on the way.
        found: of a label map, by class, how much of it there is; empty for an image.
        detected: the lesions, of a model that detects them.
        warnings: what makes the result doubtful.
    """

    notes: tuple[str, ...] = ()
    found: Mapping[str, Found] = field(default_factory=dict)
    detected: Detected | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The notes, and a line on each class that was found."""
        lines = [
            f"{name}: {each.ml:g} ml, {each.voxels} voxels, connected pieces: {each.components}"
            for name, each in self.found.items()
            if each.voxels
        ]
        return (*self.notes, *lines, *([self.detected.sentence] if self.detected else []))


@dataclass(frozen=True)
class Files:
    """The files of one prediction. They belong together: results are written last, so where they stand all do.

    Attributes:
        results: by role, the image or the label map.
        probabilities: by class, its map; empty where none are wanted.
        detection_map: the confidence of the lesions, of a model that detects them.
        lesions: their list.
        uncertainty: by role, the standard deviation of an image; empty where none is wanted.
    """

    results: Mapping[str, Path]
    probabilities: Mapping[str, Path] = field(default_factory=dict)
    detection_map: Path | None = None
    lesions: Path | None = None
    uncertainty: Mapping[str, Path] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every one of them."""
        maps = (*self.probabilities.values(), *self.uncertainty.values())
        more = (self.detection_map, self.lesions)
        return (*self.results.values(), *maps, *(file for file in more if file is not None))

    @property
    def left_over(self) -> tuple[Path, ...]:
        """Standard deviations of an earlier run: beside new results they would pass for theirs."""
        beside = (deviation_file(file) for file in self.results.values())
        return tuple(file for file in beside if file not in self.all and file.exists())


def files_of(
    output: Path,
    roles: Sequence[str],
    *,
    probabilities: Sequence[str] = (),
    lesions: bool = False,
    uncertainty: bool = False,
) -> Files:
    """The files of a prediction, from the name of its first result.

    Args:
        output: the first result.
        roles: of the results; where the name of the first ends in its role, the other names leave it out.
        probabilities: classes whose maps are wanted.
        lesions: whether lesions are detected.
        uncertainty: whether the standard deviation of each result is wanted.

    >>> " ".join(file.name for file in files_of(Path("p1/p1_label.nii.gz"), ["label"], lesions=True).all)
    'p1_label.nii.gz p1_detection_map.nii.gz p1_lesions.json'
    >>> " ".join(file.name for file in files_of(Path("p1/p1_t1.nii.gz"), ["t1", "ge|swi"]).all)
    'p1_t1.nii.gz p1_ge-swi.nii.gz'
    >>> files_of(Path("p1/p1_ct.nii.gz"), ["ct"], uncertainty=True).all[1].name
    'p1_ct_sd.nii.gz'
    """
    stem, ending = split_name(output)
    first, *others = roles
    case = stem.removesuffix(f"_{_named(first)}")
    results = {first: output} | {role: output.with_name(f"{case}_{_named(role)}{ending}") for role in others}
    return Files(
        results,
        {name: probability_file(output, first, name) for name in probabilities},
        output.with_name(f"{case}_{DETECTION_MAP}{ending}") if lesions else None,
        output.with_name(f"{case}_{LESIONS}.json") if lesions else None,
        {role: deviation_file(file) for role, file in results.items()} if uncertainty else {},
    )


def deviation_file(result: Path) -> Path:
    """Where the standard deviation of an image goes, beside it.

    >>> deviation_file(Path("p1/p1_ct.nii.gz")).as_posix()
    'p1/p1_ct_sd.nii.gz'
    """
    stem, ending = split_name(result)
    return result.with_name(f"{stem}_sd{ending}")


def split_name(output: Path) -> tuple[str, str]:
    """The name of a NIfTI file and its ending.

    >>> split_name(Path("p1/ct.nii.gz"))
    ('ct', '.nii.gz')
    """
    stem = output.name.removesuffix(".gz").removesuffix(".nii")
    return stem, output.name[len(stem) :]


def output_name(case: Case, role: str) -> str:
    """Where the result of a case goes, relative to the output folder.

    >>> output_name(Case("head_01", "test", None, {}), "ct")
    'head_01/head_01_ct.nii.gz'

    Raises:
        UsageError: the name of the case cannot name a folder.
    """
    name = file_name(case.name, CASE_BYTES)
    return f"{name}/{name}_{_named(role)}.nii.gz"


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
    stem, ending = split_name(output)
    return output.with_name(f"{stem.removesuffix(f'_{role}')}_probability_{class_file_name(name)}{ending}")


def class_file_name(name: str) -> str:
    """A class as part of a file name.

    Raises:
        UsageError: it cannot be one.
    """
    return file_name(name).replace(" ", "-")


def write_detected(detected: Detected, files: Files, model: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write the detection map and the list of lesions; a label map that stands there from before is removed first.

    Args:
        detected: the lesions.
        files: of a model that detects lesions.
        model: method and hashes, for the list.
        overwrite: replace what is there.
    """
    assert files.detection_map is not None
    assert files.lesions is not None
    remove_results(files)
    write_volume(detected.map, files.detection_map, kind="scalar", overwrite=overwrite)
    case = files.lesions.name.removesuffix(f"_{LESIONS}.json")
    write_lesions(files.lesions, detected, case=case, detection_map=files.detection_map.name, model=model)


def kept_beside(files: Files, places: Mapping[str, Path], *, overwrite: bool) -> Callable[[str, Volume], None] | None:
    """A function that writes a map by its name, once the results of an earlier run are removed; None for no places."""

    def keep(name: str, volume: Volume) -> None:
        remove_results(files)
        write_volume(volume, places[name], kind="scalar", overwrite=overwrite)

    return keep if places else None


def remove_results(files: Files) -> None:
    """Remove the results of an earlier run before any other file of the case is replaced: they mark it as whole."""
    for file in files.results.values():
        file.unlink(missing_ok=True)


def require_writable(files: Files, *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written before the work begins, and remove the files of a killed process.

    Raises:
        UsageError: the result is not named like NIfTI, two files would have one name, or a file exists and may not be
            overwritten.
    """
    output = next(iter(files.results.values()))
    if not output.name.endswith((".nii", ".nii.gz")):
        raise UsageError("one volume is written as NIfTI", where=output, fix="end the output's name in .nii.gz")
    if twice := clashing(file.name for file in files.all):
        raise UsageError(f"two files would have the name {min(twice)}", fix="rename a role or a class of the model")
    require_output(output)
    for file in (*files.all, *files.left_over):
        if file.exists() and not overwrite:
            raise UsageError("the output exists", where=file, fix="choose another name, or --overwrite")
    for left in output.parent.glob(".partial-*") if output.parent.is_dir() else ():
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)


def _named(role: str) -> str:
    """A role as part of a file name."""
    return "-".join(file_name(column) for column in columns_of(role))
