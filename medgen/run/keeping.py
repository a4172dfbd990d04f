"""Which weights become the model, and what happens at a validation; ``fit`` knows no more of either than is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from medgen.methods.base import Method


class Keep:
    """The weights of the last step; subclasses keep others."""

    def saw(self, steps: int, loss: float | None, method: Method) -> None:
        """Take note of a validation.

        Args:
            steps: that are done.
            loss: less is better; None where no number may choose.
            method: whose weights were validated.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it; tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""

    def choose(self, method: Method, checkpoints: Path) -> dict[str, Any]:
        """Give ``method``, which has the weights of the last step, those to keep; what ``done.json`` says of them."""
        return {}


class KeepBest(Keep):
    """The weights of the validation with the least loss; those of the last step where none had a number."""

    def __init__(self) -> None:
        self._best: dict[str, Any] = {}

    def saw(self, steps: int, loss: float | None, method: Method) -> None:
        """Remember the weights where the loss is the least so far."""
        if loss is not None and math.isfinite(loss) and (not self._best or loss < self._best["value"]):
            self._best = {"step": steps, "value": loss, "weights": weights_of(method)}

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return self._best

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to the best of that time."""
        self._best = dict(state)

    def choose(self, method: Method, checkpoints: Path) -> dict[str, Any]:
        """Those of the best validation."""
        if not self._best:
            return {}
        method.load_state_dict(self._best["weights"])
        return {"best_step": self._best["step"], "best_value": self._best["value"]}


class OnValidation(Protocol):
    """What is done at the validations of one part."""

    keep: Keep
    extra: int | None
    """A number of steps after which there is one more validation; None for none."""

    def __call__(self, method: Method, step: int) -> None:
        """Validate ``method`` at a step of the log; every process calls it."""
        ...

    def end(self) -> bool:
        """Whether the training ends here, before its last step; every process asks, and all are told the same."""
        ...


def weights_of(method: Method) -> dict[str, Tensor]:
    """A copy of all weights and statistics on the CPU."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in method.state_dict().items()
    }


Validations = Callable[[Any, Any, Method], OnValidation | None]
"""Of (session, part, method): what to do at its validations; None where nothing is held out."""
