"""The cases of a table as the method of a recipe may see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medgen.cases import Case, read_cases
from medgen.errors import MedgenError, UsageError
from medgen.preparation import Preparation, Roles, StoredCase
from medgen.preparation.building import of_case
from medgen.recipe.check import check_recipe, require_files, require_images
from medgen.recipe.settings import Recipe, load_recipe
from medgen.sampling.streams import visible
from medgen.types import SplitOrAll
from medgen.volume import read_header

AnyCase = TypeVar("AnyCase", Case, StoredCase)


@dataclass(frozen=True)
class RecipeCases:
    """What a recipe says about images, and the cases of a table.

    Attributes:
        preparation: which roles there are, and what is done to their images.
        cases: those of the table, without labels that the method may not see.
    """

    preparation: Preparation
    cases: tuple[Case, ...]

    def files(self, split: SplitOrAll) -> list[tuple[Case, dict[str, Path]]]:
        """The cases of a split, each with the files of the roles that it has; no voxel is read.

        Args:
            split: ``train``, ``val``, ``test`` or ``all``.

        Raises:
            UsageError: an unknown split.
            InputError: images of a case do not lie where preparation needs them.
        """
        return [(case, self._placed(case)) for case in of_split(self.cases, split, self.preparation.roles)]

    def _placed(self, case: Case) -> dict[str, Path]:
        found = {role: case.path(role) for role in self.preparation.roles.all}
        paths = {role: path for role, path in found.items() if path is not None}
        geometry = self.preparation.config.geometry
        try:
            self.preparation.require_places(
                {role: read_header(path, geometry=geometry) for role, path in paths.items()}
            )
        except MedgenError as error:
            raise of_case(case, error) from error
        return paths


def of_split(cases: Sequence[AnyCase], split: SplitOrAll, roles: Roles) -> list[AnyCase]:
    """The cases of a split; to learn from, only those of the domains that the recipe names, if it names any.

    Args:
        cases: of a table or of a store.
        split: ``train``, ``val``, ``test`` or ``all``.
        roles: of the recipe.

    Raises:
        UsageError: an unknown split.
    """
    if split not in (known := ("train", "val", "test", "all")):
        raise UsageError(f"there is no split '{split}'", fix=f"choose from {', '.join(known)}")
    domains = roles.domains
    taken = [case for case in cases if split in ("all", case.split)]
    return [case for case in taken if domains is None or case.split == "test" or case.domain in domains]


def recipe_cases(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    *,
    overrides: Sequence[str] = (),
    allow_modules: Sequence[str] = (),
) -> RecipeCases:
    """Read a recipe and a case table, and see that they fit; reads no image.

    Args:
        recipe: a YAML file, plain values, or a :class:`~medgen.recipe.settings.Recipe`.
        cases: the case table.
        overrides: ``key=value`` changes to the recipe.
        allow_modules: modules outside medgen that the recipe may name as its method.

    Raises:
        UsageError: the recipe is wrong.
        InputError: the table is wrong, a case to learn from lacks an image, or a file is missing.
    """
    settings, kind, _ = check_recipe(load_recipe(recipe, overrides), allow_modules=allow_modules)
    table = read_cases(cases)
    known = tuple(visible(case, kind.batch_class, settings.data) for case in table.cases)  # as in training
    learnt = [case for case in known if case.split != "test"]
    require_images(learnt, settings.data, kind.batch_class, where=table.path)
    require_files(known, settings.data)
    return RecipeCases(Preparation(settings.data, settings.preparation), known)
