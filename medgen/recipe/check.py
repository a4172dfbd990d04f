"""What can be said of a recipe before a case is read: faults that would otherwise show after hours of preparation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from medgen.cases import Case, listed
from medgen.config import Config
from medgen.errors import InputError, UsageError
from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import resolve, settings_of
from medgen.preparation import Roles
from medgen.preparation.settings import CT_WINDOW
from medgen.recipe.settings import Recipe, complete
from medgen.sampling.batches import Batch
from medgen.sampling.monai_transforms import require_transforms
from medgen.sampling.streams import lacking
from medgen.sampling.transfer import check_transfer

_LARGEST = 10**10
"""Weights: 40 GB in single precision, without gradients and the state of an optimiser."""
_SMALLER = "set a smaller config.width, fewer layers or channels"

log = logging.getLogger(__name__)


def check_recipe(
    recipe: Recipe, *, allow_modules: Sequence[str] = (), where: str | Path | None = None
) -> tuple[Recipe, type[Method], Config]:
    """Find the method of a recipe and build its settings and, once, its networks; log their warnings.

    Args:
        recipe: of a run.
        allow_modules: modules outside medgen that the recipe may name as its method.
        where: the file of the recipe, for messages.

    Returns:
        The recipe with all settings of its method, and where it names none with the values of the schedule, patches and
        inference that they go with; the method; its settings.

    Raises:
        UsageError: no such method, a wrong setting, a channel that is not among the inputs, patches that the networks
            cannot take, or a transfer that could not be made.
        ModelError: a module that was not allowed.
    """
    try:
        return _checked(recipe, allow_modules, where)
    except UsageError as error:
        error.where = error.where or where
        raise


def _checked(
    recipe: Recipe, allow_modules: Sequence[str], where: str | Path | None
) -> tuple[Recipe, type[Method], Config]:
    kind = resolve(recipe.method, allow_modules=allow_modules)
    config = settings_of(kind, recipe.config, where=where)
    recipe = complete(recipe, {**config.recipe(), "config": config.model_dump(mode="json")})
    inputs = recipe.data.inputs
    for warning in config.warnings(recipe.schedule.steps):
        log.warning("%s", warning)
    target = recipe.data.target
    if target and recipe.preparation.intensity.get(target, CT_WINDOW) != CT_WINDOW and (instead := config.for_ct()):
        told = "the target '%s' is no CT in the window [-1024, 2000], by which tissues are told: set config %s"
        log.warning(told, target, ", ".join(instead))
    _require_roles(recipe, kind)
    check_transfer(recipe.patches.transfer, inputs, adapts=kind.adapts())
    _require_channels(config, "config", inputs)
    _require_channels(recipe.patches.augmentation, "patches.augmentation", inputs)
    if len(recipe.patches.size) not in kind.dimensions:
        known = " or ".join(map(str, kind.dimensions))
        raise UsageError(
            f"the method '{recipe.method}' has {known} dimensions, and the patches {list(recipe.patches.size)}",
            fix=f"give patches.size {known} edges, or choose another method",
        )
    method = untrained(recipe, kind, config)
    _require_size(method)
    if chosen := recipe.patches.augmentation.monai:
        arrays = {array for stream in kind.batches(config).streams() for array in stream.fields.values()}
        require_transforms(chosen, recipe.patches.box, recipe.patches.across, arrays)
    _require_patch(recipe.patches.size, method)
    recipe.inference.tile_size(recipe.patches.size, method.window)
    return recipe, kind, config


def untrained(recipe: Recipe, kind: type[Method], config: Config) -> Method:
    """The method of a recipe before its training, for what its weights are called and how large they are.

    Of classes that only the labels tell, it has one.

    Raises:
        UsageError: no memory holds it.
    """
    return without_values(kind, config, _shape(recipe, kind))


def as_drawn(recipe: Recipe, kind: type[Method], config: Config) -> Method:
    """The same with the weights that a training begins with, of some seed: for what depends on their values."""
    with torch.random.fork_rng(devices=[]):
        return kind(config, _shape(recipe, kind))


def without_values(kind: type[Method], config: Config, shape: Shape) -> Method:
    """A method whose weights have a size and no values, so that they take neither memory nor time.

    A method of one's own that needs real numbers to be built gets weights as they are drawn.

    Args:
        kind: the method.
        config: its settings.
        shape: what it is built for.

    Raises:
        UsageError: sizes that no memory holds.
    """
    with torch.random.fork_rng(devices=[]):  # a run draws its own
        try:
            with torch.device("meta"):
                return kind(config, shape)
        except NotImplementedError:
            return kind(config, shape)
        except (RuntimeError, OverflowError) as error:  # sizes beyond 64 bits
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"the networks cannot be built: {said}", fix=_SMALLER) from error


def _shape(recipe: Recipe, kind: type[Method]) -> Shape:
    outputs = kind.batch_class.task().channels(recipe.data, max(1, len(recipe.data.classes)))
    return Shape(len(recipe.data.inputs), outputs, recipe.patches.size)


def _require_size(method: Method) -> None:
    """Refuse networks that no memory holds, before any of it is taken."""
    count = sum(weight.numel() for weight in method.parameters())
    if count > _LARGEST:
        raise UsageError(f"the networks have {count:,} weights, and the limit is {_LARGEST:,}", fix=_SMALLER)


def require_images(
    cases: Sequence[Case],
    roles: Roles,
    kind: type[Batch],
    *,
    where: str | Path,
    who: str = "cases to learn from",
    fix: str = "add them, or take the cases out of the table",
) -> None:
    """Refuse cases without an image that the recipe names.

    Args:
        cases: all of one purpose; those of split ``test`` need no target and no mask.
        roles: of the recipe.
        kind: the batches of the method, whose streams say what a case needs.
        where: the case table.
        who: what the cases are, for the message.
        fix: for the message.

    Raises:
        InputError: some lack an image; each role is named with the first of them and their number.
    """
    missing: dict[str, list[str]] = {}
    for case in cases:
        for role in lacking(case, kind, roles):
            missing.setdefault(role, []).append(case.name)
    if missing:
        found = (f"{role} in {len(names)} of {len(cases)} ({listed(names)})" for role, names in missing.items())
        raise InputError(f"{who} have no image for {'; '.join(found)}", where=where, fix=fix)


def require_files(cases: Sequence[Case], roles: Roles) -> None:
    """Refuse cases of which the table names files that are not there.

    Raises:
        InputError: the first of them, and how many there are.
    """
    found = [(case.name, role, path) for case in cases for role in roles.all if (path := case.path(role)) is not None]
    absent = [each for each in found if not each[2].exists()]
    if absent:
        name, role, path = absent[0]
        more = f" (and {len(absent) - 1} more: see 'medgen check')" if len(absent) > 1 else ""
        raise InputError(
            f"case '{name}' names a file for '{role}' that is not there{more}", where=path, fix="check the case table"
        )


def _require_roles(recipe: Recipe, kind: type[Method]) -> None:
    """Refuse a recipe that names no image for something that the method learns from."""
    streams = kind.batch_class.streams()
    arrays = {array for stream in streams for array in stream.fields.values()}
    for array, role, key in (("target", recipe.data.target, "target"), ("label", recipe.data.labels, "labels")):
        if array in arrays and role is None:
            raise UsageError(
                f"the method '{recipe.method}' learns from data.{key}, which the recipe does not name",
                fix=f"name a column of the case table in data.{key}",
            )
    if recipe.patches.sampling == "balanced" and not any(stream.sees_labels for stream in streams):
        raise UsageError(
            f"patches.sampling is balanced, and the method '{recipe.method}' never sees labels",
            fix="set patches.sampling to uniform",
        )


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
    window = method.window
    lost, align, multiple = 2 * window.margin, window.align, window.multiple
    least = window.smallest(len(size))
    small = any(edge < fewest for edge, fewest in zip(size, least, strict=True))
    sides = f"{', '.join(map(str, least[:-1]))} and {least[-1]}" if len(set(least)) > 1 else str(least[0])
    if small or any(edge % multiple or (edge - lost) % align for edge in size):
        more = f" and divisible by {multiple}" if multiple > 1 else ""
        more += f" and equal to {lost} plus a multiple of {align}" if align > 1 else ""
        raise UsageError(
            f"the patches are {list(size)} voxels; this network needs sides of at least {sides}{more}",
            fix="change patches.size",
        )
