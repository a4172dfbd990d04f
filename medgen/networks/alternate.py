"""A second set of values for some tensors of a network: a teacher's weights, another domain's statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Alternate(nn.Module):
    """Copies of tensors of a network, kept as buffers: saved with it, trained by no optimiser.

    Args:
        network: whose tensors are copied.
        names: of its parameters and buffers.
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        state = network.state_dict()
        self._names = tuple(names)
        self._leaves_statistics = False
        for name in self._names:
            self.register_buffer(_key(name), state[name].detach().clone())

    @contextmanager
    def used_by(self, network: nn.Module) -> Iterator[None]:
        """Inside the block ``network`` works with these tensors; running statistics are updated in place."""
        before: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        modules = dict(network.named_modules())  # once for all names: get_submodule takes as long as a small network
        try:
            for name in self._names:
                path, _, leaf = name.rpartition(".")
                if self._leaves_statistics and leaf in STATISTICS:
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
            mine, now = self.get_buffer(_key(name)), state[name]
            if mine.is_floating_point():
                mine.lerp_(now, 1 - decay)
            else:
                mine.copy_(now)


@contextmanager
def own_statistics(method: nn.Module) -> Iterator[None]:
    """Inside the block the networks of ``method`` keep their own running statistics, whatever else is put in.

    So a second set of statistics is not used at all, and a teacher is its weights with the statistics of the student.
    """
    alternates = [module for module in method.modules() if isinstance(module, Alternate)]
    for alternate in alternates:
        alternate._leaves_statistics = True
    try:
        yield
    finally:
        for alternate in alternates:
            alternate._leaves_statistics = False


def statistics_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the running statistics of the batch normalisations; empty where there are none."""
    return tuple(name for name, _ in network.named_buffers() if name.rpartition(".")[2] in STATISTICS)


def _key(name: str) -> str:
    return name.replace(".", "/")
