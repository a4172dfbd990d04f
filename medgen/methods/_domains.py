"""What the methods that adapt share: a weight that rises in time, and two domains in one network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from medgen.methods._segmentation import Network
from medgen.networks.shadow_weights import ShadowWeights, statistics_of

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of the training, in [0, 1]."""
StatisticsName = Literal["shared", "source", "target"]


def ramp(progress: float, begin: float, full: float) -> float:
    """0 until the share ``begin`` of the training, linear to 1 at ``full``, and 1 from there on.

    >>> [ramp(progress, 0.25, 0.75) for progress in (0.0, 0.5, 0.9)]
    [0.0, 0.5, 1.0]
    >>> ramp(0.5, 0.5, 0.5)
    1.0
    """
    if progress >= full:
        return 1.0
    return max(0.0, (progress - begin) / (full - begin))


def require_order(**shares: float) -> None:
    """Refuse shares of the training that do not rise in the order given.

    Raises:
        ValueError: what pydantic turns into the message for the user.
    """
    values = list(shares.values())
    if values != sorted(values):
        raise ValueError(f"the shares must be in order: {' <= '.join(shares)}")


class Outputs(NamedTuple):
    """Outputs of a network for a batch of each domain: logits, and the maps of the named layers joined by channel.

    Attributes:
        source: logits (B, K, x, y, z).
        target: the same of the target domain.
        source_maps: (B, sum of the channels, x, y, z); without channels where no layer was named.
        target_maps: the same of the target domain.
    """

    source: Tensor
    target: Tensor
    source_maps: Tensor
    target_maps: Tensor


class DomainStatistics(ShadowWeights):
    """Running statistics of the target domain, and how batch normalisation treats two domains.

    ``shared``: both in one batch, one set of statistics. ``source`` and ``target``: each domain is normalised by
    itself, and has running statistics of its own; the name says whose are used for prediction.

    Args:
        network: a segmentation network; without batch normalisation all three are the same.
        mode: one of the three.
    """

    def __init__(self, network: nn.Module, mode: StatisticsName) -> None:
        super().__init__(network, () if mode == "shared" else statistics_of(network))
        self.mode = mode

    def forward_both(self, network: Network, source: Tensor, target: Tensor, layers: Sequence[str] = ()) -> Outputs:
        """Pass patches of both domains ``(B, C, X, Y, Z)`` through ``network``."""
        if self.mode == "shared":
            logits, maps = network.features(torch.cat([source, target]), layers)
            all_maps, first = joined(logits, maps.values()), len(source)
            return Outputs(logits[:first], logits[first:], all_maps[:first], all_maps[first:])
        logits, maps = network.features(source, layers)
        with self.used_by(network):
            others, other_maps = network.features(target, layers)
        return Outputs(logits, others, joined(logits, maps.values()), joined(others, other_maps.values()))

    def forward_source(self, network: Network, source: Tensor) -> Tensor:
        """Logits of source patches ``(B, C, X, Y, Z)``; until target patches pass, both domains have one set."""
        logits: Tensor = network(source)
        if self.mode != "shared":
            self.follow(network, decay=0.0)
        return logits

    def of_domain(self, network: nn.Module, *, target: bool) -> AbstractContextManager[None]:
        """Inside the block ``network`` has the running statistics of one domain."""
        return self.used_by(network) if target else nullcontext()

    def for_prediction(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside the block ``network`` has the running statistics that prediction uses."""
        return self.of_domain(network, target=self.mode == "target")


def joined(logits: Tensor, maps: Iterable[Tensor]) -> Tensor:
    """Maps ``(B, C, x, y, z)`` one after another along the channels; without any, a map that has no channel."""
    return torch.cat(list(maps) or [logits[:, :0]], dim=1)
