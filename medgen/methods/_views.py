"""Two networks that see different channels of one image, and the classes that both predict."""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._segmentation import Network, SegmentationConfig, new_network, new_optimizer, probabilities
from medgen.methods.base import Shape


class ViewsConfig(SegmentationConfig):
    """Settings of the two views."""

    hidden: tuple[NonNegativeInt, ...] = ()
    """Numbers of the input channels that the second view lacks; by default the last one."""

    def hidden_of(self, inputs: int) -> list[int]:
        """Numbers of the channels, of ``inputs``, that the second view lacks.

        Raises:
            UsageError: there is no such channel, or no other one.
        """
        hidden = sorted(set(self.hidden or (inputs - 1,)))
        if max(hidden) >= inputs or len(hidden) == inputs:
            raise UsageError(
                f"one view lacks the channels {', '.join(map(str, hidden))} of {inputs}",
                fix=f"name some, not all, of 0 to {inputs - 1} in config.hidden",
            )
        return hidden


class Views:
    """Two networks, the second of which sees fewer channels; the method registers both under their own names.

    Args:
        config: which channels are hidden from the second network.
        shape: of the method.
        network: the first; what it sees is the method's affair, all channels in :meth:`of`.
    """

    def __init__(self, config: ViewsConfig, shape: Shape, network: Network) -> None:
        hidden = config.hidden_of(shape.inputs)
        self.kept = [number for number in range(shape.inputs) if number not in hidden]
        self.config = config
        self.network, self.second = network, new_network(config, shape._replace(inputs=len(self.kept)))

    def of(self, image: Tensor) -> tuple[tuple[str, Network, Tensor], ...]:
        """Of both views: name of the optimiser, network, and the channels of ``image`` (B, C, X, Y, Z) that it sees."""
        return ("segmenter", self.network, image), ("second", self.second, image[:, self.kept])

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        networks = {"segmenter": self.network, "second": self.second}
        return {name: new_optimizer(self.config, network) for name, network in networks.items()}

    def probabilities(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1] as far as both networks agree on them."""
        return agreement(*(probabilities(network, channels) for _, network, channels in self.of(image)))


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """The smaller of both probabilities for each class after the background; the background gets the rest.

    >>> views = [torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])]
    >>> agreement(*[view.reshape(1, 2, 1, 1, 1) for view in views]).flatten().tolist()
    [0.5, 0.5]

    Args:
        first: probabilities (B, K, x, y, z) of one view, background first.
        second: of the other.
    """
    classes = torch.minimum(first, second)[:, 1:]
    return torch.cat([1 - classes.sum(dim=1, keepdim=True), classes], dim=1)


def preferred(lesion: Tensor, count: int, share: float) -> Tensor:
    """Numbers of ``count`` patches: the first ones in which there is a lesion up to ``share``, then the next of all.

    >>> preferred(torch.tensor([False, False, True, False, True, True]), 3, 0.5).tolist()
    [2, 4, 0]

    Args:
        lesion: (N,) whether a patch has one.
        count: at most N.
        share: least share with a lesion, as far as there are enough.
    """
    first = lesion.nonzero()[: math.ceil(share * count), 0]
    others = torch.ones_like(lesion)
    others[first] = False
    return torch.cat([first, others.nonzero()[: count - len(first), 0]])
