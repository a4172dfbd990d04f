"""Samples to judge, back in the normalised units of the model that drew them, and how to cut real images like them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import Case, columns_of
from medgen.config import build
from medgen.errors import InputError
from medgen.files import sha256
from medgen.inference.opened import Opened
from medgen.inference.references import draw_patches
from medgen.inference.sample_folder import MANIFEST, read_slices
from medgen.names import file_name
from medgen.preparation import Preparation
from medgen.sampling.augmentation import AXES
from medgen.sampling.patches import PatchConfig
from medgen.types import Array, Progress
from medgen.volume import read_volume

_ENDINGS = (".nii.gz", ".nii", ".mha")
_AGAIN = "draw the samples again with 'medgen sample'"


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Samples, and how real images become comparable.

    Attributes:
        images: (N, C, *size) float32 in normalised units.
        names: what each sample is called.
        preparation: of real images.
        patches: of real images.
        origin: which model drew the samples with what, or what they are; for the JSON file.
        notes: about them.
        flips: names of the axes that the training of the generator flipped, where that is known.
    """

    images: Array
    names: tuple[str, ...]
    preparation: Preparation
    patches: PatchConfig
    origin: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    flips: tuple[str, ...] = ()


def read_samples(
    folder: Path, model: Opened, *, count: int | None, seed: int, progress: Progress | None = None
) -> SampleSet:
    """Read what ``medgen sample`` wrote, or a folder of volumes that were made elsewhere.

    Volumes made elsewhere (``<name>_<role>.nii.gz``; of one role any name) are prepared, placed and cut like the
    training images of ``model``, but in the body instead of a mask, which they do not have.

    Args:
        folder: of the samples.
        model: of the feature network.
        count: the first samples that are taken, or patches of volumes; by default all samples, or one patch a volume.
        seed: of the places of patches.
        progress: called with (done, in all, what).

    Raises:
        InputError: there are no samples, fewer than ``count``, or they are damaged or without what is needed here.
    """
    if not folder.is_dir():
        raise InputError("there is no folder of samples", where=folder, fix="give the folder of 'medgen sample -o'")
    if (folder / MANIFEST).is_file():
        return _drawn(folder, count)
    return _foreign(folder, model, count, seed, progress)


def _drawn(folder: Path, count: int | None) -> SampleSet:
    path = folder / MANIFEST
    content = _listed(path)
    if "preparation" not in content:
        raise InputError("the samples do not say how real images are prepared like them", where=path, fix=_AGAIN)
    try:
        preparation = Preparation.from_dict(content["preparation"])
        patches = build(PatchConfig, content["patches"])
        roles, files = content["roles"], content["files"]
        if not roles or not files:
            raise ValueError("it names no role or no file")
        _require_beside([name for each in files for name in each.values()], path)
        number, taken = len(files), len(files) if count is None else count
        _require_enough(number, taken, folder)
        flips = tuple(name for name in AXES if name in content.get("flips", ()))
        raw = "raw_values" in content
        names = tuple(str(number) for number in range(taken))
        channels = [
            _normalised(read_slices(folder, name)[:taken] if raw else _volumes(folder, files[:taken], name), role)
            for name, role in roles.items()
        ]
        origin: dict[str, Any] = {
            key: content[key] for key in ("model", "seed", "temperature", "truncation") if key in content
        }
        images, size = np.stack(channels, axis=1), tuple(content["size"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the list of samples is damaged: {error}", where=path, fix=_AGAIN) from None
    _require_finite(images, folder)
    if images.shape[2:] != size:
        raise InputError(
            f"the samples have {images.shape[2:]} voxels, and their list says {size}", where=folder, fix=_AGAIN
        )
    origin |= {"sha256": sha256(path), "count": taken}
    return SampleSet(images, names, preparation, patches, origin, flips=flips)


def _listed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the list of samples is damaged: {error}", where=path, fix=_AGAIN) from None
    return content if isinstance(content, dict) else {}


def _volumes(folder: Path, files: Sequence[dict[str, str]], name: str) -> Array:
    return np.stack([np.asarray(read_volume(folder / each[name]).data[0], np.float32) for each in files])


def _normalised(values: Array, role: dict[str, Any]) -> Array:
    """Undo :meth:`~medgen.inference.sample_writing.Channel.restored`; not clipped."""
    if "window" not in role:
        return values
    low, high = (float(each) for each in role["window"])
    return ((values - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)


def _foreign(folder: Path, model: Opened, count: int | None, seed: int, progress: Progress | None) -> SampleSet:
    preparation = model.known.preparation
    cases = _cases(folder, preparation.roles.inputs)
    preparation = replace(preparation, roles=preparation.roles.model_copy(update={"mask": None}))
    found = draw_patches(cases, preparation, model.patches, count=count or len(cases), seed=seed, progress=progress)
    _require_enough(len(found), count or len(found), folder)
    notes = (f"{len(cases)} volumes made elsewhere were prepared and cut like the training images of the features",)
    return SampleSet(
        found.images, found.cases, preparation, model.patches, {"volumes": len(cases), "count": len(found)}, notes
    )


def _cases(folder: Path, inputs: Sequence[str]) -> list[Case]:
    """A case for each volume in the folder, or for each set of volumes of one name."""
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(_ENDINGS))
    stems = {path: path.name.removesuffix(next(end for end in _ENDINGS if path.name.endswith(end))) for path in paths}
    images: dict[str, dict[str, Path]] = {}
    for role in inputs:
        column = columns_of(role)[0]
        ending = f"_{file_name(column)}"
        for path, stem in stems.items():
            if stem.endswith(ending):
                images.setdefault(stem.removesuffix(ending), {})[column] = path
            elif len(inputs) == 1:
                images.setdefault(stem, {})[column] = path
    if not images:
        wanted = " and ".join(f"<name>_{columns_of(role)[0]}.nii.gz" for role in inputs)
        raise InputError("the folder holds no samples", where=folder, fix=f"expected {MANIFEST}, or files {wanted}")
    return [Case(name, "test", None, each) for name, each in images.items()]


def _require_beside(names: Sequence[str], path: Path) -> None:
    """Refuse a list that leads out of its folder."""
    if leading := [name for name in names if Path(name).name != name]:
        raise InputError(f"the list names '{leading[0]}', which is no file of the folder", where=path, fix=_AGAIN)


def _require_enough(number: int, wanted: int, folder: Path) -> None:
    if number < wanted or not wanted:
        raise InputError(
            f"--count is {wanted}, and there are {number} samples", where=folder, fix="draw more samples, or use fewer"
        )


def _require_finite(images: Array, folder: Path) -> None:
    if bad := int((~np.isfinite(images.reshape(len(images), -1))).any(axis=1).sum()):
        raise InputError(f"{bad} of {len(images)} samples have NaN or infinite values", where=folder, fix=_AGAIN)
