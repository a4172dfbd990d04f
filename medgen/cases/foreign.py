"""Case tables out of folders in layouts that others defined: nnU-Net, Medical Segmentation Decathlon, BIDS."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from medgen.cases.case import Case
from medgen.cases.splits import assign_splits
from medgen.cases.table import require_folder, require_name
from medgen.errors import InputError
from medgen.files import require_apart

_SUFFIXES = (".nii.gz", ".nii")
# BIDS 1.10, appendix "Filename templates", anat; further suffixes are taken in lower case.
BIDS_ROLES = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair", "PDw": "pd", "T2starw": "ge", "ct": "ct", "dseg": "label"}
_BIDS_FOLDERS = ("anat", "ct")
BIDS_DESCRIPTION = "dataset_description.json"
_OTHER_SPACE = re.compile(r"_space-(?!orig|individual|T1w|T2w|FLAIR)[A-Za-z0-9]+")

_COMPLEX = re.compile(r"_part-(phase|real|imag)(_|$)")
"""Parts of a complex image that are no anatomy; ``part-mag`` is."""


def from_nnunet(folder: str | Path, *, validation: float = 0.2) -> tuple[Case, ...]:
    """Cases of an nnU-Net dataset: ``imagesTr/<case>_0000.nii.gz``, ``labelsTr``, ``imagesTs``, ``dataset.json``.

    Roles are the lower-cased channel names of ``dataset.json``, and ``label``. ``imagesTs`` becomes the split ``test``.

    Args:
        folder: the dataset, for example ``Dataset001_Brain``.
        validation: fraction of the training cases for ``val``, by the hash of their names.

    Raises:
        InputError: the folder, ``dataset.json`` or the images are missing, a channel has no name there, or a label
            value means that nobody looked.
    """
    folder = require_folder(folder)
    description = _description(folder)
    ending = description.get("file_ending", ".nii.gz")
    if ending not in _SUFFIXES:
        raise InputError(f"the images end in {ending!r}", where=folder, fix="convert them to .nii.gz")
    channels = _channels(description, folder)
    _require_annotated(description, folder)
    training = _nnunet_images(folder / "imagesTr", channels, ending)
    testing = _nnunet_images(folder / "imagesTs", channels, ending) if (folder / "imagesTs").is_dir() else {}
    splits = assign_splits(list(training), validation=validation)
    cases = []
    for part, images in (("Tr", training), ("Ts", testing)):
        for name, roles in images.items():
            label = folder / f"labels{part}" / f"{name}{ending}"
            found = {**roles, "label": label} if label.is_file() else roles
            cases.append(Case(name, splits[name] if part == "Tr" else "test", None, found))
    return tuple(cases)


def from_msd(
    folder: str | Path, *, validation: float = 0.2, split_into: str | Path | None = None, overwrite: bool = False
) -> tuple[Case, ...]:
    """Cases of a task of the Medical Segmentation Decathlon, as its ``dataset.json`` lists them.

    Args:
        folder: the task, for example ``Task05_Prostate``.
        validation: fraction of the training cases for ``val``, by the hash of their names.
        split_into: where to write the channels of 4D images as 3D volumes; they are as large as the originals.
        overwrite: replace volumes that are there.

    Raises:
        InputError: the folder or ``dataset.json`` is missing, it names files outside the folder, or the images hold
            several channels and ``split_into`` is not given.
        UsageError: a volume to write exists, and ``overwrite`` is off, or it is an image of the task.
    """
    folder = require_folder(folder)
    description = _description(folder)
    channels = list(_channels(description, folder).values())
    training = [_msd_entry(entry, folder, channels) for entry in description.get("training", [])]
    testing = [_msd_entry(entry, folder, channels) for entry in description.get("test", [])]
    together = any(isinstance(image, Path) for _, image, _ in (*training, *testing))
    if len(channels) > 1 and together and split_into is None:
        raise InputError(
            f"each image holds {len(channels)} channels ({', '.join(channels)}); a case table needs one file each",
            where=folder,
            fix="name a folder where they are written as 3D volumes: --split-into FOLDER (split_into in Python)",
        )
    splits = assign_splits([name for name, _, _ in training], validation=validation)
    if split_into is not None and len(channels) > 1:
        every = (*training, *testing)
        own = [label for *_, label in every if label]
        own += [each for _, found, _ in every for each in (found.values() if isinstance(found, dict) else [found])]
        written = (_channel_file(Path(split_into), name, role) for name, _, _ in every for role in channels)
        require_apart(written, own, fix="choose another folder for --split-into")
    cases = []
    for part, entries in (("Tr", training), ("Ts", testing)):
        for name, image, label in entries:
            if isinstance(image, Path):
                many = len(channels) > 1
                into = Path(str(split_into))
                images = _split(image, channels, name, into, overwrite) if many else {channels[0]: image}
            else:
                images = image
            found = {**images, "label": label} if label else images
            cases.append(Case(name, splits[name] if part == "Tr" else "test", None, found))
    if not cases:
        raise InputError("dataset.json lists no images", where=folder, fix="unpack the whole task")
    return tuple(cases)


def from_bids(
    folder: str | Path, *, validation: float = 0.2, test: float = 0.2, prefer: str | None = None
) -> tuple[Case, ...]:
    """Cases of a BIDS dataset: ``sub-*/[ses-*/]anat`` and ``ct``, labels and masks from ``derivatives``.

    Roles: T1w ``t1`` (with contrast agent ``t1c``), T2w ``t2``, FLAIR ``flair``, PDw ``pd``, T2starw ``ge``, ct ``ct``;
    other suffixes in lower case. In derivatives ``dseg`` and masks of a label or lesion are ``label``, other masks
    ``mask``; what lies in a template's space is left out, and so are predictions of medgen: they are no truth. All
    sessions of a subject go to one split.

    Args:
        folder: the dataset.
        validation: fraction of the subjects for ``val``, by the hash of their names.
        test: fraction of the subjects for ``test``, likewise.
        prefer: part of the file name (``"run-1"``) that decides where several images of a case have one role.

    Raises:
        InputError: there is no such folder, there are no subjects in it, or a case has several images for one role and
            ``prefer`` does not decide.
    """
    folder = require_folder(folder)
    found: dict[tuple[str, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    roots = [
        folder,
        *(path for path in sorted((folder / "derivatives").glob("*")) if path.is_dir() and not made_by_medgen(path)),
    ]
    for root in roots:
        for image in _bids_images(root):
            role = _bids_role(image, derived=root is not folder)
            if role:
                found[_bids_case(image)][role].append(image)
    subjects = sorted({subject for subject, _ in found})
    if not subjects:
        raise InputError("no sub-*/anat or sub-*/ct has NIfTI images", where=folder, fix="name the BIDS folder")
    splits = assign_splits(subjects, validation=validation, test=test)
    cases = []
    for (subject, session), roles in sorted(found.items()):
        name = require_name(f"{subject}_{session}" if session else subject, folder)
        images = {role: _only(paths, role, name, prefer) for role, paths in roles.items()}
        cases.append(Case(name, splits[subject], None, images))
    return tuple(cases)


def made_by_medgen(folder: Path) -> bool:
    """Whether a folder holds BIDS derivatives of ``medgen predict --bids``."""
    try:
        content = json.loads((folder / BIDS_DESCRIPTION).read_text(encoding="utf-8"))
        return bool(content["GeneratedBy"][0]["Name"] == "medgen")
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        raise InputError("dataset.json is missing", where=folder, fix="name the folder that holds dataset.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"dataset.json is no JSON: {error}", where=path, fix="copy it again") from error
    if not isinstance(content, dict):
        raise InputError("dataset.json holds no settings", where=path, fix="copy it again")
    return content


def _channels(description: Mapping[str, Any], folder: Path) -> dict[int, str]:
    """Channel number -> role. nnU-Net v2 calls them channel_names, nnU-Net v1 and the Decathlon modality."""
    names = description.get("channel_names") or description.get("modality")
    if not isinstance(names, dict) or not all(str(number).isdigit() for number in names):
        raise InputError("dataset.json names no channels", where=folder, fix='add "channel_names": {"0": "T1"} to it')
    roles = {int(number): re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_") for number, name in names.items()}
    if len(set(roles.values())) < len(roles) or not all(roles.values()):
        raise InputError("two channels have one name in dataset.json", where=folder, fix="name each channel")
    return dict(sorted(roles.items()))


def _require_annotated(description: Mapping[str, Any], folder: Path) -> None:
    labels = description.get("labels")
    if isinstance(labels, Mapping) and "ignore" in labels:
        raise InputError(
            f"the label value {labels['ignore']} means 'ignore': nobody annotated these voxels, and medgen would learn "
            "them as a class",
            where=folder / "dataset.json",
            fix="set them to background, give the annotated voxels as a mask (a column of the case table, data.mask), "
            "and take 'ignore' out of dataset.json",
        )


def _nnunet_images(folder: Path, channels: Mapping[int, str], ending: str) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob(f"*{ending}")):
        match = re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(ending))
        if path.name.startswith("."):
            continue
        if match is None or int(match[2]) not in channels:
            raise InputError(
                "the image has no channel number that dataset.json names",
                where=path,
                fix=f"end its name in one of: {', '.join(f'_{number:04d}{ending}' for number in channels)}",
            )
        found[require_name(match[1], folder)][channels[int(match[2])]] = path
    if not found:
        raise InputError(f"there are no images named <case>_0000{ending}", where=folder, fix="name the dataset folder")
    return dict(found)


def _msd_entry(entry: Any, folder: Path, channels: list[str]) -> tuple[str, Path | dict[str, Path], Path | None]:
    """Case name, image and label of one entry; the image is one file, or a file for each role.

    Test entries may be bare paths. MONAI's lists have a file for each channel, in the order of the channels.
    """
    image, label = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (entry, None)
    truth = _inside(folder, label) if label else None
    if isinstance(image, list) and len(image) == len(channels) and all(isinstance(each, str) for each in image):
        files = {role: _inside(folder, each) for role, each in zip(channels, image, strict=True)}
        name = _plain(truth) if truth else _shared(_plain(path) for path in files.values())
        return require_name(name, folder), files, truth
    if not isinstance(image, str) or not image:
        count = f"{len(image)} images for {len(channels)} channels" if isinstance(image, list) else "no image"
        raise InputError(f"an entry of dataset.json has {count}", where=folder, fix="copy dataset.json again")
    path = _inside(folder, image)
    return require_name(_plain(path), folder), path, truth


def _shared(names: Iterable[str]) -> str:
    """What names begin with, before the blank between it and the channel."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("_-.")


