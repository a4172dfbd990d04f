"""Two networks that see different channels of one image, and what both of them see."""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._domains import Network
from medgen.methods._segmentation import SegmentationConfig, Segmenter, new_network
from medgen.methods.base import Shape


class ViewsConfig(SegmentationConfig):
    """Settings of the two views."""

    hidden: tuple[NonNegativeInt, ...] = ()
    """Numbers of the input channels that the second view lacks; by default the last one."""


class TwoViews(Segmenter):
    """Two networks; how they learn stands in the subclasses. Only what both say is predicted."""

    config: ViewsConfig

    def __init__(self, config: ViewsConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        hidden = config.hidden or (shape.inputs - 1,)
        kept = [number for number in range(shape.inputs) if number not in hidden]
        if max(hidden) >= shape.inputs or not kept:
            raise UsageError(
                f"one view lacks the channels {', '.join(map(str, hidden))} of {shape.inputs}",
                fix=f"name some, not all, of 0 to {shape.inputs - 1} in config.hidden",
            )
        self.kept = kept
        self.second = new_network(config, Shape(len(kept), shape.outputs))

    @property
    def views(self) -> tuple[tuple[str, Network], ...]:
        """Both networks, by the names of their optimisers."""
        return ("segmenter", self.network), ("second", self.second)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return {**super().optimizers(), "second": self.optimizer_of(self.second)}

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both networks agree on them."""
        second: Tensor = self.second(self.seen_by("second", image))
        return agreement(super().predict(image), second.float().softmax(dim=1))

    def seen_by(self, name: str, image: Tensor) -> Tensor:
        """The channels of ``image`` (B, C, X, Y, Z) that a view has."""
        return image if name == "segmenter" else image[:, self.kept]


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Each class after the background as probable as the view that doubts it more says; the background gets the rest.

    >>> views = [torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])]
    >>> agreement(*[view.reshape(1, 2, 1, 1, 1) for view in views]).flatten().tolist()
    [0.5, 0.5]

    Args:
        first: probabilities (B, K, x, y, z) of one view, background first.
        second: of the other.
    """
    classes = torch.minimum(first, second)[:, 1:]
    return torch.cat([1 - classes.sum(dim=1, keepdim=True), classes], dim=1)
