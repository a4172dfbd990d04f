"""What the methods that adapt share: a weight that rises in time, and two domains in one network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medgen.errors import UsageError
from medgen.methods._monai import MonaiNetworkConfig
from medgen.methods._segmentation import Network, SegmentationConfig
from medgen.networks.shadow_weights import ShadowWeights, statistics_of

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of the training, in [0, 1]."""
StatisticsName = Literal["shared", "source", "target", "frozen"]


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


def never_begun(steps: int, **shares: float) -> tuple[str, ...]:
    """A warning for each share of the training, by its key in ``config``, that ``steps`` steps never reach."""
    last = (steps - 1) / steps
    return tuple(
        f"config.{key} is {share:g}, and the last of {steps} steps is at {last:.3g}: a network that learns from there "
        "on never learns, and is part of the prediction; train for more steps, or let it begin earlier"
        for key, share in shares.items()
        if share > last
    )


class StatisticsConfig(SegmentationConfig):
    """Settings of a network that sees two domains."""

    statistics: StatisticsName = "shared"
    """Batch normalisation: statistics of both domains in one batch; each domain by itself, with those of the ``source``
    or of the ``target`` domain kept for prediction; or ``frozen``: those that the source, or the network that the run
    starts from, has when target patches first pass, for both domains, in training as in prediction."""

    def warnings(self, steps: int) -> tuple[str, ...]:
        """On statistics of a network that has none; they are those of batch normalisation."""
        if isinstance(self.network, MonaiNetworkConfig):  # its arguments say, by MONAI's names
            return ()
        own = "batch" if self.network == "deepmedic" else "instance"
        if self.statistics == "shared" or (self.norm or own) == "batch":
            return ()
        return (
            f"config.statistics is {self.statistics}, and the network normalises each image by itself: it changes "
            "nothing; with config.norm: batch it does",
        )


class Outputs(NamedTuple):
    """Outputs of a network for a batch of each domain: logits, and the maps of the named layers joined by channel.

    Attributes:
        source: logits (B, K, x, y, z).
        target: the same of the target domain.
        source_maps: (B, sum of the channels, x, y, z); without channels where no layer was named. Of the matched
            patches, where there are any.
        target_maps: the same of the target domain.
        matched: logits of what ``source_maps`` belong to.
        candidates: (B, 1, x, y, z) of ``matched``, then of ``target``: True at the voxels that an adversary looks at.
            None: it looks at all of them.
    """

    source: Tensor
    target: Tensor
    source_maps: Tensor
    target_maps: Tensor
    matched: Tensor
    candidates: Tensor | None = None


class DomainStatistics(ShadowWeights):
    """Running statistics of the target domain, and how batch normalisation treats two domains.

    ``shared``: both in one batch, one set of statistics. ``source`` and ``target``: each domain is normalised by
    itself, and has running statistics of its own; the name says whose are used for prediction. ``frozen``: from the
    first target patch on, both domains are normalised by the running statistics that the source had until then, in
    training as in prediction. Only then is the network that the discriminator sees the one that predicts.

    Args:
        network: a segmentation network; without batch normalisation all four are the same.
        mode: one of the four.
    """

    def __init__(self, network: nn.Module, mode: StatisticsName) -> None:
        super().__init__(network, statistics_of(network) if mode in ("source", "target") else ())
        self.mode = mode

    def forward_both(
        self,
        network: Network,
        source: Tensor,
        target: Tensor,
        layers: Sequence[str] = (),
        matched: Tensor | None = None,
    ) -> Outputs:
        """Pass patches of both domains ``(B, C, X, Y, Z)`` through ``network``.

        Args:
            network: the segmenter.
            source: labelled patches.
            target: of the other domain.
            layers: whose maps are wanted.
            matched: of the labelled domain, drawn like ``target``; by default the maps are those of ``source``.
        """
        count = len(source)
        first = source if matched is None else torch.cat([source, matched])
        if self.mode in ("shared", "frozen"):
            with frozen_statistics(network) if self.mode == "frozen" else nullcontext():
                logits, maps = network.features(torch.cat([first, target]), layers)
            all_maps, end = joined(logits, maps.values()), len(first)
            mine, others, my_maps, other_maps = logits[:end], logits[end:], all_maps[:end], all_maps[end:]
        else:
            mine, maps = network.features(first, layers)
            with self.used_by(network):
                others, found = network.features(target, layers)
            my_maps, other_maps = joined(mine, maps.values()), joined(others, found.values())
        seen = slice(count, None) if matched is not None else slice(None)
        return Outputs(mine[:count], others, my_maps[seen], other_maps, mine[seen])

    def forward_source(self, network: Network, source: Tensor) -> Tensor:
        """Logits of source patches ``(B, C, X, Y, Z)``; until target patches pass, both domains have one set."""
        logits: Tensor = network(source)
        self.follow(network, decay=0.0)  # nothing, where there is no second set
        return logits

    def of_domain(self, network: nn.Module, *, target: bool) -> AbstractContextManager[None]:
        """Inside the block ``network`` has the running statistics of one domain."""
        return self.used_by(network) if target else nullcontext()  # without a second set both are the same

    def for_prediction(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside the block ``network`` has the running statistics that prediction uses."""
        return self.of_domain(network, target=self.mode == "target")


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Inside the block batch normalisation takes its running statistics, and they do not move; dropout stays as it is.

    Weight and bias of the normalisation still learn.

    Raises:
        UsageError: they have seen nothing yet, and would stay the mean 0 and the variance 1 of the beginning.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    if any(layer.num_batches_tracked is not None and not layer.num_batches_tracked for layer in layers):
        raise UsageError(
            "'statistics: frozen' keeps statistics of a network that has seen no image",
            fix="start from a trained model with --init-from, or let the target begin later in the training",
        )
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def joined(logits: Tensor, maps: Iterable[Tensor]) -> Tensor:
    """Maps ``(B, C, x, y, z)`` one after another along the channels; without any, a map that has no channel."""
    return torch.cat(list(maps) or [logits[:, :0]], dim=1)
