"""Subjects of TorchIO 1 whose images are read by medgen when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen.errors import UsageError
from medgen.preparation import Preparation
from medgen.recipe.cases import recipe_cases
from medgen.recipe.settings import Recipe
from medgen.types import Array, SplitOrAll

if TYPE_CHECKING:
    from torchio import Subject


def subjects(
    cases: str | Path,
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    split: SplitOrAll = "all",
    allow_modules: Sequence[str] = (),
) -> list[Subject]:
    """The cases of a table as subjects of TorchIO 1, e.g. for ``torchio.SubjectsDataset``.

    A subject has a ``ScalarImage`` for each input and the target, a ``LabelMap`` for label map and mask, by the role as
    the recipe names it, and the name of the case under ``case``. Images are read when TorchIO asks for their voxels,
    with the axes of the file. Labels that the method of the recipe may not see are left out.

    Args:
        cases: the case table.
        recipe: names the roles (``data``), and what to believe where sform and qform disagree.
        split: ``train``, ``val``, ``test`` or ``all``.
        allow_modules: modules outside medgen that the recipe may name as its method.

    Raises:
        UsageError: TorchIO is not installed, the recipe is wrong, or an unknown split.
        InputError: the table is wrong, a file is missing, or the images of a case do not lie where preparation needs
            them.
    """
    try:
        import torchio
    except ModuleNotFoundError as error:
        raise UsageError("TorchIO is not installed", fix="pip install 'medgen[torchio]'") from error
    found = recipe_cases(recipe, cases, allow_modules=allow_modules)
    whole = (found.preparation.roles.labels, found.preparation.roles.mask)
    made = []
    for case, paths in found.files(split):
        images = {
            role: (torchio.LabelMap if role in whole else torchio.ScalarImage)(
                path, reader=partial(_read, preparation=found.preparation, role=role)
            )
            for role, path in paths.items()
        }
        made.append(torchio.Subject({"case": case.name, **images}))
    return made


def _read(path: str | Path, *, preparation: Preparation, role: str) -> tuple[Array, Array]:
    """Voxels (1, X, Y, Z) and affine (4, 4)."""
    volume = preparation.read({role: Path(path)})[role]
    return np.array(volume.data, order="C"), np.array(volume.affine)
