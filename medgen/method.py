"""The one abstraction that every trainable thing in medgen shares: a method yields its updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from medgen.batches import Adaptation
from medgen.config import Config, build
from medgen.errors import ModelError, UsageError


class Update(NamedTuple):
    """One optimiser step that a method asks for; the sum of the named losses is minimised.

    ``optimizer`` is a key of :meth:`Method.optimizers`; ``losses`` are scalars. Only the parameters of
    that optimiser get a gradient, so a generator's loss may run through a discriminator.
    """

    optimizer: str
    losses: dict[str, Tensor]


class Channels(NamedTuple):
    """How many channels a network reads and writes."""

    inputs: int
    outputs: int


class Method(nn.Module, ABC):
    """Networks plus the rule that trains them. Subclass once, never twice.

    Args:
        config: the method's own settings, an instance of its ``Config``.
        channels: channels of the image that it reads and of the image that it writes.
    """

    config_class: ClassVar[type[Config]]
    """Settings with the published values as defaults."""
    batch_class: ClassVar[type[Any]]
    """What :meth:`updates` is fed with; one of :mod:`medgen.batches`."""

    def __init__(self, config: Any, channels: Channels) -> None:
        super().__init__()
        self.config = config
        self.channels = channels

    @classmethod
    def adapts(cls) -> bool:
        """Whether it learns from the unlabelled images of a second domain."""
        return issubclass(cls.batch_class, Adaptation)

    @property
    def margin(self) -> int:
        """Voxels that :meth:`predict` loses on each side of its input: 0 for a same-size network."""
        return 0

    @property
    def multiple(self) -> int:
        """What each side of the input of :meth:`predict` must be divisible by."""
        return 1

    @property
    def align(self) -> int:
        """What the sides of the output of :meth:`predict`, and the places where tiles begin, must be multiples of."""
        return 1

    @property
    def minimum(self) -> int:
        """The smallest side, in voxels, of an input that the networks can be trained on."""
        return max(self.multiple, 2 * self.margin + self.align)

    @property
    def fewest_slices(self) -> int:
        """The same along Z, where a network for thick slices takes fewer."""
        return self.minimum

    @property
    def target_begins(self) -> float:
        """Share of the training until which an unlabelled domain changes nothing of the model; 1 where it never does.

        A look at the health of an adaptation before it is what later ones are compared with.
        """
        return 0.0

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """New optimisers by name; every parameter belongs to exactly one."""

    @abstractmethod
    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        """Yield the updates of one batch, in order.

        Code after a ``yield`` runs when that optimiser has stepped, so a later update sees the new weights.

        Args:
            batch: an instance of :attr:`batch_class`.
            progress: the share of the training that is done, in [0, 1).
        """

    @abstractmethod
    def predict(self, image: Tensor) -> Tensor:
        """Map an image ``(B, C, X, Y, Z)`` to ``(B, K, X - 2m, Y - 2m, Z - 2m)`` with the margin m."""


def stages_of(config: Any) -> int:
    """How many networks the auto-context cascade of ``config`` has; 1 where the method knows none."""
    return int(getattr(config, "stages", 1))


def resolve(name: str, *, allow_modules: Sequence[str] = ()) -> type[Method]:
    """Find a method: ``"supervised"`` is the file ``medgen/methods/supervised.py``.

    Args:
        name: a method of medgen, or the dotted name of an installed module that has a ``METHOD``.
        allow_modules: dotted names that the user has allowed. A recipe or a model file from elsewhere
            must not choose which code is imported.

    Raises:
        UsageError: no such method.
        ModelError: a dotted name that was not allowed.
    """
    if "." in name:
        if name not in allow_modules:
            raise ModelError(
                f"the method '{name}' is a module outside medgen and was not allowed",
                fix=f"if you trust it, add --allow-module {name}",
            )
        module = name
    else:
        known = method_names()
        if name not in known:
            near = get_close_matches(name, known, 1)
            fix = f"did you mean '{near[0]}'?" if near else f"the methods are: {', '.join(known)}"
            raise UsageError(f"there is no method '{name}'", fix=fix)
        module = f"medgen.methods.{name}"
    try:
        method: type[Method] = import_module(module).METHOD
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the module '{error.name}' is not installed", fix=f"install it, or remove '{name}'"
        ) from error
    return method


def create(
    name: str,
    config: dict[str, Any],
    channels: Channels,
    *,
    allow_modules: Sequence[str] = (),
    where: str | Path | None = None,
) -> Method:
    """A new, untrained method from its name and plain settings."""
    kind = resolve(name, allow_modules=allow_modules)
    return kind(build(kind.config_class, config, where=where), channels)


def method_names() -> list[str]:
    """Names of the methods that medgen has: one file each."""
    return sorted(path.stem for path in (Path(__file__).parent / "methods").glob("[!_]*.py"))


def list_methods() -> list[dict[str, Any]]:
    """What ``medgen models`` shows of each method: name, summary, batch and default settings."""
    rows = []
    for name in method_names():
        kind = resolve(name)
        summary = (import_module(kind.__module__).__doc__ or "").strip().splitlines()[0]
        rows.append(
            {
                "name": name,
                "summary": summary,
                "batch": kind.batch_class.__name__,
                "config": kind.config_class().model_dump(mode="json"),
            }
        )
    return rows
