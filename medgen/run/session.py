"""What the networks of one run share, and what sets one of them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import create
from medgen.preparation import Preparation, StoredCase
from medgen.recipe.settings import Recipe
from medgen.run.keeping import Validations
from medgen.run.origin import Origin
from medgen.run.pace import Pace
from medgen.run.plan import Plan
from medgen.training.engine import Engine
from medgen.training.log import RunLog
from medgen.training.stopping import StopRequest
from medgen.types import Progress

Contexts = Mapping[str, Path]
"""By case, the estimate of the stage before."""


@dataclass(frozen=True)
class Session:
    """What all networks of one run share."""

    recipe: Recipe
    folder: Path
    engine: Engine
    log: RunLog
    stop: StopRequest
    shape: Shape
    preparation: Preparation
    validations: Validations
    plan: Plan
    allow_modules: Sequence[str] = ()
    progress: Progress | None = None
    origin: Origin | None = None
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(network.name for network in self.plan.networks)
        object.__setattr__(self, "pace", Pace(names, self.plan.steps))


@dataclass(frozen=True)
class Part:
    """One network to fit.

    Attributes:
        name: of its folder and its lines in the log, e.g. ``stage1`` or ``stage0-fold2``.
        number: makes its seed differ from those of the other parts.
        cases: to train on.
        held_out: to validate on; may be empty.
        contexts: by case, the estimate of the stage before, as an ``.npy`` file ``(K, X, Y, Z)``.
    """

    name: str
    number: int
    cases: tuple[StoredCase, ...]
    held_out: tuple[StoredCase, ...] = ()
    contexts: Contexts | None = None

    @property
    def stage(self) -> int:
        """Number of its stage in the cascade.

        >>> Part("stage1-fold0", 4, ()).stage
        1
        """
        return int(self.name.removeprefix("stage").partition("-")[0])


def new_method(session: Session, part: Part) -> Method:
    """An untrained network whose start depends on the seed of the run and the number of the part."""
    shape = session.shape
    if part.contexts is not None:
        shape = shape.with_context()
    recipe = session.recipe
    with session.engine.reproducible(recipe.seed * 1000 + part.number, -1, same_everywhere=True):
        return create(recipe.method, recipe.config, shape, allow_modules=session.allow_modules)
