"""The files of a prediction as DICOM beside them, in the study of the first image that the model reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medgen.dicom import (
    Made,
    Owner,
    SourceSeries,
    read_source,
    write_contours,
    write_ct_series,
    write_parametric_maps,
    write_segmentations,
)
from medgen.dicom.folders import is_ours, require_replaceable
from medgen.dicom.highdicom import require_highdicom, stand_ins
from medgen.errors import UsageError
from medgen.files import require_apart
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.sources import Source, by_role, files_in
from medgen.inference.writing import Files, Written, split_name
from medgen.types import Progress
from medgen.volume import is_dicom, read_volume

_FOLDER, _MAPS, _CONTOURS = "_dicom", "_dicom_maps", "_dicom_contours"


def predict_files(
    model: LoadedModel,
    source: Source,
    output: Path,
    options: PredictOptions,
    *,
    overwrite: bool,
    progress: Progress | None = None,
) -> Written:
    """The files of one patient, and where it is wanted the same as DICOM.

    With ``overwrite``, the DICOM of an earlier prediction goes once there is a new one.

    Args and errors are those of :meth:`~medgen.inference.model.LoadedModel.predict_file`, :func:`series_of` and
    :func:`write_dicom`.
    """
    series, files = series_of(model, source, options), model.files(output, options)
    require_apart(folders_of(files, options), files_in(source))
    for folder in folders_of(files, options):
        require_replaceable(folder, overwrite=overwrite, source=series.stack.path if series else None)
    written = model.predict_file(source, output, options, overwrite=overwrite, progress=progress)
    if overwrite:
        remove_stale(files, source)
    if series is None:
        return written
    return replace(written, notes=(*written.notes, *write_dicom(model, series, files, options)))


def series_of(model: LoadedModel, source: Source, options: PredictOptions) -> SourceSeries | None:
    """The DICOM series that results are to join, as far as its headers; None where no DICOM is wanted.

    Args:
        model: whose first image it is.
        source: as for :meth:`~medgen.inference.model.LoadedModel.predict`.
        options: of the prediction.

    Raises:
        UsageError: the image is no DICOM series, highdicom is needed and not installed, or contours are asked for of
            a model that segments nothing.
        InputError: results cannot be written into its study.
    """
    if not options.dicom:
        return None
    if options.contours and not model.task.labels:
        raise UsageError("--contours are of classes, and the model segments nothing", fix="leave --contours out")
    reads = model.route(options.direction).reads
    first = by_role(source, reads, dropped=model.dropped, may_lack=True).get(reads[0])
    if not isinstance(first, str | Path) or not is_dicom(Path(first)):
        raise UsageError(
            f"--dicom writes into the study of a DICOM series, and the image for '{reads[0]}' is none",
            where=first if isinstance(first, str | Path) else None,
            fix="give the folder of the series; or write the results with 'medgen dicom write'",
        )
    series = read_source(first)
    images = {model.kind_of(role) for role in model.route(options.direction).makes}
    if model.task.labels or images != {"hu"} or _maps(model.files(Path("p.nii.gz"), options)):
        require_highdicom()
        stand_ins(series, Owner(anonymous=options.anonymize))  # what cannot be written is found before the work
    return series


def folders_of(files: Files, options: PredictOptions) -> tuple[Path, ...]:
    """The folders that a prediction fills: one a result, and one for all maps."""
    if not options.dicom:
        return ()
    folders = [_folder(file) for file in files.results.values()]
    folders += [_folder(file, _CONTOURS) for file in files.results.values() if options.contours]
    return (*folders, *([_maps_folder(files)] if _maps(files) else ()))


def stale_folders(files: Files) -> tuple[Path, ...]:
    """DICOM of an earlier prediction, which medgen wrote: beside a new one it would pass for its own."""
    folders = [_folder(file, kind) for file in files.results.values() for kind in (_FOLDER, _CONTOURS)]
    return tuple(folder for folder in (*folders, _maps_folder(files)) if is_ours(folder))


def remove_stale(files: Files, source: Source) -> None:
    """Remove them, once there is a new prediction; the images that it was made from stay."""
    inputs = {each.resolve() for each in files_in(source)}
    for folder in stale_folders(files):
        if not any(each.is_relative_to(folder.resolve()) for each in inputs):
            shutil.rmtree(folder)


def write_dicom(model: LoadedModel, source: SourceSeries, files: Files, options: PredictOptions) -> tuple[str, ...]:
    """Write what a prediction wrote as NIfTI as DICOM too; folders of an earlier one are gone by then.

    A CT becomes a CT series, a label map one segmentation a class and, if asked for, contours; any other image and
    every map becomes a parametric map.

    Args:
        model: that predicted.
        source: the series of the first image.
        files: of the prediction.
        options: likewise.

    Returns:
        What was decided on the way.

    Raises:
        InputError: the results do not lie where the series does.
        StorageError: the disk is full or the folder cannot be written.
    """
    owner = Owner(anonymous=options.anonymize)
    made = Made(str(model.description.get("method", "medgen")))
    notes: list[str] = []
    for count, (role, file) in enumerate(files.results.items()):
        volume, folder = read_volume(file), _folder(file)
        if model.task.labels:
            found = write_segmentations(volume, source, folder, classes=model.classes, owner=owner, made=made)
            if options.contours:
                drawn = _folder(file, _CONTOURS)
                found += write_contours(volume, source, drawn, classes=model.classes, owner=owner, made=made)
        elif model.kind_of(role) == "hu":
            one = _numbered(made, source, count) if count else made
            found = write_ct_series(volume, source, folder, owner=owner, made=one)
        else:
            one = _numbered(made, source, count)
            found = write_parametric_maps({f"synthetic {role}": volume}, source, folder, owner=owner, made=one)
        notes += found
    if maps := _maps(files):
        volumes = {says: read_volume(file) for says, (file, _) in maps.items()}
        unit = {says: "HU" if role and model.kind_of(role) == "hu" else "1" for says, (_, role) in maps.items()}
        notes += write_parametric_maps(volumes, source, _maps_folder(files), unit=unit, owner=owner, made=made)
    return tuple(dict.fromkeys(notes))


def _numbered(made: Made, source: SourceSeries, count: int) -> Made:
    """A series number for each of several images, above those of segmentations and maps."""
    return replace(made, number=made.series_number(source) + 300 + count)


def _folder(file: Path, kind: str = _FOLDER) -> Path:
    return file.with_name(f"{split_name(file)[0]}{kind}")


def _maps_folder(files: Files) -> Path:
    return _folder(next(iter(files.results.values())), _MAPS)


def _maps(files: Files) -> Mapping[str, tuple[Path, str]]:
    """Every map beside the results by what it says, and the role of an image whose unit it has; "" for a share."""
    shares = {f"probability of {name}": file for name, file in files.probabilities.items()}
    if files.detection_map:
        shares["confidence of lesions"] = files.detection_map
    maps = {says: (file, "") for says, file in shares.items()}
    for name, file in files.uncertainty.items():
        role = name if name in files.results else ""  # else a class
        maps[f"standard deviation of {name}" if name else "entropy"] = (file, role)
    for role, (lower, upper) in files.bounds.items():
        maps[f"lower end of the interval of {role}"] = (lower, role)
        maps[f"upper end of the interval of {role}"] = (upper, role)
    return maps
