"""A recipe becomes a run: the folder, the store, the cascade, the model and the facts about them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from medgen.cases import SOURCE, TARGET, Case, CaseTable, read_cases
from medgen.config import Config
from medgen.errors import InputError, UsageError
from medgen.files import folder_lock, remove_partial_files
from medgen.methods.base import Method, Shape, stages_of
from medgen.preparation import Preparation, Roles, Store, build_store, open_store
from medgen.recipe.check import check_recipe, require_images
from medgen.recipe.settings import Recipe, load_recipe, save_recipe
from medgen.run.cascade import fit_cascade
from medgen.run.first_context import Trees
from medgen.run.manifest import require_same_cases, write_manifest
from medgen.run.monitor.monitor import require_selection
from medgen.run.provenance import provenance
from medgen.run.session import Session
from medgen.run.validations import on_validation
from medgen.sampling.streams import visible
from medgen.training.engine import Engine, best_precision
from medgen.training.log import RunLog
from medgen.training.model_folder import save_model
from medgen.training.stopping import StopRequest
from medgen.types import Progress

log = logging.getLogger(__name__)

FREE_TO_CHANGE = {"workers", "tensorboard", "save_every", "snapshots"}
"""Keys of the schedule that may differ when a run is resumed: they do not change the result."""


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    max_minutes: float | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Literal["32", "bf16"] | None = None,
    store: str | Path | None = None,
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Train a model from a recipe and a case table.

    Args:
        recipe: a YAML file, plain values, or a :class:`~medgen.recipe.settings.Recipe`.
        cases: the case table; rows of split ``train`` are trained on, rows of split ``val`` choose the best weights.
        out: the run folder to make.
        overrides: ``key=value`` changes to the recipe.
        resume: go on with the run in ``out``.
        max_minutes: save the state and stop after this long.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        devices: processes on this machine.
        nodes: machines.
        precision: overrides ``schedule.precision``.
        store: folder of prepared volumes, to share it between runs; by default ``out/store``.
        allow_modules: modules outside medgen that the recipe may name as its method.
        progress: called with (done, total, what).

    Returns:
        The run folder; ``out/model`` is what prediction needs.

    Raises:
        UsageError: the recipe, the device or the folder does not allow this run.
        InputError: the cases cannot be trained on.
        Preempted: the run was asked to stop; it can be resumed.
        KeyboardInterrupt: Ctrl-C; during training the state is saved and the run can be resumed.
        StorageError: the disk is full or the folder cannot be written.
    """
    if precision is not None:
        overrides = [*overrides, f"schedule.precision='{precision}'"]
    settings = load_recipe(recipe, overrides)
    folder, table = Path(out), read_cases(cases)
    where = recipe if isinstance(recipe, str | Path) else None
    settings, kind, config = check_recipe(settings, allow_modules=allow_modules, where=where)
    learnt = _learnt_from(table, settings.data, kind)
    require_selection(kind, settings.schedule, learnt, table.path)
    chosen = _precision(settings, folder, device, resume=resume)
    settings = load_recipe(settings, [f"schedule.precision='{chosen}'"])
    engine = Engine(device, devices=devices, nodes=nodes, precision=chosen)
    _require_divisible(settings, engine.world)
    stop = StopRequest(max_minutes)
    with ExitStack() as stack:
        stack.enter_context(stop.listening())
        if engine.rank == 0:
            stack.enter_context(_opened(folder, settings, resume=resume))
        engine.barrier()
        began = time.monotonic()
        prepared = _prepare(settings, learnt, Path(store) if store else folder / "store", engine, progress)
        require_same_cases(folder, prepared, resume=resume, write=engine.rank == 0)
        metrics = RunLog(folder, tensorboard=settings.schedule.tensorboard and engine.rank == 0)
        stack.enter_context(closing(metrics))
        task = kind.batch_class.task()
        classes = _class_names(settings.data, prepared) if task.labels else ()
        outputs = task.channels(settings.data, len(classes))
        shape = Shape(len(settings.data.inputs), outputs, settings.patches.size)
        session = Session(
            settings,
            folder,
            engine,
            metrics,
            stop,
            shape,
            prepared.preparation,
            on_validation,
            allow_modules=allow_modules,
            progress=progress,
        )
        _train(session, config, prepared, classes)
        if engine.rank == 0:
            write_manifest(session, learnt, prepared, time.monotonic() - began)
        engine.barrier()
    return folder


def prepare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    store: str | Path,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Store:
    """Prepare all cases once, as memory-mapped arrays; what is there already and still right is kept.

    Args:
        recipe: see :func:`train`.
        cases: the case table.
        store: the folder to make.
        overrides: ``key=value`` changes to the recipe.
        workers: processes; by default one a core, at most 4, since each holds whole volumes.
        allow_modules: modules outside medgen that the recipe may name as its method.
        progress: called with (done, total, what).

    Returns:
        The store.
    """
    settings = load_recipe(recipe, overrides)
    settings, kind, _ = check_recipe(settings, allow_modules=allow_modules)
    preparation = Preparation(settings.data, settings.preparation)
    table = read_cases(cases)
    known = [visible(case, kind.batch_class, settings.data) for case in table.cases]  # as in training
    learnt = [case for case in known if case.split != "test"]
    require_images(learnt, settings.data, kind.batch_class, where=table.path)
    return build_store(known, preparation, store, workers=workers or _preparers(), progress=progress)


