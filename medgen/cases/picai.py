"""Case tables out of folders in the layout of the PI-CAI challenge."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from medgen.cases.case import Case
from medgen.cases.splits import assign_splits
from medgen.cases.table import require_name
from medgen.errors import InputError

SEQUENCES = ("t2w", "adc", "hbv")
"""The sequences of a study that become roles; sagittal and coronal T2W are left out."""

_SUFFIXES = (".mha", ".nii.gz", ".nii")
_IMAGE = re.compile(rf"(?P<patient>[A-Za-z0-9-]+)_(?P<study>[A-Za-z0-9-]+)_(?P<role>{'|'.join(SEQUENCES)})")


def from_picai(
    folder: str | Path, *, labels: str | Path | None = None, validation: float = 0.2, test: float = 0.2
) -> tuple[Case, ...]:
    """Cases of the PI-CAI challenge: ``<patient>/<patient>_<study>_{t2w,adc,hbv}.mha``, also without the folders.

    A case is a study and is called ``<patient>_<study>``; all studies of a patient go to one split. Roles: ``t2w``,
    ``adc``, ``hbv`` (diffusion with high b), and ``lesion``, the ISUP grade of each voxel.

    Args:
        folder: the images.
        labels: folder with ``<patient>_<study>.nii.gz``, in picai_labels for example
            ``csPCa_lesion_delineations/human_expert/resampled``. A study without a file there has no ``lesion``.
        validation: fraction of the patients for ``val``, by the hash of their names.
        test: fraction of the patients for ``test``, likewise.

    Raises:
        InputError: there are no such images, a study has two files for one role, or no label belongs to an image.
        UsageError: the fractions leave nothing to train on.
    """
    folder = Path(folder).absolute()
    studies: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for path, stem in _images(folder):
        if match := _IMAGE.fullmatch(stem):
            patient, study, role = match.group("patient", "study", "role")
            _add(studies[patient, study], role, path)
    if not studies:
        raise InputError(
            "there are no images named <patient>_<study>_t2w.mha",
            where=folder,
            fix="name the folder that holds them, or the folders of the patients",
        )
    if labels is not None:
        _add_labels(studies, Path(labels).absolute())
    splits = assign_splits([patient for patient, _ in studies], validation=validation, test=test)
    return tuple(
        Case(require_name(f"{patient}_{study}", folder), splits[patient], None, _ordered(images), patient)
        for (patient, study), images in sorted(studies.items())
    )


def _images(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of the folder and of the folders in it, with their names without ending."""
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        ending = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), "")
        if ending and not path.name.startswith(".") and path.is_file():
            yield path, path.name.removesuffix(ending)


def _add_labels(studies: dict[tuple[str, str], dict[str, Path]], folder: Path) -> None:
    names = {f"{patient}_{study}": images for (patient, study), images in studies.items()}
    found = [(path, stem) for path, stem in _images(folder) if stem in names]
    for path, stem in found:
        _add(names[stem], "lesion", path)
    if not found:
        raise InputError(
            f"no label here is named after one of the {len(names)} studies",
            where=folder,
            fix=f"name the folder that holds {next(iter(names))}.nii.gz",
        )


def _add(images: dict[str, Path], role: str, path: Path) -> None:
    if role in images:
        raise InputError(
            f"a study has two files for {role}: {images[role].name} and {path.name}",
            where=f"{images[role].parent} and {path.parent}",
            fix="keep one of them",
        )
    images[role] = path


def _ordered(images: dict[str, Path]) -> dict[str, Path]:
    return {role: images[role] for role in (*SEQUENCES, "lesion") if role in images}
