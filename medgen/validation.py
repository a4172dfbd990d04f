"""Whole-volume estimates of prepared subjects during a run, and their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.engine import Engine
from medgen.inference.stages import predict_prepared
from medgen.method import Method
from medgen.metrics.image import mae
from medgen.preparation import StoredCase
from medgen.recipe import Recipe

if TYPE_CHECKING:
    from medgen.fitting import Session


def estimate(
    network: Method, case: StoredCase, contexts: Mapping[str, Path] | None, recipe: Recipe, engine: Engine
) -> NDArray[np.float32]:
    """The estimate of one stage for one prepared subject.

    Args:
        network: the stage.
        case: from the store.
        contexts: by case, the estimate of the stage before; None for the first stage.
        recipe: for the tiles.
        engine: device and precision.

    Returns:
        ``(K, X, Y, Z)`` in [-1, 1], -1 (the low end of the window) outside the body, as in a prediction: the mask
        may come from the target, and a context that ends with it would tell the next stage where.
    """
    context: NDArray[Any] | None = None
    if contexts is not None:
        context = np.load(contexts[case.name], mmap_mode="r", allow_pickle=False)
    with engine.autocast():
        return predict_prepared(
            [network.eval()],
            case.image,
            case.body,
            settings=recipe.inference,
            patch=recipe.patches.size,
            context=context,
            device=engine.device,
        )


def validate(
    network: Method, cases: Sequence[StoredCase], contexts: Mapping[str, Path] | None, session: Session
) -> dict[str, float]:
    """Mean absolute error inside the mask, in the units of the target, averaged over the subjects.

    The subjects are shared between the processes; every process gets the same result.
    """
    engine, errors = session.engine, []
    for case in cases[engine.rank :: engine.world]:
        prediction = session.hu(estimate(network, case, contexts, session.recipe, engine))
        errors.append(mae(prediction[0], session.hu(np.asarray(case.target))[0], np.asarray(case.mask) > 0))
    everyone = [error for errors_of_one in engine.gather(errors) for error in errors_of_one]
    return {"mae": float(np.mean(everyone))}
