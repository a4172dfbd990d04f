"""The contract of everything that is trained: the updates it asks for, and what can be done with it afterwards.

A method yields its updates; the one training loop does the rest. What can be done with a trained method follows from
the abilities that it inherits: :class:`Predicts`, :class:`Translates`, :class:`Samples`, :class:`Encodes`,
:class:`HasDensity` and :class:`HasFeatures`. Commands, inference and the contract test ask ``isinstance`` and never for
a name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgen.config import Config
from medgen.sampling.batches import Batch

WHOLE = 160
"""Edge of a tile of a network that sees farther than a patch: a head at 2 mm, and finer grids in pieces."""
Direction = Literal["forward", "backward"]
"""``forward`` maps the inputs of the recipe to its target, ``backward`` the target to the inputs."""


class Update(NamedTuple):
    """One optimiser step that a method asks for; the sum of the named losses is minimised.

    ``optimizer`` is a key of :meth:`Method.optimizers`; ``losses`` are scalars. Only the parameters of
    that optimiser get a gradient, so a generator's loss may run through a discriminator.
    """

    optimizer: str
    losses: dict[str, Tensor]


Step: TypeAlias = Update | tuple[Update, ...]
"""One update, or several that are differentiated on one graph before any of them steps."""


class Shape(NamedTuple):
    """What a method is built for.

    Attributes:
        inputs: channels of the image that it reads.
        outputs: channels of the image, or classes of the label map, that it makes.
        size: voxels of a training patch along each axis; two for slices, three for volumes.
        context: how many of the inputs, the last ones, are an estimate of the outputs by the stage before.
    """

    inputs: int
    outputs: int
    size: tuple[int, ...] = (32, 32, 32)
    context: int = 0

    @property
    def dimensions(self) -> int:
        """2 for slices, 3 for volumes."""
        return len(self.size)

    def with_context(self) -> Shape:
        """Of a network that also reads an estimate of the outputs, made by the stage before."""
        return self._replace(inputs=self.inputs - self.context + self.outputs, context=self.outputs)


@dataclass(frozen=True)
class Window:
    """What a network asks of the size of its input, and what it loses of it; voxels, the same along each axis.

    Attributes:
        margin: lost on each side: 0 for a network whose output has the size of its input.
        multiple: what each side of the input must be divisible by.
        align: what the sides of the output, and the places where tiles begin, must be multiples of.
        minimum: the smallest side that the networks can be trained on; a tuple where it differs by axis.
        exact: whether the input must have the size of the training patches, as for a network with dense layers.
        tile: edge of a tile where the recipe names none; 0: it follows from the training patch. Of a network that sees
            farther than a patch, so that whole volumes are predicted at once where they fit.
        halo: of a network without a margin, the voxels at each side of a tile in which its padding shows; there the
            neighbouring tile takes its place. With a halo as wide as the network sees, and ``align`` equal to
            ``multiple``, tiles give the values of the whole volume.
        least: the smallest side of a tile; 1: two multiples are enough.
    """

    margin: int = 0
    multiple: int = 1
    align: int = 1
    minimum: int | tuple[int, ...] = 1
    exact: bool = False
    tile: int = 0
    halo: int = 0
    least: int = 1

    def smallest(self, dimensions: int = 3) -> tuple[int, ...]:
        """The smallest side along each axis of a training patch."""
        named = self.minimum if isinstance(self.minimum, tuple) else (self.minimum,) * dimensions
        least = max(self.multiple, 2 * self.margin + self.align)
        # An axis with a minimum of its own, below what the others need, is one that the network does not sub-sample.
        return tuple(max(each, least) if isinstance(self.minimum, int) else each for each in named)


class Memory(Protocol):
    """State that is no weight and no statistic: a history pool, an equilibrium, a counter."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go back to a saved state."""
        ...


