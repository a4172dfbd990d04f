"""Networks of MONAI by name and arguments (:mod:`medgen.networks.monai_zoo`): image in, image of the same size out.

What a network asks of the size of its input is found out, not declared: it is built on torch's ``meta`` device, where
tensors have a size and no values, and images of some sizes are passed through it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from medgen.errors import FOREIGN_FAULTS, UsageError
from medgen.networks.monai_zoo import built, on_meta, shortened, single

_LARGEST = 384
"""Edge of the image in which a network is measured that does not take the training patch."""
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Sizes:
    """What a network asks of the size of its input.

    Attributes:
        multiple: what each side must be divisible by.
        least: the smallest side, of those that were tried, with which it computes.
        exact: whether it takes the training patch alone.
        last: name of the module that makes the output of a feature map.
        width: channels of that map.
    """

    multiple: int
    least: int
    exact: bool
    last: str
    width: int


class MonaiNetwork(nn.Module):
    """A network of ``monai.networks.nets``; raw outputs, same size.

    Args:
        name: one of :data:`~medgen.networks.monai_zoo.NETWORKS`.
        arguments: of its class, as plain YAML values; none of :data:`~medgen.networks.monai_zoo.TOLD`.
        inputs: channels of the image.
        outputs: channels of the result.
        size: voxels of a training patch along each axis; two for slices, three for volumes.

    Attributes:
        margin: 0.
        align: 1.
        multiple: what each side of the input must be divisible by.
        minimum: the smallest side with which it computes.
        exact: whether it takes the training patch alone, as networks with learnt positions do.
        layers: ``"last"``, the feature map that the output is made of.
        widths: its channels.

    Shape:
        ``(B, inputs, *size)`` to ``(B, outputs, *size)``.

    Raises:
        UsageError: an unknown name or argument, arguments that MONAI does not take, several outputs (as with deep
            supervision), or a training patch that the network does not take.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], inputs: int, outputs: int, size: Sequence[int]) -> None:
        super().__init__()
        values = json.dumps([name, arguments, inputs, outputs, list(size)])
        sizes = _measured(values)
        self.margin, self.align = 0, 1
        self.multiple, self.minimum, self.exact = sizes.multiple, sizes.least, sizes.exact
        self.layers, self.widths = ("last",), {"last": sizes.width}
        self._last = sizes.last
        self.network = (on_meta if torch.get_default_device().type == "meta" else built)(values)
        self._other_names = _other_names(self.network)
        if self._other_names:
            self.register_state_dict_post_hook(_without_other_names)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_with_other_names)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Raw outputs of ``x``."""
        return single(self.network(x), dimensions=x.dim() - 2)

    def features(self, x: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs, and the map ``"last"`` where ``layers`` names it.

        Args:
            x: (B, inputs, *size).
            layers: any of :attr:`layers`.

        Raises:
            UsageError: an unknown layer.
        """
        if unknown := [layer for layer in layers if layer not in self.layers]:
            raise UsageError(f"a network of MONAI has no feature map '{unknown[0]}'", fix="choose last")
        found: dict[str, Tensor] = {}
        module = self.network.get_submodule(self._last)
        handle = module.register_forward_pre_hook(lambda _, given: found.update(last=given[0]))
        try:
            output = self(x)
        finally:
            handle.remove()
        return output, {layer: found[layer] for layer in layers}


@lru_cache(maxsize=16)
def _measured(values: str) -> Sizes:
    """Find the sizes that a network takes; nothing is computed.

    Raises:
        UsageError: it does not take the training patch.
    """
    name, _, inputs, outputs, size = json.loads(values)
    with torch.random.fork_rng(devices=[]):
        network = on_meta(values).train()
    trial = _Trial(network, name, inputs, outputs)
    fault = trial.fault(size)
    if fault is not None and trial.fault([_LARGEST] * len(size)) is not None:
        raise UsageError(f"{name} takes no patches of {list(size)} voxels: {fault}", fix="change patches.size")
    multiple = trial.reduction
    least = next((side for side in (2 * multiple << n for n in range(6)) if trial.takes(side, len(size))), 0)
    if not least:
        return Sizes(1, min(size), exact=True, last=trial.last, width=trial.width)
    for prime in (2, 3, 5, 7):
        while multiple % prime == 0 and trial.takes(least + multiple // prime, len(size)):
            multiple //= prime
    if fault is None and not trial.takes(least + multiple, len(size)):
        return Sizes(1, min(size), exact=True, last=trial.last, width=trial.width)
    if fault is not None:
        sides = f"sides divisible by {multiple}, e.g. {least}" if multiple > 1 else f"larger sides, e.g. {least}"
        raise UsageError(f"{name} takes no patches of {list(size)} voxels ({fault})", fix=f"give patches.size {sides}")
    return Sizes(multiple, least, exact=False, last=trial.last, width=trial.width)


class _Trial:
    """Passes images without values through a network, and sees what becomes of their size."""

    def __init__(self, network: nn.Module, name: str, inputs: int, outputs: int) -> None:
        self.network, self.name, self.inputs, self.outputs = network, name, inputs, outputs
        self.reduction = 1
        """Voxels of the image to one of the coarsest feature map, of the last image that was taken."""
        self.last, self.width = "", 0

    def takes(self, side: int, dimensions: int) -> bool:
        """Whether an image with all sides alike comes out with its size."""
        return self.fault([side] * dimensions) is None

    def fault(self, size: Sequence[int]) -> str | None:
        """Why an image of a size is not taken; None: it is.

        Raises:
            UsageError: the network has several outputs.
        """
        smallest, order = list(size), list[tuple[str, int]]()

        def seen(name: str, module: Any, output: Tensor) -> None:
            order.append((name, module.in_channels))
            smallest[:] = map(min, smallest, output.shape[2:])

        handles = [
            module.register_forward_hook(lambda module, _, output, name=name: seen(name, module, output))
            for name, module in self.network.named_modules()
            if isinstance(module, _CONVOLUTIONS)
        ]
        try:
            output = self.network(torch.empty(2, self.inputs, *size, device="meta"))
        except FOREIGN_FAULTS as error:
            return shortened(error)
        finally:
            for handle in handles:
                handle.remove()
        output = single(output, dimensions=len(size))
        if output.shape[1] != self.outputs:
            raise UsageError(
                f"{self.name} makes {output.shape[1]} channels with these arguments; the recipe needs {self.outputs}",
                fix="change its arguments",
            )
        if tuple(output.shape[2:]) != tuple(size):
            return f"the output has {list(output.shape[2:])}"
        self.reduction = max(-(-side // few) for side, few in zip(size, smallest, strict=True))
        self.last, self.width = order[-1]
        return None


def _other_names(network: nn.Module) -> dict[str, str]:
    """Further names of tensors that a network has under two, as DynUNet does, and the first name of each."""
    first, others = dict[int, str](), dict[str, str]()
    tensors = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if first.setdefault(id(tensor), name) != name:
            others[name] = first[id(tensor)]
    return others


def _without_other_names(module: MonaiNetwork, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Each tensor once: safetensors refuses to write one twice."""
    for other in module._other_names:
        state.pop(f"{prefix}network.{other}")


def _with_other_names(module: MonaiNetwork, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for other, name in module._other_names.items():
        if f"{prefix}network.{name}" in state:
            state[f"{prefix}network.{other}"] = state[f"{prefix}network.{name}"]