def _plain(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name)


def _inside(folder: Path, text: str) -> Path:
    path = (folder / text).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(
            f"dataset.json names {text!r}, outside the dataset", where=folder, fix="do not use this dataset.json"
        )
    return folder / path.relative_to(folder.resolve())


def _channel_file(folder: Path, name: str, role: str) -> Path:
    return folder.absolute() / name / f"{name}_{role}.nii.gz"


def _split(image: Path, channels: list[str], name: str, folder: Path, overwrite: bool) -> dict[str, Path]:
    """Write each channel of a 4D image as a 3D volume."""
    from medgen.volume import read_volume, write_volume

    images = {}
    for number, role in enumerate(channels):
        path = _channel_file(folder, name, role)
        write_volume(read_volume(image, frame=number), path, kind="scalar", overwrite=overwrite)
        images[role] = path
    return images


def _bids_images(root: Path) -> list[Path]:
    patterns = [
        f"sub-*/{session}{kind}/sub-*{suffix}"
        for session in ("", "ses-*/")
        for kind in _BIDS_FOLDERS
        for suffix in _SUFFIXES
    ]
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def _bids_case(image: Path) -> tuple[str, str]:
    session = image.parent.parent.name
    return (image.parents[2].name, session) if session.startswith("ses-") else (session, "")


def _bids_role(image: Path, *, derived: bool) -> str | None:
    """The role of a file by its suffix; None where it is none (derived, in another space, a phase)."""
    stem = _plain(image)
    if _COMPLEX.search(stem):
        return None
    suffix = stem.rsplit("_", 1)[-1]
    if derived:
        if suffix not in ("dseg", "mask", "roi") or _OTHER_SPACE.search(stem):
            return None
        is_label = suffix in ("dseg", "roi") or re.search(r"_(label|desc)-(?!brain)\w*(lesion|tumou?r|wmh)", stem, re.I)
        return "label" if is_label or "_label-" in stem else "mask"
    if suffix == "T1w" and "_ce-" in stem:
        return "t1c"
    return BIDS_ROLES.get(suffix, suffix.lower())


def _only(paths: list[Path], role: str, name: str, prefer: str | None) -> Path:
    chosen = [path for path in paths if prefer and prefer in path.name] or paths
    if len(chosen) > 1:
        raise InputError(
            f"case '{name}' has {len(chosen)} images for {role}: {', '.join(path.name for path in chosen[:4])}",
            where=chosen[0].parent,
            fix="name a part of the file name that decides: --prefer run-1 (prefer in Python)",
        )
    return chosen[0]
