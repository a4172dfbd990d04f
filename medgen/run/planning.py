"""The plan of a run, made from its recipe and the headers of its images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from medgen.cases import Case, subjects_of
from medgen.config import Config
from medgen.errors import MedgenError, UsageError
from medgen.files import require_writable
from medgen.inference.limits import total_bytes
from medgen.methods.base import Method, Shape, stages_of
from medgen.preparation import PreparationConfig, Roles
from medgen.preparation.resampling import fitted_grid
from medgen.recipe.check import without_values
from medgen.recipe.settings import Recipe
from medgen.run.first_context import Trees
from medgen.run.plan import CaseCount, Plan, PlannedNetwork
from medgen.training.checkpoint import KEPT
from medgen.training.engine import parse_device
from medgen.volume import ras_grid, read_header

FOLDS = 2
"""Inner folds of a cascade whose method does not say."""
_NUMBER = 4  # bytes of a weight, and of a voxel of an image or target


def make_plan(
    settings: Recipe,
    kind: type[Method],
    config: Config,
    cases: Sequence[Case],
    *,
    device: str,
    precision: Literal["32", "bf16"],
    world: int,
) -> Plan:
    """The plan of a run, from the headers of its images; no voxel is read.

    Args:
        settings: of the run.
        kind: its method.
        config: the method's settings.
        cases: to train and to validate on.
        device: for the plan.
        precision: likewise.
        world: processes.

    Raises:
        InputError: the header of an image is damaged or contradicts itself; the message names the case.
    """
    schedule, training = settings.schedule, [case for case in cases if case.split == "train"]
    voxels = {case.name: _prepared_voxels(case, settings.data, settings.preparation) for case in cases}
    networks = _networks(settings, kind, config, subjects_of(training))
    largest = max(network.parameters for network in networks)
    channels = len(settings.data.inputs) + (settings.data.target is not None)
    average = 1 if schedule.averaging else 0
    return Plan(
        method=settings.method,
        device=device,
        precision=precision,
        processes=world,
        cases=_counts(cases, voxels),
        patch=tuple(settings.patches.size),
        batch=schedule.batch,
        steps=schedule.steps,
        validations=math.ceil(schedule.steps / schedule.validate_every) if len(training) < len(cases) else 0,
        networks=networks,
        context=trees.name if (trees := Trees.of(config)) else "",
        store_bytes=sum(voxels.values()) * (channels * _NUMBER + 2),  # body and mask
        # weights, Adam's two moments, the average and the best so far; and the final weights of every network
        checkpoint_bytes=_NUMBER * ((KEPT + 1) * (4 + average) * largest + sum(each.parameters for each in networks)),
        weight_bytes=_NUMBER * (4 + average) * largest,
    )


def require_memory(plan: Plan) -> None:
    """Refuse networks that could not be trained in the memory there is, before any of it is taken.

    Raises:
        UsageError: weights, gradients and optimiser alone need more than the machine or its GPU has.
    """
    kind, number = parse_device(plan.device)
    there = total_bytes()
    if kind == "cuda":
        there = float(torch.cuda.get_device_properties(number or 0).total_memory)
    if plan.weight_bytes > there:
        largest = max(network.parameters for network in plan.networks)
        needed = f"{plan.weight_bytes / 1e9:.3g} GB with gradients and optimiser, and '{kind}' has {there / 1e9:.3g} GB"
        raise UsageError(
            f"a network of the recipe has {largest:,} weights, which need {needed}",
            fix="set a smaller config.width, fewer layers or channels, or train on a machine with more memory",
        )


def require_space(plan: Plan, run: Path, store: Path) -> None:
    """Refuse folders that cannot be written, or whose disk is too small for what the plan will write.

    What lies in the store already may be part of it, so that a store that is there is never refused wrongly.

    Raises:
        StorageError: the first folder of the two that will not do.
    """
    there = sum(file.stat().st_size for file in store.glob("*/*/*.npy")) if store.is_dir() else 0
    prepared = max(0, plan.store_bytes - there)
    require_writable(run, need=plan.checkpoint_bytes + (prepared if store.is_relative_to(run) else 0))
    require_writable(store, need=prepared)


def network_names(stages: int, folds: int, subjects: int) -> tuple[str, ...]:
    """Names of the networks of a cascade, in the order in which they are trained.

    >>> network_names(2, 2, 8)
    ('stage0', 'stage0-fold0', 'stage0-fold1', 'stage1')
    """
    names = []
    for stage in range(stages):
        names.append(f"stage{stage}")
        if stage + 1 < stages:
            names += [f"stage{stage}-fold{fold}" for fold in range(min(folds, subjects))]
    return tuple(names)


def shape_of(settings: Recipe, kind: type[Method], classes: int) -> Shape:
    """What the first network is built for, without a context."""
    inputs = len(settings.data.inputs)
    return Shape(inputs, kind.batch_class.task().channels(settings.data, classes), settings.patches.size)


def _networks(settings: Recipe, kind: type[Method], config: Config, subjects: int) -> tuple[PlannedNetwork, ...]:
    plain = shape_of(settings, kind, max(1, len(settings.data.classes)))
    first = plain.with_context() if Trees.of(config) else plain
    sizes: dict[Shape, int] = {}
    for shape in {first, plain.with_context()} if stages_of(config) > 1 else {first}:
        parameters = without_values(kind, config, shape).parameters()
        sizes[shape] = sum(each.numel() for each in parameters if each.requires_grad)
    names = network_names(stages_of(config), getattr(config, "context_folds", FOLDS), subjects)
    return tuple(
        PlannedNetwork(name, sizes[first if name.startswith("stage0") else plain.with_context()]) for name in names
    )


def _counts(cases: Sequence[Case], voxels: Mapping[str, int]) -> tuple[CaseCount, ...]:
    groups: dict[tuple[str, str | None], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.split, case.domain), []).append(case)
    return tuple(
        CaseCount(split, domain, len(group), subjects_of(group), sum(voxels[case.name] for case in group))
        for (split, domain), group in groups.items()
    )


def _prepared_voxels(case: Case, roles: Roles, preparation: PreparationConfig) -> int:
    """Voxels on the prepared grid, which is that of the first image in the spacing of the recipe."""
    path = next(path for role in roles.all if (path := case.path(role)) is not None)
    try:
        grid = ras_grid(read_header(path, geometry=preparation.geometry))
    except MedgenError as error:
        raise type(error)(f"case '{case.name}': {error.what}", where=error.where, fix=error.fix) from error
    return math.prod(fitted_grid(grid.affine, grid.shape, preparation.spacing)[1])
