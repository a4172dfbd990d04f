"""Datasets of MONAI whose items are dictionaries of ``MetaTensor``, channel first, with affines to RAS+ millimetres.

The items of ``.data`` are dictionaries of file names, and ``.transform`` reads them, so both can be given to MONAI's
``CacheDataset`` or ``PersistentDataset`` as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.dataset import Dataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.transform import Transform

from medgen.errors import MedgenError
from medgen.preparation import Preparation
from medgen.preparation.store import facts_of, open_array
from medgen.recipe.cases import of_split, recipe_cases
from medgen.recipe.settings import Recipe
from medgen.run.experiment import prepare
from medgen.types import Array, Progress, SplitOrAll

CASE = "case"
"""Key of the name of a case, beside the keys of its images."""
_FOLDER = "folder"
_ARRAYS = ("image", "target", "mask", "body", "label")


def dataset(
    cases: str | Path,
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    split: SplitOrAll = "all",
    transform: Callable[[Any], Any] | None = None,
    allow_modules: Sequence[str] = (),
) -> Dataset:
    """The images of a case table as they are in their files, read by medgen.

    An item has a ``MetaTensor`` (1, X, Y, Z) for each role of the recipe that the case has, by the role as the recipe
    names it, and the name of the case under ``case``. Images are float32 in the unit of the file; label map and mask
    are whole numbers. All axes are as in the file. Labels that the method of the recipe may not see are left out, and
    so are cases to learn from that belong to none of ``data.domains``.

    Args:
        cases: the case table.
        recipe: names the roles (``data``), and what to believe where sform and qform disagree.
        split: ``train``, ``val``, ``test`` or ``all``.
        transform: what is done to an item after it was read, e.g. a ``Compose`` of dictionary transforms.
        allow_modules: modules outside medgen that the recipe may name as its method.

    Raises:
        UsageError: the recipe is wrong, or an unknown split.
        InputError: the table is wrong, a file is missing, or the images of a case do not lie where preparation needs
            them: an input beside the first one; target, label map or mask on another grid.
    """
    found = recipe_cases(recipe, cases, allow_modules=allow_modules)
    items = [
        {CASE: case.name, **{role: str(path) for role, path in paths.items()}} for case, paths in found.files(split)
    ]
    return Dataset(items, _after(ReadCase(found.preparation), transform))


def store(
    cases: str | Path,
    recipe: str | Path | Mapping[str, Any] | Recipe,
    folder: str | Path,
    *,
    split: SplitOrAll = "all",
    transform: Callable[[Any], Any] | None = None,
    workers: int | None = None,
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Dataset:
    """The prepared cases of a table, on one grid and in normalised units; what is not in the store is prepared first.

    An item has a ``MetaTensor`` for each array: ``image`` (C, X, Y, Z) float32 with the inputs in the order of the
    recipe, ``mask`` and ``body`` (1, X, Y, Z) in {0, 1}, where there are any ``target`` (1, X, Y, Z) float32 in [-1, 1]
    and ``label`` (1, X, Y, Z) with the numbers of the classes; and the name of the case under ``case``. Axes are in
    RAS+ order.

    Args:
        cases: the case table.
        recipe: what is prepared, and how.
        folder: of the store, which ``medgen train --store`` can share.
        split: ``train``, ``val``, ``test`` or ``all``.
        transform: what is done to an item after it was read.
        workers: processes that prepare; by default one a core, at most 4.
        allow_modules: modules outside medgen that the recipe may name as its method.
        progress: called with (done, total, what).

    Raises:
        UsageError: the recipe is wrong.
        InputError: the table is wrong, or cases cannot be prepared.
        StorageError: the disk is full or the folder cannot be written; also of an item whose arrays are gone or
            damaged since.
    """
    made = prepare(recipe, cases, folder, workers=workers, allow_modules=allow_modules, progress=progress)
    stored = of_split(made.cases, split, made.preparation.roles)
    return Dataset([{CASE: case.name, _FOLDER: str(case.folder)} for case in stored], _after(ReadStored(), transform))


class ReadCase(Transform):
    """File names by role to a ``MetaTensor`` each; other keys stay.

    Args:
        preparation: of the recipe.
    """

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The images of one case."""
        roles = [role for role in self.preparation.roles.all if role in data]
        read = self.preparation.read({role: Path(data[role]) for role in roles})
        images = {role: _tensor(volume.data, volume.affine, str(data[role])) for role, volume in read.items()}
        return {**data, **images}


class ReadStored(Transform):
    """The folder of a prepared case to a ``MetaTensor`` of each array that was prepared."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays of one case.

        Raises:
            StorageError: one of them is missing or damaged.
        """
        folder = Path(data[_FOLDER])
        facts = facts_of(folder)
        affine, images = np.array(facts["affine"]), {}
        for name in _ARRAYS:
            if name in facts["files"]:
                path = folder / f"{name}.npy"
                array = open_array(path)
                images[name] = _tensor(array if array.ndim == 4 else array[None], affine, str(path))
        return {**{key: value for key, value in data.items() if key != _FOLDER}, **images}


def _tensor(data: Array, affine: Array, path: str) -> MetaTensor:
    """As MONAI's ``LoadImage`` with ``ensure_channel_first`` makes it, but for the type of whole numbers."""
    if data.dtype.kind == "u" and data.dtype != np.uint8:  # torch computes little with the others
        data = data.astype(np.int64 if data.dtype.itemsize > 2 else np.int32)
    meta = {
        "filename_or_obj": path,
        "original_affine": np.array(affine),
        "original_channel_dim": 0,  # so that EnsureChannelFirst changes nothing
        "space": "RAS",
        "spatial_shape": np.array(data.shape[1:]),
    }
    tensor = torch.from_numpy(np.array(data, order="C"))
    return MetaTensor(tensor, affine=torch.tensor(np.array(affine), dtype=torch.float64), meta=meta)


class ReadThen(Compose):
    """Reads an item and changes it; an error of medgen, which names file and fix, is not hidden by one of MONAI."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What :class:`~monai.transforms.Compose` makes."""
        try:
            return super().__call__(*arguments, **options)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MedgenError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None


def _after(read: Transform, transform: Callable[[Any], Any] | None) -> ReadThen:
    return ReadThen([read] if transform is None else [read, transform])
