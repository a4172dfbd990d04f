"""The one abstraction that every trainable thing in medgen shares: a method yields its updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from medgen.config import Config
from medgen.sampling.batches import Adaptation


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
    """What :meth:`updates` is fed with; one of :mod:`medgen.sampling.batches`."""

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
