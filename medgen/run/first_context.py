"""The first context of the cascade: an estimate by boosted trees, fitted in seconds, written for every subject.

What a network sees while it is trained must look like what it will see of a new patient. Boosted trees on a few
intensities hardly learn their subjects by heart, and an estimate by trees that were grown without a subject is worse
than what a new patient gets, because it comes from fewer subjects. So which one a training subject gets is measured:
its estimate by all trees (in-sample), unless the error of estimates by trees that have not seen it (out-of-fold)
is more than :data:`TOLERANCE` times as high. Before a second stage they are always out-of-fold: the networks of its
inner folds must not read what trees know of the subjects that they are held out from.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.regressors import NEIGHBOURHOOD_TREES, BoostingConfig, fit_boosting
from medgen.cases import subjects_of
from medgen.errors import Preempted
from medgen.files import atomic_path
from medgen.inference.boosting import FILE, BoostedEstimator
from medgen.inference.neighbourhood import VOXELWISE
from medgen.preparation import StoredCase
from medgen.preparation.task import AIR_BELOW
from medgen.run.folds import deal_folds
from medgen.run.session import Session

FOLDS = 5
"""Most inner folds; with five and more subjects each leaves out about a fifth of them, so that its trees are nearly as
good as those of all."""
TOLERANCE = 1.5
"""Out-of-fold error over in-sample error from which training subjects get out-of-fold estimates."""

TREES = {"neighbourhood": NEIGHBOURHOOD_TREES, "voxelwise": BoostingConfig()}
"""By the name of a context, its trees."""
OUT_OF_FOLD = "-out-of-fold"

log = logging.getLogger(__name__)


class Trees(NamedTuple):
    """How the boosted trees of a first context are fitted.

    Attributes:
        name: of the context, and of its folders.
        config: of the trees.
        where: voxels of a case that they learn from; None: those in its mask.
    """

    name: str
    config: BoostingConfig
    where: Callable[[Any], NDArray[np.bool_]] | None

    @classmethod
    def of(cls, config: Any) -> Trees | None:
        """What a method's config asks for; None: no context.

        The trees look where the losses of the networks look, but never where there is neither mask nor air, and a
        tissue counts for them as much.
        """
        name = str(getattr(config, "context", "none"))
        trees = TREES.get(name)
        if trees is None:
            return None
        weighted = trees.model_copy(update={"tissue_weights": config.tissue_weights})
        return cls(name, weighted, None if config.region == "mask" else _covered)

    def fit(self, session: Session, cases: Sequence[StoredCase]) -> BoostedEstimator:
        """Fit them with the seed of the run."""
        if session.progress is not None:
            session.progress(0, 1, f"boosted trees on {len(cases)} subjects")
        return fit_boosting(cases, self.config, seed=session.recipe.seed, where=self.where)


def fit_first_context(
    session: Session, cases: Sequence[StoredCase], held_out: Sequence[StoredCase], trees: Trees, *, apart: bool = False
) -> tuple[BoostedEstimator, dict[str, Path]]:
    """Fit the trees and write their estimate of every subject, where that is not done yet.

    Args:
        session: the run.
        cases: training subjects.
        held_out: validation subjects.
        trees: how they are fitted.
        apart: whether training subjects must get out-of-fold estimates, because networks will be asked for their
            estimates of subjects that they have not seen.

    Returns:
        The estimator for new patients, and by case the ``.npy`` file of its estimate ``(1, X, Y, Z)``.

    Raises:
        Preempted: the run was asked to stop; the estimate begins anew when it is resumed.
    """
    contexts = session.folder / "contexts" / trees.name
    model = session.folder / "checkpoints" / trees.name
    paths = {case.name: contexts / f"{case.name}.npy" for case in (*cases, *held_out)}
    if session.engine.rank == 0 and not all(path.is_file() for path in [*paths.values(), model / FILE]):
        estimator = trees.fit(session, cases)
        inside = _write_estimates(session, estimator, cases, contexts)
        _write_estimates(session, estimator, held_out, contexts)
        _choose(session, cases, inside, contexts, trees, apart=apart)
        model.mkdir(parents=True, exist_ok=True)
        estimator.save(model)  # last: it marks the contexts as complete
    session.engine.barrier()
    return BoostedEstimator.load(model), paths


def _choose(
    session: Session,
    cases: Sequence[StoredCase],
    inside: Mapping[str, float],
    contexts: Path,
    trees: Trees,
    *,
    apart: bool,
) -> None:
    """Put out-of-fold estimates in the place of the in-sample ones where the rule of this file asks for them.

    One fold tells: the same subjects with and without trees that have seen them.
    """
    subjects = subjects_of(cases)
    if subjects < 2:
        log.info("context of boosted trees: in-sample, since one training subject cannot be left out")
        if trees.config.features != VOXELWISE:
            log.warning(
                "trees that read the neighbourhood may know the only training subject by heart; "
                "config.context: voxelwise is the safer choice here"
            )
        return
    folder = contexts.with_name(f"{contexts.name}{OUT_OF_FOLD}")
    outside: dict[str, float] = {}
    kept = False
    for number, fold in enumerate(deal_folds(cases, min(FOLDS, subjects))):
        others = trees.fit(session, [case for case in cases if case not in fold])
        outside |= _write_estimates(session, others, fold, folder)
        if number == 0:
            seen, unseen = (float(np.mean([errors[name] for name in outside])) for errors in (inside, outside))
            kept = unseen <= TOLERANCE * seen and not apart
            log.info(
                "context of boosted trees: mean absolute error of %d held-out subject%s %.4f in-sample, %.4f "
                "out-of-fold (range of 2); training subjects get %s estimates",
                len(outside),
                "s" if len(outside) > 1 else "",
                seen,
                unseen,
                "in-sample" if kept else "out-of-fold",
            )
            if kept:
                break
    for case in () if kept else cases:
        (folder / f"{case.name}.npy").replace(contexts / f"{case.name}.npy")
    shutil.rmtree(folder)


def _write_estimates(
    session: Session, estimator: BoostedEstimator, cases: Sequence[StoredCase], folder: Path
) -> dict[str, float]:
    """Write the estimates of some cases, one volume in memory at a time; the mean absolute error of each."""
    errors = {}
    for case in cases:
        if session.stop.reason:
            what = f"stopped by {session.stop.reason} before the boosted trees' estimate of {case.name}"
            raise Preempted(what, where=session.folder.name, fix="run the same command with --resume")
        estimate = estimator.predict(case.image, case.body)
        with atomic_path(folder / f"{case.name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, estimate, allow_pickle=False)
        assert case.target is not None
        errors[case.name] = float(np.abs(estimate - case.target)[:, case.mask > 0].mean())
    return errors


def _covered(case: Any) -> NDArray[np.bool_]:
    """Inside the mask, and of the rest that is predicted what is air: elsewhere trees of the mask find skull."""
    assert case.target is not None
    covered: NDArray[np.bool_] = (case.mask > 0) | ((case.body > 0) & (case.target[0] < AIR_BELOW))
    return covered
