"""Methods whose results can be computed by hand: slices, chance, an exact window, a translator, and a mere sampler."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mean_model import describe
from torch import Tensor

from medgen.config import Config
from medgen.inference.model import LoadedModel
from medgen.methods.base import Direction, Encodes, Method, Predicts, Samples, Shape, Translates, Update, Window
from medgen.sampling.batches import Images, Paired, Unpaired


class Toy(Method):
    config_class = Config
    batch_class = Paired

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()


class SliceMean(Toy, Predicts):
    """A slice plus half the mean over its plane; remembers what it was given."""

    dimensions = (2,)

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.given: list[tuple[int, ...]] = []

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        batch, channels, a, b = image.shape
        self.given.append((batch, channels, a, b))
        return image[:, :1] + 0.5 * image[:, :1].mean(dim=(2, 3), keepdim=True)


class NarrowSlices(Toy, Predicts):
    """A slice as it is, minus a margin of 2 pixels in the plane."""

    dimensions = (2,)

    @property
    def window(self) -> Window:
        return Window(margin=2)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return image[:, :, 2:-2, 2:-2]


class Noisy(Toy, Predicts):
    """The image plus one number, drawn once for the whole batch."""

    stochastic = True

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if generator is None:
            return image
        return image + 0.1 * torch.rand(1, generator=generator, device=image.device)


class Exact(Toy, Predicts):
    """The image as it is, of the size of the training patches alone, as with a dense layer."""

    @property
    def window(self) -> Window:
        return Window(exact=True)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        assert tuple(image.shape[2:]) == self.shape.size
        return image


class Doubling(Toy, Translates):
    """Forward twice the first input, backward half the target for each input."""

    batch_class = Unpaired

    def predict(self, image: Tensor, direction: Direction, generator: torch.Generator | None = None) -> Tensor:
        if direction == "forward":
            return 2 * image[:, :1]
        return 0.5 * image.expand(-1, self.shape.inputs, -1, -1, -1)


class Sampler(Toy, Samples, Encodes):
    """Makes no prediction."""

    batch_class = Images

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (self.shape.outputs,)

    def encode(self, image: Tensor) -> Tensor:
        return image.mean(dim=(2, 3, 4))

    def decode(self, code: Tensor) -> Tensor:
        return code[:, :, None, None, None].expand(-1, -1, *self.shape.size)


def make_toy(
    kind: type[Toy],
    *inputs: str,
    size: Sequence[int] = (12, 12, 12),
    plane: str | None = None,
    inference: dict[str, Any] | None = None,
    weights: str = "0",
    **preparation: Any,
) -> LoadedModel:
    """A model; inputs from 0..1000 become -1..1, so do CT values from -1024..2000."""
    inputs = inputs or ("t1",)
    description = describe(inputs, **preparation) | {"patches": list(size), "weights_sha256": weights * 64}
    description["task"] = kind.batch_class.task().name
    description["inference"] |= inference or {}
    if plane:
        description["recipe"] = {"patches": {"plane": plane}}
    stage = kind(Config(), Shape(len(inputs), 1, tuple(size))).eval()
    return LoadedModel([stage], description, torch.device("cpu"))
