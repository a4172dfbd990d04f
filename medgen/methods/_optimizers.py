"""Optimisers that torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class NesterovRMSprop(Optimizer):
    """RMSprop whose step has Nesterov momentum, as DeepMedic is trained (torch's has plain momentum).

    With the gradient g, ``a = rho a + (1 - rho) g^2``, ``s = lr g / sqrt(a + eps)``, ``v = mu v - s``, and the weights
    move by ``mu v - s``: the step that plain momentum would take next is taken now. The velocity is not normalised, so
    far down a slope the steps are 1 / (1 - mu) times as long as without momentum.

    Args:
        params: as for every optimiser.
        lr: learning rate; 1e-3 is published.
        rho: decay of the mean of squares.
        eps: inside the root.
        momentum: mu.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        rho: float = 0.9,
        eps: float = 1e-4,
        momentum: float = 0.6,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move the weights once by their gradients."""
        if closure is not None:
            raise ValueError("this optimiser takes no closure")
        for group in self.param_groups:
            rho, momentum = group["rho"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["square"], state["velocity"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["square"].mul_(rho).addcmul_(weight.grad, weight.grad, value=1 - rho)
                step = weight.grad * (group["lr"] / (state["square"] + group["eps"]).sqrt())
                state["velocity"].mul_(momentum).sub_(step)
                weight.add_(state["velocity"], alpha=momentum).sub_(step)