class Method(nn.Module, ABC):
    """Networks plus the rule that trains them. Subclass once, never twice.

    Args:
        config: the method's own settings, an instance of its ``Config``.
        shape: channels and size of what it reads and makes.
    """

    config_class: ClassVar[type[Config]]
    """Settings with the published values as defaults."""
    batch_class: ClassVar[type[Batch]]
    """What :meth:`updates` is fed with; one of :mod:`medgen.sampling.batches`. See also :meth:`batches`."""
    learns: ClassVar[str]
    """``<optimizer>/<loss>``: the loss that falls when one batch is learnt by heart, for the contract test."""
    dimensions: ClassVar[tuple[int, ...]] = (3,)
    """Of the patches that it can be built for: 3 for volumes, 2 for slices."""
    opponents: ClassVar[Mapping[str, float]] = {}
    """Optimisers of discriminators, and what the sum of the losses of each is while it cannot tell true from false."""
    scaleless: Collection[str] = ()
    """Optimisers whose loss has neither a scale nor a zero, as with a critic: that it grows is no explosion."""

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    paired_fraction: float = 0.0
    """Of a batch with a paired stream: the share of the cases with both images whose pairing is learnt."""

    @classmethod
    def batches(cls, config: Any) -> type[Batch]:
        """What training with these settings is fed with: :attr:`batch_class`, or a batch with other streams.

        Held-out patches are always of :attr:`batch_class`.
        """
        return cls.batch_class

    @classmethod
    def adapts(cls) -> bool:
        """Whether it learns from the unlabelled images of a second domain."""
        return issubclass(cls, Adapts)

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """New optimisers by name; every parameter belongs to at least one."""

    @abstractmethod
    def updates(self, batch: Any, progress: float) -> Iterator[Step]:
        """Yield the updates of one step, in order.

        Code after a ``yield`` runs when that optimiser has stepped, so a later update sees the new weights. Updates
        that share a graph, such as those of encoder, decoder and discriminator, are yielded together as a tuple.

        Args:
            batch: an instance of :attr:`batch_class` with :attr:`draws` times the patches of ``schedule.batch``.
            progress: the share of the training that is done, in [0, 1).
        """

    @property
    def draws(self) -> int:
        """Batches of fresh patches that one step takes; see :func:`~medgen.sampling.parts.split`."""
        return 1

    @property
    def window(self) -> Window:
        """What the networks ask of the size of their input."""
        return Window()

    def score(self, batch: Any) -> dict[str, float]:
        """Numbers on held-out patches, for the log; less of the first is better, and it chooses the weights to keep."""
        return {}

    def memory(self) -> dict[str, Memory]:
        """State by name that is saved in checkpoints, and neither averaged nor exported."""
        return {}

    def exported(self) -> Sequence[str]:
        """Names of the parts whose weights a trained model needs; by default all."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.state_dict()))


class Adapts(ABC):
    """Learns from the images of a second domain, whose labels nobody may see."""

    @property
    @abstractmethod
    def target_begins(self) -> float:
        """Share of the training until which the target domain changes nothing of the model; 1 where it never does.

        The validation before it is what the monitor compares later ones with.
        """


class Predicts(ABC):
    """Maps an image to another one, or to class probabilities."""

    @property
    def stochastic(self) -> bool:
        """Whether :meth:`predict` with a generator draws a result at random, and so differs from seed to seed."""
        return False

    @abstractmethod
    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map ``(B, C, X, Y, Z)``, or ``(B, C, X, Y)`` for slices, to K channels with the margin taken off each side.

        Args:
            image: prepared inputs; a tile, or a whole volume.
            generator: the only source of chance. What is drawn is drawn once and used for the whole batch: every tile
                of a volume is predicted with a generator in the same state, so that no tile differs from the others
                by its noise. None asks for the prediction without chance, e.g. the mean.
        """


class Translates(ABC):
    """Maps images of one domain to the other, both ways."""

    @property
    def stochastic(self) -> bool:
        """As for :attr:`Predicts.stochastic`."""
        return False

    @abstractmethod
    def predict(self, image: Tensor, direction: Direction, generator: torch.Generator | None = None) -> Tensor:
        """As for :meth:`Predicts.predict`; ``backward`` reads ``shape.outputs`` channels and makes ``shape.inputs``."""


class Samples(ABC):
    """Makes images of codes that are drawn from the standard normal distribution."""

    @property
    @abstractmethod
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the code of one image."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """The images ``(B, C, *size)`` of codes ``(B, *code_shape)``, in normalised units and without chance."""

    def sample(self, count: int, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """New images ``(count, C, *size)`` in normalised units, of the size of the training patches.

        Args:
            count: how many.
            generator: the only source of chance, on the device of the method.
            temperature: factor on the standard deviation of the code, above 0.
        """
        code = torch.randn(count, *self.code_shape, generator=generator, device=generator.device)
        return self.decode(temperature * code)


class Encodes(ABC):
    """Has a latent code for each image."""

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """The code ``(B, ...)`` of an image, without chance."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """The image of a code, without chance."""


class HasFeatures(ABC):
    """Has feature maps by which images can be compared: those of a classifier, an encoder or a discriminator."""

    @abstractmethod
    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps ``(B, C, ...)`` of the layers of its network, from the first to the last, without chance."""


class HasDensity(ABC):
    """Knows how likely an image is."""

    bound: ClassVar[bool]
    """Whether :meth:`log_prob` is a lower bound, and not exact."""

    @abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Log-density ``(B,)`` in nats of images in normalised units."""


ABILITIES: dict[str, type] = {
    "predict": Predicts,
    "translate": Translates,
    "sample": Samples,
    "encode": Encodes,
    "compute densities": HasDensity,
    "compute features": HasFeatures,
}
"""What can be done with a trained method, in a word each."""


def abilities_of(kind: type[Method]) -> tuple[str, ...]:
    """What can be done with a method once it is trained, for lists and messages."""
    return tuple(word for word, ability in ABILITIES.items() if issubclass(kind, ability))


def stages_of(config: Any) -> int:
    """How many networks the auto-context cascade of ``config`` has; 1 where the method knows none."""
    return int(getattr(config, "stages", 1))
