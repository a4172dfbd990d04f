"""Whole-volume estimates of prepared subjects during a run, and their errors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.inference.stages import predict_prepared
from medgen.methods.base import Method, Predicts, Translates
from medgen.preparation import StoredCase
from medgen.recipe.settings import Recipe
from medgen.run.session import Session
from medgen.sampling.augmentation import AugmentationConfig
from medgen.sampling.loading import patch_batches
from medgen.sampling.streams import StreamSource
from medgen.training.engine import Engine

log = logging.getLogger(__name__)

BATCHES, PATCHES_A_BATCH = 8, 4
"""Held-out patches that a method's own scores are means of."""


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
            across=recipe.patches.across,
            context=context,
            values=network.batch_class.task().values,
            device=engine.device,
        )


class Validation(NamedTuple):
    """What was found on held-out subjects.

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
    """Errors of whole-volume estimates, and what the method itself scores on held-out patches.

    Whole volumes are scored where the method predicts and the truth is there, by the metric of the task; the labels of
    a domain that is adapted to are never there. The first score chooses the weights, except where it uses pairs that
    the method does not learn from, and for a method that adapts: its scores are of the labelled domain alone. All
    processes get the same result.

    Args:
        network: in any mode; is left in evaluation mode.
        cases: held-out subjects.
        contexts: see :func:`estimate`.
        session: the run.
        look: called with each subject that this process estimated, and its estimate.
    """
    task, scores = network.batch_class.task(), dict[str, float]()
    chosen: list[float] = []
    if isinstance(network, Predicts | Translates) and task.error is not None and (scored := task.scored(cases)):
        value = _whole_volumes(network, scored, contexts, session, look)
        scores[task.metric] = value
        if _learns_truth(network):
            chosen.append(task.sign * value)
    on_patches = _patches(network, cases, contexts, session)
    scores |= on_patches
    chosen += list(on_patches.values())
    usable = chosen and math.isfinite(chosen[0]) and not network.adapts()
    return Validation(chosen[0] if usable else None, scores)


def _learns_truth(network: Method) -> bool:
    """Whether the method learns from the pairs or labels that whole volumes are scored with.

    Of one that does not, such as an unpaired translation, a score against them is for the log alone: weights that were
    chosen by it would not be those of an unsupervised method.
    """
    truth = "label" if network.batch_class.task().labels else "target"
    return any({"image", truth} <= set(stream.fields.values()) for stream in network.batch_class.streams())


def _whole_volumes(
    network: Method,
    cases: Sequence[StoredCase],
    contexts: Mapping[str, Path] | None,
    session: Session,
    look: Callable[[StoredCase, NDArray[np.float32]], None] | None,
) -> float:
    """The mean error over the cases, which the processes share."""
    error, engine, mine = network.batch_class.task().error, session.engine, []
    assert error is not None
    for case in cases[engine.rank :: engine.world]:
        estimated = estimate(network, case, contexts, session.recipe, engine)
        mine.append(error(estimated, case, session.preparation))
        if look is not None:
            look(case, estimated)
    return float(np.nanmean([each for values in engine.gather(mine) for each in values]))


def held_out_batches(
    network: Method, cases: Sequence[StoredCase], contexts: Mapping[str, Path] | None, session: Session
) -> Iterator[Any]:
    """The same batches of held-out patches at every validation, without augmentation, on the device.

    Raises:
        InputError: no held-out case has the images that a stream needs.
    """
    recipe = session.recipe
    plain = recipe.patches.model_copy(update={"augmentation": AugmentationConfig(), "transfer": None})
    kind = network.batch_class
    source = StreamSource(kind, cases, plain, recipe.seed, contexts, recipe.data.inputs)
    for batch in patch_batches(source, kind, batch=PATCHES_A_BATCH, start=0, stop=BATCHES):
        yield session.engine.to_device(batch)


@torch.no_grad()
def _patches(
    network: Method, cases: Sequence[StoredCase], contexts: Mapping[str, Path] | None, session: Session
) -> dict[str, float]:
    """Means of the method's own scores over held-out patches."""
    if type(network).score is Method.score:
        return {}
    engine, sums = session.engine, dict[str, float]()
    network.eval()
    try:
        for number, batch in enumerate(held_out_batches(network, cases, contexts, session)):
            with engine.reproducible(session.recipe.seed, number, same_everywhere=True), engine.autocast():
                for name, value in network.score(batch).items():
                    sums[name] = sums.get(name, 0.0) + value / BATCHES
    except InputError as error:
        log.warning("no patch was scored: %s", error.what)
        return {}
    return sums
