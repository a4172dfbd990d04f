"""The auto-context cascade: stage after stage, each with the whole-volume estimate of the stage before.

What a stage sees while it is trained must look like what it will see of a new patient. A network's output on its own
training subjects is too good, so the training context of stage s comes from *out-of-fold* estimates: the training
subjects are split into folds, for each fold stage s - 1 is trained without it, and predicts it. Subjects that no
stage was trained on (validation, new patients) get their context from the stage that was trained on all. The first
context, where there is one, is an estimate by boosted trees: see :mod:`medgen.run.first_context`.

The folds are the same at every stage. The fold networks of stage s >= 1 see contexts that came from networks which had
seen some of their held-out subjects, one stage removed; nesting the folds again would cost folds^s trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgen.cases import subjects_of
from medgen.files import atomic_path
from medgen.inference.boosting import BoostedEstimator
from medgen.methods.base import Method
from medgen.preparation import StoredCase
from medgen.run.first_context import Trees, fit_first_context
from medgen.run.fitting import fit
from medgen.run.folds import deal_folds
from medgen.run.session import Contexts, Part, Session
from medgen.run.start import require_subjects
from medgen.run.validation import estimate


def fit_cascade(
    session: Session,
    cases: Sequence[StoredCase],
    held_out: Sequence[StoredCase],
    *,
    stages: int,
    folds: int,
    trees: Trees | None = None,
) -> tuple[list[Method], BoostedEstimator | None]:
    """Train all stages; what is done already is loaded.

    Args:
        session: the run.
        cases: training subjects.
        held_out: validation subjects.
        stages: networks in the cascade.
        folds: inner folds; at most as many as there are training subjects. The studies of a patient are one subject.
        trees: how the boosted trees are fitted that make the context of the first network; None: it has no context.

    Returns:
        The networks in their order, in evaluation mode; and what makes the context of the first, where it has one.

    Raises:
        UsageError: a cascade was asked for and there is only one training subject.
    """
    subjects = subjects_of(cases)
    require_subjects(stages, subjects)
    folds = min(folds, subjects)
    first, contexts = None, None
    if trees is not None:
        first, contexts = fit_first_context(session, cases, held_out, trees, apart=stages > 1)
    networks: list[Method] = []
    for stage in range(stages):
        part = Part(f"stage{stage}", stage * (folds + 1), tuple(cases), tuple(held_out), contexts)
        networks.append(fit(session, part))
        if stage + 1 < stages:
            contexts = _contexts(session, part, networks[-1], folds)
    return networks, first


def _contexts(session: Session, part: Part, network: Method, folds: int) -> dict[str, Path]:
    """Estimates of one stage for every subject: out of fold for training, by the full network for validation."""
    folder = session.folder / "contexts" / part.name
    paths: dict[str, Path] = {}
    for fold, inside in enumerate(deal_folds(part.cases, folds)):
        outside = tuple(case for case in part.cases if case not in inside)
        fold_part = Part(f"{part.name}-fold{fold}", part.number + 1 + fold, outside, contexts=part.contexts)
        # Decided by all together: another process may be writing the first of them already.
        if not session.engine.everywhere(all((folder / f"{case.name}.npy").is_file() for case in inside)):
            fold_network = fit(session, fold_part)
            _write_estimates(session, fold_network, inside, part.contexts, folder)
        paths |= {case.name: folder / f"{case.name}.npy" for case in inside}
    _write_estimates(session, network, part.held_out, part.contexts, folder)
    return paths | {case.name: folder / f"{case.name}.npy" for case in part.held_out}


def _write_estimates(
    session: Session, network: Method, cases: Sequence[StoredCase], contexts: Contexts | None, folder: Path
) -> None:
    """Whole-volume estimates, shared between the processes; those on the disk already stay."""
    engine = session.engine
    # Shared out before looking at the disk: what is missing there changes while the others write.
    for number in range(engine.rank, len(cases), engine.world):
        case = cases[number]
        path = folder / f"{case.name}.npy"
        if path.is_file():
            continue
        if session.progress is not None:
            session.progress(number, len(cases), f"context {folder.name}  {case.name}")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, estimate(network, case, contexts, session.recipe, engine), allow_pickle=False)
    engine.barrier()
