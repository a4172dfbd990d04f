"""What can be said of a recipe before a case is read: faults that would otherwise show after hours of preparation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from medgen.cases import Case, listed
from medgen.config import Config, build
from medgen.errors import InputError, UsageError
from medgen.methods.base import Channels, Method
from medgen.methods.catalogue import resolve
from medgen.preparation import Roles
from medgen.recipe.settings import Recipe
from medgen.sampling.transfer import check_transfer

log = logging.getLogger(__name__)


def check_recipe(
    recipe: Recipe, *, allow_modules: Sequence[str] = (), where: str | Path | None = None
) -> tuple[type[Method], Config]:
    """Find the method of a recipe and build its settings and, once, its networks; log their warnings.

    Args:
        recipe: of a run.
        allow_modules: modules outside medgen that the recipe may name as its method.
        where: the file of the recipe, for messages.

    Returns:
        The method and its settings.

    Raises:
        UsageError: no such method, a wrong setting, a channel that is not among the inputs, patches that the networks
            cannot take, or a transfer that could not be made.
        ModelError: a module that was not allowed.
    """
    kind = resolve(recipe.method, allow_modules=allow_modules)
    config = build(kind.config_class, recipe.config, where=where)
    inputs = recipe.data.inputs
    for warning in config.warnings(recipe.schedule.steps):
        log.warning("%s", warning)
    check_transfer(recipe.patches.transfer, inputs, adapts=kind.adapts())
    _require_channels(config, "config", inputs)
    _require_channels(recipe.patches.augmentation, "patches.augmentation", inputs)
    outputs = 1 if recipe.data.task == "synthesis" else 1 + max(1, len(recipe.data.classes))
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and thrown away
        method = kind(config, Channels(len(inputs), outputs))
    _require_patch(recipe.patches.size, method)
    return kind, config


def require_images(
    cases: Sequence[Case],
    roles: Roles,
    *,
    where: str | Path,
    unlabelled: str | None = None,
    who: str = "cases to learn from",
    fix: str = "add them, or take the cases out of the table",
) -> None:
    """Refuse cases without an image that the recipe names.

    Args:
        cases: all of one purpose; those of split ``test`` need no target and no mask.
        roles: of the recipe.
        where: the case table.
        unlabelled: domain whose cases need no labels. Beside a target nobody needs them.
        who: what the cases are, for the message.
        fix: for the message.

    Raises:
        InputError: some lack an image; each role is named with the first of them and their number.
    """
    lacking: dict[str, list[str]] = {}
    for case in cases:
        learns_labels = roles.task == "segmentation" and (unlabelled is None or case.domain != unlabelled)
        for role in roles.lacking(case, labels=learns_labels):
            lacking.setdefault(role, []).append(case.name)
    if lacking:
        found = (f"{role} in {len(names)} of {len(cases)} ({listed(names)})" for role, names in lacking.items())
        raise InputError(f"{who} have no image for {'; '.join(found)}", where=where, fix=fix)


def _require_channels(config: Config, key: str, inputs: Sequence[str]) -> None:
    """Refuse a setting that names a channel which no image has: it would silently do nothing."""
    for name, number in _named_channels(config, key):
        if number >= len(inputs):
            known = ", ".join(f"{place} {name}" for place, name in enumerate(inputs))
            raise UsageError(
                f"{name} names channel {number}, and the recipe has {len(inputs)} inputs",
                fix=f"count from 0 in data.inputs: {known}",
            )


def _named_channels(config: Config, key: str) -> Iterator[tuple[str, int]]:
    """Keys of settings, however deep, and the numbers of channels that they name."""
    for name, numbers in config.named_channels().items():
        yield from ((f"{key}.{name}", number) for number in numbers)
    for name in type(config).model_fields:
        if isinstance(inner := getattr(config, name), Config):
            yield from _named_channels(inner, f"{key}.{name}")


def _require_patch(size: Sequence[int], method: Method) -> None:
    lost, align = 2 * method.margin, method.align
    least = (method.minimum, method.minimum, method.fewest_slices)
    small = any(edge < fewest for edge, fewest in zip(size, least, strict=True))
    sides = f"{least[0]}, {least[1]} and {least[2]}" if len(set(least)) > 1 else str(least[0])
    if small or any(edge % method.multiple or (edge - lost) % align for edge in size):
        multiple = f" and divisible by {method.multiple}" if method.multiple > 1 else ""
        multiple += f" and equal to {lost} plus a multiple of {align}" if align > 1 else ""
        raise UsageError(
            f"the patches are {list(size)} voxels; this network needs sides of at least {sides}{multiple}",
            fix="change patches.size",
        )
