"""Shadow weights: a second set of values for tensors of a network, e.g. the weights of a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class ShadowWeights(nn.Module):
    """Copies of tensors of a network, kept as buffers: they are saved with the method, and no optimiser trains them.

    Args:
        network: the network whose tensors are copied.
        names: names of its parameters and buffers, as in its state dict.
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        state = network.state_dict()
        self._names = tuple(names)
        self._without_statistics = False
        for name in self._names:
            self.register_buffer(_key(name), state[name].detach().clone())

    @contextmanager
    def used_by(self, network: nn.Module) -> Iterator[None]:
        """Inside the block ``network`` computes with these tensors; its running statistics are updated in place."""
        before: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        modules = dict(network.named_modules())  # once for all names: get_submodule takes as long as a small network
        try:
            for name in self._names:
                path, _, leaf = name.rpartition(".")
                if self._without_statistics and leaf in STATISTICS:
                    continue
                module = modules[path]
                table: dict[str, Tensor | None] = module._parameters if leaf in module._parameters else module._buffers
                before.append((table, leaf, table[leaf]))
                table[leaf] = self.get_buffer(_key(name))
            yield
        finally:
            for table, leaf, tensor in before:
                table[leaf] = tensor

    @torch.no_grad()
    def follow(self, network: nn.Module, decay: float) -> None:
        """Move towards the tensors of ``network``: ``self = decay * self + (1 - decay) * network``."""
        state = network.state_dict()
        for name in self._names:
            shadow, current = self.get_buffer(_key(name)), state[name]
            if shadow.is_floating_point():
                shadow.lerp_(current, 1 - decay)
            else:
                shadow.copy_(current)


@contextmanager
def without_shadow_statistics(method: nn.Module) -> Iterator[None]:
    """Inside the block, shadow weights replace weights only; every network keeps its own running statistics.

    A second set of statistics is then not used at all, and a teacher has its own weights and the student's statistics.
    """
    shadows = [module for module in method.modules() if isinstance(module, ShadowWeights)]
    for shadow in shadows:
        shadow._without_statistics = True
    try:
        yield
    finally:
        for shadow in shadows:
            shadow._without_statistics = False


def statistics_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the running statistics of batch normalisation; empty if the network has none."""
    return tuple(name for name, _ in network.named_buffers() if name.rpartition(".")[2] in STATISTICS)


def _key(name: str) -> str:
    return name.replace(".", "/")
