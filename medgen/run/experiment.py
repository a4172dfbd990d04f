"""A recipe becomes a run: the folder, the store, the cascade, the model and the facts about them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from medgen.cases import Case
from medgen.config import Config
from medgen.errors import InputError, UsageError
from medgen.files import folder_lock, remove_partial_files, require_writable, storage_errors
from medgen.inference.boosting import KINDS
from medgen.methods.base import Method, stages_of
from medgen.preparation import Preparation, Roles, Store, build_store, open_store
from medgen.preparation.store import CASES
from medgen.recipe.cases import recipe_cases
from medgen.recipe.settings import Recipe, save_recipe
from medgen.run.cascade import fit_cascade
from medgen.run.description import describe
from medgen.run.first_context import Trees
from medgen.run.manifest import require_same_cases, require_same_table, write_manifest
from medgen.run.origin import Origin, copy_origin, record_origin
from medgen.run.plan import Plan
from medgen.run.planning import FOLDS, shape_of
from medgen.run.provenance import provenance
from medgen.run.same import keep_recipe, require_same_recipe, take_over
from medgen.run.session import Session
from medgen.run.start import checked_run, require_numbers
from medgen.run.validations import on_validation
from medgen.training.engine import Engine
from medgen.training.log import RunLog
from medgen.training.model_folder import described, save_model
from medgen.training.stopping import StopRequest
from medgen.training.unfinished import save_description
from medgen.types import Progress

log = logging.getLogger(__name__)


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    cases: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    init_from: str | Path | None = None,
    max_minutes: float | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Literal["32", "bf16"] | None = None,
    store: str | Path | None = None,
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Path:
    """Train a model from a recipe and a case table.

    Args:
        recipe: a YAML file, plain values, or a :class:`~medgen.recipe.settings.Recipe`.
        cases: the case table; rows of split ``train`` are trained on, rows of split ``val`` choose the best weights.
        out: the run folder to make.
        overrides: ``key=value`` changes to the recipe.
        resume: go on with the run in ``out``. Where no step was trained and the recipe or the cases are others, it
            begins anew.
        init_from: a run, or its model folder, whose matching weights the networks start from; every stage of a cascade
            and its inner folds from the same stage there, or from the last. A resumed run knows it already.
        max_minutes: save the state and stop after this long.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        devices: processes on this machine.
        nodes: machines.
        precision: overrides ``schedule.precision``.
        store: folder of prepared volumes, to share it between runs; by default ``out/store``.
        allow_modules: modules outside medgen that the recipe may name as its method.
        progress: called with (done, total, what).
        on_plan: called with the plan before any case is prepared; see :func:`~medgen.run.start.plan`.

    Returns:
        The run folder; ``out/model`` is what prediction needs.

    Raises:
        UsageError: the recipe, the device or the folder does not allow this run.
        InputError: the cases cannot be trained on.
        Preempted: the run was asked to stop; it can be resumed.
        KeyboardInterrupt: Ctrl-C; during training the state is saved and the run can be resumed.
        StorageError: the disk is full or the folder cannot be written.
    """
    require_numbers(devices, nodes, max_minutes)
    folder = Path(out)
    place = Path(store) if store else folder / "store"
    settings, kind, config, learnt, planned, origin, resume = checked_run(
        recipe,
        cases,
        folder,
        place,
        overrides=overrides,
        device=device,
        world=devices * nodes,
        precision=precision,
        allow_modules=allow_modules,
        resume=resume,
        init_from=init_from,
    )
    chosen = planned.precision
    engine = Engine(device, devices=devices, nodes=nodes, precision=chosen)
    planned = replace(planned, device=str(engine.device))
    if on_plan is not None and engine.rank == 0:
        on_plan(planned)
    stop = StopRequest(max_minutes)
    with ExitStack() as stack:
        stack.enter_context(stop.listening())
        if engine.rank == 0:
            stack.enter_context(_opened(folder, settings, origin, resume=resume))
        engine.barrier()
        began = time.monotonic()
        if resume:
            require_same_table(folder, learnt)
        prepared = _prepare(settings, learnt, place, engine, progress)
        require_same_cases(folder, prepared, resume=resume, write=engine.rank == 0)
        metrics = RunLog(folder, tensorboard=settings.schedule.tensorboard and engine.rank == 0)
        stack.enter_context(closing(metrics))
        task = kind.batch_class.task()
        classes = _class_names(settings.data, prepared) if task.labels else ()
        shape = shape_of(settings, kind, len(classes))
        if origin is not None:  # the number of classes is known now
            planned = origin.planned(planned, kind, config, shape.with_context() if planned.context else shape)
        session = Session(
            settings,
            folder,
            engine,
            metrics,
            stop,
            shape,
            prepared.preparation,
            on_validation,
            planned,
            allow_modules=allow_modules,
            progress=progress,
            origin=origin,
        )
        _train(session, kind, config, prepared, classes, learnt)
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
    found = recipe_cases(recipe, cases, overrides=overrides, allow_modules=allow_modules)
    require_writable(Path(store))
    return build_store(found.cases, found.preparation, store, workers=workers or _preparers(), progress=progress)


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


def _train(
    session: Session,
    kind: type[Method],
    config: Config,
    prepared: Store,
    classes: Sequence[str],
    learnt: Sequence[Case],
) -> None:
    """Fit all networks and write the model."""
    training, held_out = prepared.select(split="train"), prepared.select(split="val")
    folds = getattr(config, "context_folds", FOLDS)
    trees = Trees.of(config)
    model, main = session.folder / "model", session.engine.rank == 0
    description = describe(session.recipe, kind, config, prepared, classes, learnt, session.origin)
    if main:
        shape = session.shape.with_context() if trees else session.shape
        unfinished = {**description, **({"context": {"kind": KINDS[0]}} if trees else {})}
        save_description(session.folder, described(config, shape, unfinished))
    networks, first = fit_cascade(session, training, held_out, stages=stages_of(config), folds=folds, trees=trees)
    if main:
        context = {"context": first.save(model)} if first else {}
        origin = {"provenance": provenance(session.recipe, prepared, session.folder)}
        save_model(model, networks, {**description, **origin, **context})


def _preparers() -> int:
    """Processes that prepare cases: a few, since each holds whole volumes."""
    return min(4, os.cpu_count() or 1)


def _class_names(roles: Roles, prepared: Store) -> tuple[str, ...]:
    """Names of the classes after the background; without names in the recipe, the values that the labels have."""
    if roles.classes:
        return tuple(roles.classes)
    highest = max((value for case in prepared.select(split="train") for value in case.classes), default=0)
    if highest == 0:
        raise InputError("no training case has a labelled voxel", fix="check the role in data.labels")
    return tuple(str(value) for value in range(1, highest + 1))


@contextmanager
def _opened(folder: Path, settings: Recipe, origin: Origin | None, *, resume: bool) -> Iterator[None]:
    """Make or reopen the run folder, and keep a second run out of it until the block ends."""
    recipe = folder / "recipe.yaml"
    if resume and not recipe.is_file():  # looked at before the lock, which would make a folder of a misspelt name
        raise UsageError("there is no run to resume in this folder", where=folder, fix="leave --resume out")
    with folder_lock(folder):  # before anything is touched: another run may be alive in there
        if resume:
            require_same_recipe(folder, settings)
        else:
            take_over(folder)
        remove_partial_files(folder)
        if origin is not None and not resume:  # it is large: where the disk is full, an earlier record is still whole
            copy_origin(folder, origin)
        keep_recipe(folder, settings)  # before the recipe, which alone could be one of the user's own
        if not resume:  # between the two: a run that is killed here has two different recipes or none, and cannot go on
            record_origin(folder, origin)
            with storage_errors(folder):
                (folder / CASES).unlink(missing_ok=True)
        save_recipe(settings, recipe)  # replaced, never removed: it may be the file that the user trains with
        yield
