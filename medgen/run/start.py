"""What can be known before a case is prepared is checked here: a run that cannot end must not begin."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medgen.cases import SOURCE, TARGET, Case, CaseTable, read_cases, split_warnings, subjects_of
from medgen.config import Config
from medgen.errors import InputError, UsageError
from medgen.methods.base import Method, stages_of
from medgen.preparation import Roles
from medgen.recipe.check import check_recipe, require_files, require_images
from medgen.recipe.settings import Recipe, load_recipe
from medgen.run.monitor.monitor import require_selection
from medgen.run.origin import Origin, origin_of
from medgen.run.plan import Plan
from medgen.run.planning import make_plan, require_memory, require_space, shape_of
from medgen.run.same import begins_anew, require_unused
from medgen.sampling.streams import require_streams, visible
from medgen.training.engine import Engine, best_precision, require_precision
from medgen.training.log import require_tensorboard
from medgen.training.trial import try_steps

log = logging.getLogger(__name__)


def plan(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Literal["32", "bf16"] | None = None,
    store: str | Path | None = None,
    allow_modules: Sequence[str] = (),
    resume: bool = False,
    init_from: str | Path | None = None,
) -> Plan:
    """What :func:`~medgen.run.experiment.train` would do with the same arguments; nothing is written.

    Everything that can be checked at the start is. A few steps are trained on noise, to measure the time and the memory
    that one takes.

    Raises:
        UsageError: the recipe, the device or the folder does not allow this run.
        InputError: the cases cannot be trained on.
        MemoryError: a step does not fit into memory; of a GPU it is ``torch.OutOfMemoryError``.
        StorageError: a folder cannot be written, or its disk is too small.
    """
    require_numbers(devices, nodes, None)
    folder = Path(out)
    settings, kind, config, _, planned, *_ = checked_run(
        recipe,
        cases,
        folder,
        Path(store) if store else folder / "store",
        overrides=overrides,
        device=device,
        world=devices * nodes,
        precision=precision,
        allow_modules=allow_modules,
        resume=resume,
        init_from=init_from,
    )
    engine = Engine(device, precision=planned.precision)
    shape = shape_of(settings, kind, max(1, len(settings.data.classes)))
    with engine.reproducible(settings.seed, 0):
        method = kind(config, shape.with_context() if planned.context else shape)
        share = settings.schedule.batch // (devices * nodes)
        schedule = settings.schedule.model_copy(update={"batch": share})
        return replace(planned, device=str(engine.device)).measured(try_steps(method, schedule, engine))


class Checked(NamedTuple):
    """A run that may begin."""

    settings: Recipe
    kind: type[Method]
    config: Config
    cases: tuple[Case, ...]
    plan: Plan
    origin: Origin | None
    resume: bool


def checked_run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    folder: Path,
    store: Path,
    *,
    overrides: Sequence[str],
    device: str,
    world: int,
    precision: Literal["32", "bf16"] | None,
    allow_modules: Sequence[str],
    resume: bool = False,
    init_from: str | Path | None = None,
) -> Checked:
    """All that can be known of a run at its start; nothing is written."""
    if precision is not None:
        overrides = [*overrides, f"schedule.precision='{precision}'"]
    where = recipe if isinstance(recipe, str | Path) else None
    settings, table = load_recipe(recipe, overrides), read_cases(cases)
    settings, kind, config = check_recipe(settings, allow_modules=allow_modules, where=where)
    learnt = learnt_from(table, settings.data, kind)
    began = resume and (folder / "recipe.yaml").is_file()
    chosen = _precision(settings, folder, device, resume=resume)
    if began and begins_anew(folder, load_recipe(settings, [f"schedule.precision='{chosen}'"])):
        resume, chosen = False, _precision(settings, folder, device, resume=False)
    settings = load_recipe(settings, [f"schedule.precision='{chosen}'"])
    if not resume:
        require_unused(folder)
    require_startable(settings, kind, config, learnt, table, world=world)
    planned = make_plan(settings, kind, config, learnt, device=device, precision=chosen, world=world)
    try:
        require_memory(planned)
    except UsageError as error:
        error.where = where
        raise
    origin = origin_of(folder, init_from, resume=resume or (began and init_from is None))
    if origin is not None:
        shape = shape_of(settings, kind, max(1, len(settings.data.classes)))
        planned = origin.planned(planned, kind, config, shape.with_context() if planned.context else shape)
        if differences := origin.unlike(settings):
            log.warning("'%s' was prepared otherwise: %s", origin.record["run"], "; ".join(differences))
    require_space(planned, folder, store)
    return Checked(settings, kind, config, learnt, planned, origin, resume)


def require_numbers(devices: int, nodes: int, max_minutes: float | None) -> None:
    """Refuse numbers that no run can have."""
    for option, value, least in (("--devices", devices, 1), ("--nodes", nodes, 1), ("--max-minutes", max_minutes, 0)):
        if value is not None and not value >= least:
            raise UsageError(f"{option} is {value:g}, and must be at least {least}", fix=f"correct {option}")


def require_startable(
    settings: Recipe, kind: type[Method], config: Any, cases: Sequence[Case], table: CaseTable, *, world: int
) -> None:
    """Refuse a run whose recipe, method and cases do not go together, and warn of what will not work as meant.

    Args:
        settings: of the run, completed by its method.
        kind: the method.
        config: its settings.
        cases: of :func:`learnt_from`.
        table: for messages.
        world: processes.

    Raises:
        UsageError: TensorBoard is missing, a batch cannot be shared out, health cannot choose the weights, or a cascade
            has one subject.
        InputError: a domain has no case.
    """
    if settings.schedule.tensorboard:
        require_tensorboard()
    require_selection(kind, settings.schedule, cases, table.path)
    _require_divisible(settings, world)
    require_learnable(cases, settings.data, kind, config)
    for warning in split_warnings(cases):
        log.warning("%s", warning)


def require_learnable(cases: Sequence[Case], roles: Roles, kind: type[Method], config: Any) -> None:
    """Refuse training cases that a method cannot learn from: a stream has none, or a cascade one subject.

    Raises:
        InputError: a domain, or an image, has no case.
        UsageError: the cascade has several stages, and there is one training subject.
    """
    training = [case for case in cases if case.split == "train"]
    require_streams(training, kind.batches(config), roles)
    require_subjects(stages_of(config), subjects_of(training))


def learnt_from(table: CaseTable, roles: Roles, kind: type[Method]) -> tuple[Case, ...]:
    """The training and validation cases, without the labels that the method may not see.

    Raises:
        InputError: there is no training case, an image is missing, or a file is.
        UsageError: there are two domains, and the recipe does not say from which labels are learnt.
    """
    cases = chosen_cases(table, roles, kind)
    require_images(cases, roles, kind.batch_class, where=table.path)
    require_files(cases, roles)
    return cases


def chosen_cases(table: CaseTable, roles: Roles, kind: type[Method]) -> tuple[Case, ...]:
    """The cases of :func:`learnt_from`, which may still lack images.

    Raises:
        InputError: there is no training case.
        UsageError: as for :func:`learnt_from`.
    """
    cases = tuple(case for case in table.cases if case.split != "test")
    if roles.domains is not None:
        cases = tuple(case for case in cases if case.domain in roles.domains)
    elif kind.batch_class.task().labels and not kind.adapts():
        _require_one_domain(table, cases)
    if not any(case.split == "train" for case in cases):
        domains = f" and domain {' or '.join(roles.domains)}" if roles.domains else ""
        raise InputError(
            f"no case has split 'train'{domains}", where=table.path, fix="write 'train' into the column 'split'"
        )
    return tuple(visible(case, kind.batch_class, roles) for case in cases)


def require_subjects(stages: int, subjects: int) -> None:
    """Refuse a cascade that cannot leave a subject out.

    Raises:
        UsageError: it has several stages, and there is one training subject.
    """
    if stages > 1 and subjects < 2:
        raise UsageError(
            f"auto-context needs at least 2 training subjects, there is {subjects}",
            fix="set config.stages to 1, or add subjects with split 'train'",
        )


def _require_one_domain(table: CaseTable, cases: Sequence[Case]) -> None:
    """A baseline of adaptation must not learn from target labels because they happen to be in the table."""
    if {SOURCE, TARGET} <= {case.domain for case in cases}:
        raise UsageError(
            "the cases are of two domains, and this method learns from the labels of all of them",
            where=table.path,
            fix="set data.domains to [source], to [target], or to [source, target] for both",
        )


def _require_divisible(settings: Recipe, world: int) -> None:
    schedule = settings.schedule
    if schedule.batch % (schedule.accumulate * world):
        raise UsageError(
            f"a batch of {schedule.batch} cannot be cut into {schedule.accumulate} micro-batches for {world} processes",
            fix="make schedule.batch a multiple of schedule.accumulate times the processes",
        )


def _precision(settings: Recipe, folder: Path, device: str, *, resume: bool) -> Literal["32", "bf16"]:
    """The precision of a run: of ``auto`` that with which it began, or else the best of the device."""
    named = settings.schedule.precision
    if named != "auto":
        require_precision(device, named)
        return named
    recipe = folder / "recipe.yaml"
    began = load_recipe(recipe).schedule.precision if resume and recipe.is_file() else "auto"
    chosen = best_precision(device) if began == "auto" else began
    log.info("precision: %s", chosen)
    return chosen
