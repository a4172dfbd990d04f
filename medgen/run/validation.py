"""Whole-volume estimates of prepared subjects during a run, and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from medgen.cases import TARGET
from medgen.inference.stages import VALUES, predict_prepared
from medgen.methods.base import Method
from medgen.metrics.image import mae
from medgen.metrics.overlap import dice
from medgen.preparation import Preparation, StoredCase
from medgen.recipe.settings import Recipe
from medgen.run.session import Session
from medgen.training.engine import Engine


@runtime_checkable
class HasDomains(Protocol):
    """A method whose networks have something of their own for each domain, such as statistics."""

    def on_domain(self, domain: str | None) -> AbstractContextManager[None]:
        """Inside the block it predicts images of ``domain`` (``target``, or another for the labelled one)."""
        ...


def on_domain(method: Method, domain: str | None) -> AbstractContextManager[None]:
    """Inside the block ``method`` is looked at on images of ``domain``; the same for a method that knows no domains.

    Prediction of a new patient does not know a domain: it is for the target.
    """
    return method.on_domain(domain) if isinstance(method, HasDomains) else nullcontext()


def estimate(
    network: Method, case: StoredCase, contexts: Mapping[str, Path] | None, recipe: Recipe, engine: Engine
) -> NDArray[np.float32]:
    """The estimate of one stage for one prepared subject, see also :func:`on_domain`.

    Args:
        network: the stage.
        case: from the store.
        contexts: by case, the estimate of the stage before; None for the first stage.
        recipe: for the tiles.
        engine: device and precision.

    Returns:
        ``(K, X, Y, Z)`` as the method predicts it, also outside the mask but not outside the body: the mask may come
        from the target, and a context that ends with it would tell the next stage where.
    """
    context: NDArray[Any] | None = None
    if contexts is not None:
        context = np.load(contexts[case.name], mmap_mode="r", allow_pickle=False)
    with on_domain(network, case.domain):
        return estimate_volume(network, case.image, case.body, context, recipe, engine)


def estimate_volume(
    network: Method,
    image: NDArray[Any],
    body: NDArray[Any],
    context: NDArray[Any] | None,
    recipe: Recipe,
    engine: Engine,
) -> NDArray[np.float32]:
    """The estimate of one stage for a prepared image ``(C, X, Y, Z)``; see :func:`estimate`."""
    with engine.autocast():
        return predict_prepared(
            [network.eval()],
            image,
            body,
            settings=recipe.inference,
            patch=recipe.patches.size,
            context=context,
            values=VALUES[recipe.data.task],
            device=engine.device,
        )


class Validation(NamedTuple):
    """What a look at held-out subjects found.

    Attributes:
        loss: what the kept weights have the least of; None where no number may choose them.
        scores: for the log.
    """

    loss: float | None
    scores: dict[str, float]


def validate(
    network: Method,
    cases: Sequence[StoredCase],
    contexts: Mapping[str, Path] | None,
    session: Session,
    look: Callable[[StoredCase, NDArray[np.float32]], None] | None = None,
) -> Validation:
    """Errors of whole-volume estimates; the subjects are shared between the processes, all get the same result.

    An image is scored by its mean absolute error inside the mask, in its own unit, a label map by its Dice on the
    cases that have labels; a method that adapts has none of the target domain. ``look`` is called with each subject
    that this process estimated, and its estimate.
    """
    score = _absolute_error if session.recipe.data.task == "synthesis" else _dice
    engine = session.engine
    hidden = TARGET if network.adapts() else None
    scored = [case for case in cases if score is _absolute_error or (case.label is not None and case.domain != hidden)]
    if not scored:
        return Validation(None, {})
    mine = []
    for case in scored[engine.rank :: engine.world]:
        estimated = estimate(network, case, contexts, session.recipe, engine)
        mine.append(score(estimated, case, session.preparation))
        if look is not None:
            look(case, estimated)
    value = float(np.nanmean([each for values in engine.gather(mine) for each in values]))
    if score is _absolute_error:
        return Validation(value, {"mae": value})
    return Validation(-value if math.isfinite(value) and not network.adapts() else None, {"dice": value})


def _absolute_error(prediction: NDArray[np.float32], case: StoredCase, preparation: Preparation) -> float:
    found, true = (preparation.target_from_network(np.asarray(array))[0] for array in (prediction, case.target))
    return float(mae(found, true, np.asarray(case.mask) > 0))


def _dice(prediction: NDArray[np.float32], case: StoredCase, preparation: Preparation) -> float:
    """Mean over the classes that the subject has, or that were found by mistake; NaN where there is neither."""
    found, true = prediction.argmax(axis=0), np.asarray(case.label)
    present = [number for number in range(1, len(prediction)) if (true == number).any() or (found == number).any()]
    return float(np.mean([dice(found == number, true == number) for number in present])) if present else math.nan
