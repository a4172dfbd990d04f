"""The files of a prediction as DICOM beside them, in the study of the first image that the model reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medgen.dicom import Made, Owner, read_source, write_ct_series, write_parametric_maps, write_segmentations
from medgen.dicom.folders import require_replaceable
from medgen.dicom.highdicom import require_highdicom
from medgen.errors import UsageError
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.sources import Source, by_role
from medgen.inference.writing import Files, Written, split_name
from medgen.types import Progress
from medgen.volume import is_dicom, read_volume

_FOLDER = "_dicom"


def predict_files(
    model: LoadedModel,
    source: Source,
    output: Path,
    options: PredictOptions,
    *,
    overwrite: bool,
    progress: Progress | None = None,
) -> Written:
    """The files of one patient, and where it is wanted the same as DICOM; that of an earlier one is removed first.

    Args and errors are those of :meth:`~medgen.inference.model.LoadedModel.predict_file`, :func:`series_of` and
    :func:`write_dicom`.
    """
    series, files = series_of(model, source, options), model.files(output, options)
    for folder in folders_of(files, options):
        require_replaceable(folder, overwrite=overwrite)
    if overwrite:
        remove_stale(files)
    written = model.predict_file(source, output, options, overwrite=overwrite, progress=progress)
    if series is None:
        return written
    return replace(written, notes=(*written.notes, *write_dicom(model, series, files, options)))


def series_of(model: LoadedModel, source: Source, options: PredictOptions) -> Path | None:
    """The DICOM series that results are to join; None where no DICOM is wanted.

    Args:
        model: whose first image it is.
        source: as for :meth:`~medgen.inference.model.LoadedModel.predict`.
        options: of the prediction.

    Raises:
        UsageError: the image is no DICOM series, or highdicom is needed and not installed.
    """
    if not options.dicom:
        return None
    reads = model.route(options.direction).reads
    first = by_role(source, reads, dropped=model.dropped, may_lack=True).get(reads[0])
    if not isinstance(first, str | Path) or not is_dicom(Path(first)):
        raise UsageError(
            f"--dicom writes into the study of a DICOM series, and the image for '{reads[0]}' is none",
            where=first if isinstance(first, str | Path) else None,
            fix="give the folder of the series; or write the results with 'medgen dicom write'",
        )
    if model.task.labels or _has_maps(model.files(Path("p.nii.gz"), options)):
        require_highdicom()
    return Path(first)


def folders_of(files: Files, options: PredictOptions) -> tuple[Path, ...]:
    """The folders that a prediction fills: one a result, and one for all maps."""
    if not options.dicom:
        return ()
    results = tuple(_folder(file) for file in files.results.values())
    return (*results, *([_maps_folder(files)] if _has_maps(files) else ()))


def remove_stale(files: Files) -> None:
    """Remove the DICOM of an earlier prediction: beside a new one it would pass for its own."""
    for folder in (*map(_folder, files.results.values()), _maps_folder(files)):
        if folder.is_dir() and not folder.is_symlink():
            require_replaceable(folder, overwrite=True)
            shutil.rmtree(folder)


def write_dicom(model: LoadedModel, series: Path, files: Files, options: PredictOptions) -> tuple[str, ...]:
    """Write what a prediction wrote as NIfTI as DICOM too; folders of an earlier one are gone by then.

    A CT becomes a CT series, a label map one segmentation a class, any other image and every map a parametric map.

    Args:
        model: that predicted.
        series: of the first image.
        files: of the prediction.
        options: likewise.

    Returns:
        What was decided on the way.

    Raises:
        InputError: the results do not lie where the series does.
        StorageError: the disk is full or the folder cannot be written.
    """
    source, owner = read_source(series), Owner(anonymous=options.anonymize)
    made = Made(str(model.description.get("method", "medgen")))
    notes: list[str] = []
    for role, file in files.results.items():
        volume, folder = read_volume(file), _folder(file)
        if model.task.labels:
            found = write_segmentations(volume, source, folder, classes=model.classes, owner=owner, made=made)
        elif model.kind_of(role) == "hu":
            found = write_ct_series(volume, source, folder, owner=owner, made=made)
        else:
            found = write_parametric_maps({f"synthetic {role}": volume}, source, folder, owner=owner, made=made)
        notes += found
    if maps := _maps(files):
        unit = "HU" if all(model.kind_of(role) == "hu" for role in files.results) and not model.task.labels else "1"
        volumes = {says: read_volume(file) for says, file in maps.items()}
        notes += write_parametric_maps(volumes, source, _maps_folder(files), unit=unit, owner=owner, made=made)
    return tuple(dict.fromkeys(notes))


def _folder(file: Path) -> Path:
    return file.with_name(f"{split_name(file)[0]}{_FOLDER}")


def _maps_folder(files: Files) -> Path:
    first = next(iter(files.results.values()))
    return first.with_name(f"{split_name(first)[0]}_maps{_FOLDER}")


def _has_maps(files: Files) -> bool:
    return bool(_maps(files))


def _maps(files: Files) -> Mapping[str, Path]:
    """Every map beside the results, by what it says."""
    maps = {f"probability of {name}": file for name, file in files.probabilities.items()}
    if files.detection_map:
        maps["confidence of lesions"] = files.detection_map
    maps |= {f"standard deviation of {name}" if name else "entropy": file for name, file in files.uncertainty.items()}
    for role, (lower, upper) in files.bounds.items():
        maps |= {f"lower end of the interval of {role}": lower, f"upper end of the interval of {role}": upper}
    return maps
