"""Which networks of MONAI a recipe can name, and how one is built from plain values.

MONAI takes seconds to import, so it is imported when a network is built, and not to know its name.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medgen.errors import FOREIGN_FAULTS, UsageError, did_you_mean

NETWORKS = (
    "AHNet",
    "AttentionUnet",
    "AutoEncoder",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "DynUNet",
    "FlexibleUNet",
    "HighResNet",
    "LocalNet",
    "MedNeXt",
    "RegUNet",
    "SegResNet",
    "SegResNetDS",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "VNet",
)
"""Of ``monai.networks.nets``, those that make one image of the size of their input. No other class is ever built."""
TOLD = {
    "spatial_dims": "it follows from patches.size",
    "img_size": "it is patches.size",
    "in_channels": "it follows from data.inputs",
    "out_channels": "it follows from data.target, or the classes of data.labels",
    "pretrained": "medgen downloads nothing; '--init-from' starts from weights of another run",
    "progress": "medgen downloads nothing",
}
"""Arguments that a recipe does not give, and why."""


def require_network(name: str) -> None:
    """Refuse a name that is none of :data:`NETWORKS`, without importing MONAI.

    Raises:
        UsageError: with the nearest name.
    """
    if name not in NETWORKS:
        fix = did_you_mean(name, NETWORKS, f"choose from {', '.join(NETWORKS)}")
        raise UsageError(
            f"'{name[:100]}' is no network of MONAI that makes one image of the size of its input", fix=fix
        )


def _class_of(name: str, arguments: Mapping[str, Any]) -> tuple[type[nn.Module], frozenset[str]]:
    """The class, and the arguments that it has; refuses those of a recipe that it lacks or that others tell."""
    require_network(name)
    from monai.networks import nets  # seconds, and only these networks need it

    kind: type[nn.Module] = getattr(nets, name)
    known = {key: each for key, each in inspect.signature(kind).parameters.items() if each.kind is not each.VAR_KEYWORD}
    for key in arguments:
        if key in TOLD:
            raise UsageError(f"the argument '{key}' of {name} is not one for a recipe: {TOLD[key]}", fix="take it out")
        if key not in known:
            mine = [each for each in known if each not in TOLD]
            fix = did_you_mean(key, mine, f"the arguments are: {', '.join(mine)}")
            raise UsageError(f"MONAI's {name} has no argument '{key[:100]}'", fix=fix)
    for key, each in known.items():
        if each.default is each.empty and key not in arguments and key not in TOLD:
            raise UsageError(f"MONAI's {name} needs the argument '{key}'", fix=f"add arguments: {{{key}: ...}}")
    return kind, frozenset(known)


def built(values: str) -> nn.Module:
    """A network with new weights.

    Args:
        values: name, arguments, channels in, channels out and the size of a patch, as a list in JSON: plain values
            alone, and one key for what is measured.

    Raises:
        UsageError: an unknown name or argument, or arguments that MONAI does not take.
    """
    name, arguments, inputs, outputs, size = json.loads(values)
    kind, known = _class_of(name, arguments)
    told = {"in_channels": inputs, "out_channels": outputs, "spatial_dims": len(size), "img_size": size}
    try:
        return kind(**arguments, **{key: value for key, value in told.items() if key in known})
    except FOREIGN_FAULTS as error:
        if "einops" in str(error):
            fix = "install it: pip install 'medgen[monai]'"
            raise UsageError(f"MONAI's {name} needs the package einops", fix=fix) from error
        raise UsageError(f"MONAI cannot build {name}: {shortened(error)}", fix="change its arguments") from error


class _Schedules(TorchFunctionMode):
    """On the meta device, numbers that the constructors read: rates of stochastic depth, layer by layer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **({**(kwargs or {}), "device": "cpu"} if func is torch.linspace else kwargs or {}))


def on_meta(values: str) -> nn.Module:
    """As :func:`built`, of tensors that have a size and no values: it takes no memory."""
    with torch.device("meta"), _Schedules():
        return built(values).to("meta")


def single(output: Any, dimensions: int) -> Tensor:
    """The output (B, C, *size) of a network, also where it comes as the only one of a list.

    Raises:
        UsageError: there are several.
    """
    if isinstance(output, list | tuple) and len(output) == 1:
        output = output[0]
    if not isinstance(output, Tensor) or output.dim() != 2 + dimensions:
        raise UsageError(
            "the network makes several outputs, as for deep supervision, and medgen trains one",
            fix="take deep_supervision (or dsdepth) out of its arguments",
        )
    return output


def shortened(error: Exception) -> str:
    """The message of an error of MONAI or torch, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."
