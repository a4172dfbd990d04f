"""The files of one prediction: their names, whether they may be written, and the notes beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen.cases import Case, columns_of
from medgen.errors import UsageError
from medgen.files import PARTIAL, require_apart, require_free, require_output
from medgen.inference.besides import OnBounds
from medgen.inference.labels import Found
from medgen.inference.lesions import DETECTION_MAP, LESIONS, Detected, write_lesions
from medgen.names import CASE_BYTES, clashing, file_name
from medgen.volume import Kind, Volume, write_volume

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
        measured: of several estimates of an image, the mean standard deviation in the body, and what the gate says.
    """

    notes: tuple[str, ...] = ()
    found: Mapping[str, Found] = field(default_factory=dict)
    detected: Detected | None = None
    warnings: tuple[str, ...] = ()
    measured: Mapping[str, float | bool] = field(default_factory=dict)

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
        uncertainty: by role, the standard deviation of an image; of a segmentation by class, and the entropy; empty
            where none is wanted.
        bounds: by role, the lower and the upper end of the interval of an image.
        samples: the draws in their order, by role.
    """

    results: Mapping[str, Path]
    probabilities: Mapping[str, Path] = field(default_factory=dict)
    detection_map: Path | None = None
    lesions: Path | None = None
    uncertainty: Mapping[str, Path] = field(default_factory=dict)
    bounds: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Path]] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Every one of them."""
        maps = [*self.probabilities.values(), *self.uncertainty.values()]
        maps += [file for pair in self.bounds.values() for file in pair]
        maps += [file for sample in self.samples for file in sample.values()]
        more = (self.detection_map, self.lesions)
        return (*self.results.values(), *maps, *(file for file in more if file is not None))

    @property
    def left_over(self) -> tuple[Path, ...]:
        """Standard deviations, intervals and draws of an earlier run: beside new results they would pass for theirs."""
        beside = [beside_file(file, what) for file in self.results.values() for what in ("sd", "lower", "upper")]
        for file in self.results.values():
            stem, ending = split_name(file)
            beside += [each for each in file.parent.glob("*_sample_*") if _is_draw(each.name, stem, ending)]
        return tuple(file for file in beside if file not in self.all and file.exists())


def files_of(
    output: Path,
    roles: Sequence[str],
    *,
    probabilities: Sequence[str] = (),
    lesions: bool = False,
    uncertainty: bool = False,
    spread: Sequence[str] = (),
    interval: bool = False,
    samples: int = 0,
) -> Files:
    """The files of a prediction, from the name of its first result.

    Args:
        output: the first result.
        roles: of the results; where the name of the first ends in its role, the other names leave it out.
        probabilities: classes whose maps are wanted.
        lesions: whether lesions are detected.
        uncertainty: whether the standard deviation of each image is wanted.
        spread: classes, and :data:`~medgen.inference.labels.ENTROPY`, whose spread is wanted.
        interval: whether both ends of an interval are wanted.
        samples: draws that are wanted.

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
    spreads = {
        name: output.with_name(f"{case}_{f'sd_{file_name(name)}' if name else 'entropy'}{ending}") for name in spread
    }
    return Files(
        results,
        {name: probability_file(output, first, name) for name in probabilities},
        output.with_name(f"{case}_{DETECTION_MAP}{ending}") if lesions else None,
        output.with_name(f"{case}_{LESIONS}.json") if lesions else None,
        {role: beside_file(file, "sd") for role, file in results.items()} if uncertainty else spreads,
        {role: (beside_file(file, "lower"), beside_file(file, "upper")) for role, file in results.items()}
        if interval
        else {},
        [
            {role: beside_file(file, f"sample_{number:02d}") for role, file in results.items()}
            for number in range(1, samples + 1)
        ],
    )


def beside_file(result: Path, what: str) -> Path:
    """Where something on an image goes, beside it.

    >>> beside_file(Path("p1/p1_ct.nii.gz"), "sd").as_posix()
    'p1/p1_ct_sd.nii.gz'
    """
    stem, ending = split_name(result)
    return result.with_name(f"{stem}_{what}{ending}")


def _is_draw(name: str, stem: str, ending: str) -> bool:
    """Whether a file is a draw of a result.

    >>> _is_draw("p1_ct_sample_03.nii.gz", "p1_ct", ".nii.gz")
    True
    """
    number = name.removeprefix(f"{stem}_sample_").removesuffix(ending)
    return number.isdigit() and name == f"{stem}_sample_{number}{ending}"


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


def bounds_beside(files: Files, *, overwrite: bool) -> OnBounds | None:
    """A function that writes both ends of the interval of an image, as :func:`kept_beside` does."""

    def keep(role: str, lower: Volume, upper: Volume) -> None:
        remove_results(files)
        for volume, file in zip((lower, upper), files.bounds[role], strict=True):
            write_volume(volume, file, kind="scalar", overwrite=overwrite)

    return keep if files.bounds else None


def samples_beside(
    files: Files, kind_of: Callable[[str], Kind], *, overwrite: bool
) -> Callable[[int, Volume], None] | None:
    """A function that writes one draw, as :func:`kept_beside` does."""

    def keep(number: int, volume: Volume) -> None:
        remove_results(files)
        for channel, (role, file) in zip(volume.data, files.samples[number].items(), strict=True):
            write_volume(volume.with_data(channel), file, kind=kind_of(role), overwrite=overwrite)

    return keep if files.samples else None


def remove_results(files: Files) -> None:
    """Remove the results of an earlier run before any other file of the case is replaced: they mark it as whole."""
    for file in files.results.values():
        file.unlink(missing_ok=True)


def require_writable(files: Files, *, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that cannot be written before the work begins, and remove the files of a killed process.

    Args:
        files: of the prediction.
        overwrite: whether what is there may be replaced.
        inputs: images of the patient, which are never replaced.

    Raises:
        UsageError: the result is not named like NIfTI, two files would have one name, a file is an input, or exists and
            may not be overwritten.
    """
    output = next(iter(files.results.values()))
    if not output.name.endswith((".nii", ".nii.gz")):
        raise UsageError("one volume is written as NIfTI", where=output, fix="end the output's name in .nii.gz")
    if twice := clashing(file.name for file in files.all):
        raise UsageError(f"two files would have the name {min(twice)}", fix="rename a role or a class of the model")
    require_output(output)
    require_apart((*files.all, *files.left_over), inputs)
    for file in (*files.all, *files.left_over):
        require_free(file, overwrite=overwrite)
    for left in output.parent.glob(f"{PARTIAL}*") if output.parent.is_dir() else ():
        if not left.is_dir() and time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)


def _named(role: str) -> str:
    """A role as part of a file name."""
    return "-".join(file_name(column) for column in columns_of(role))