def _precision(settings: Recipe, folder: Path, device: str, *, resume: bool) -> Literal["32", "bf16"]:
    """The precision of a run: of ``auto`` that with which it began, or else the best of the device."""
    named = settings.schedule.precision
    if named != "auto":
        return named
    recipe = folder / "recipe.yaml"
    began = load_recipe(recipe).schedule.precision if resume and recipe.is_file() else "auto"
    chosen = best_precision(device) if began == "auto" else began
    log.info("precision: %s", chosen)
    return chosen


def _prepare(settings: Recipe, cases: Sequence[Case], folder: Path, engine: Engine, progress: Progress | None) -> Store:
    """The store of the training and validation cases; process 0 builds it, the others find it built."""
    preparation = Preparation(settings.data, settings.preparation)
    prepared: Store | None = None
    if engine.rank == 0:
        prepared = build_store(cases, preparation, folder, workers=_preparers(), progress=progress)
    # The places are hashes over the bytes of all images: process 0 has them already.
    places = engine.gather({case.name: case.folder for case in prepared.cases} if prepared else None)[0]
    if prepared is None:
        prepared = open_store(cases, preparation, places)
    if engine.rank == 0:
        for case in prepared.cases:
            if case.notes:
                log.info("case %s: %s", case.name, "; ".join(case.notes))
    return prepared


def _train(session: Session, config: Config, prepared: Store, classes: Sequence[str]) -> None:
    """Fit all networks and write the model."""
    training, held_out = prepared.select(split="train"), prepared.select(split="val")
    folds = getattr(config, "context_folds", 2)
    trees = Trees.of(config)
    networks, first = fit_cascade(session, training, held_out, stages=stages_of(config), folds=folds, trees=trees)
    if session.engine.rank == 0:
        model = session.folder / "model"
        description = _description(session.recipe, networks[0], prepared, classes)
        context = {"context": first.save(model)} if first else {}
        origin = {"provenance": provenance(session.recipe, prepared, session.folder)}
        save_model(model, networks, {**description, **origin, **context})


def _preparers() -> int:
    """Processes that prepare cases: a few, since each holds whole volumes."""
    return min(4, os.cpu_count() or 1)


def _learnt_from(table: CaseTable, roles: Roles, kind: type[Method]) -> tuple[Case, ...]:
    """The training and validation cases, without the labels that the method may not see."""
    cases = tuple(case for case in table.cases if case.split != "test")
    if roles.domains is not None:
        cases = tuple(case for case in cases if case.domain in roles.domains)
    elif kind.batch_class.task().labels and not kind.adapts():
        _require_one_domain(table, cases)
    if not any(case.split == "train" for case in cases):
        raise InputError("no case has split 'train'", where=table.path, fix="write 'train' into the column 'split'")
    cases = tuple(visible(case, kind.batch_class, roles) for case in cases)
    require_images(cases, roles, kind.batch_class, where=table.path)
    return cases


def _require_one_domain(table: CaseTable, cases: Sequence[Case]) -> None:
    """A baseline of adaptation must not learn from target labels because they happen to be in the table."""
    if {SOURCE, TARGET} <= {case.domain for case in cases}:
        raise UsageError(
            "the cases are of two domains, and this method learns from the labels of all of them",
            where=table.path,
            fix="set data.domains to [source], to [target], or to [source, target] for both",
        )


def _class_names(roles: Roles, prepared: Store) -> tuple[str, ...]:
    """Names of the classes after the background; without names in the recipe, the values that the labels have."""
    if roles.classes:
        return tuple(roles.classes)
    highest = max((value for case in prepared.select(split="train") for value in case.classes), default=0)
    if highest == 0:
        raise InputError("no training case has a labelled voxel", fix="check the role in data.labels")
    return tuple(str(value) for value in range(1, highest + 1))


def _require_divisible(settings: Recipe, world: int) -> None:
    schedule = settings.schedule
    if schedule.batch % (schedule.accumulate * world):
        raise UsageError(
            f"a batch of {schedule.batch} cannot be cut into {schedule.accumulate} micro-batches for {world} processes",
            fix="make schedule.batch a multiple of schedule.accumulate times the processes",
        )


@contextmanager
def _opened(folder: Path, settings: Recipe, *, resume: bool) -> Iterator[None]:
    """Make or reopen the run folder, and keep a second run out of it until the block ends."""
    recipe = folder / "recipe.yaml"
    if resume and not recipe.is_file():  # looked at before the lock, which would make a folder of a misspelt name
        raise UsageError("there is no run to resume in this folder", where=folder, fix="leave --resume out")
    with folder_lock(folder):  # before anything is touched: another run may be alive in there
        if resume:
            _require_same(load_recipe(recipe), settings, recipe)
        elif recipe.is_file():
            raise UsageError(
                "there is a run in this folder already", where=folder, fix="add --resume, or choose another"
            )
        remove_partial_files(folder)
        save_recipe(settings, recipe)
        yield


def _require_same(before: Recipe, now: Recipe, where: Path) -> None:
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    for table in (old, new):
        for key in FREE_TO_CHANGE:
            table["schedule"].pop(key)
    changed = [key for key in old if old[key] != new[key]]
    if changed:
        raise UsageError(
            f"the recipe differs from the run's in: {', '.join(changed)}",
            where=where,
            fix="resume with the same recipe and --set options, or start a new run in another folder",
        )


def _description(settings: Recipe, method: Method, prepared: Store, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "method": settings.method,
        "task": method.batch_class.task().name,
        "classes": list(classes),
        "stages": stages_of(method.config),
        "preparation": prepared.preparation.as_dict(),
        "inference": settings.inference.model_dump(mode="json"),
        "patches": list(settings.patches.size),
        "recipe": settings.model_dump(mode="json"),
        "trained_on": {split: len(prepared.select(split=split)) for split in ("train", "val")},
    }
