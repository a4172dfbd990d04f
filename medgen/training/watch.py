"""The watch over a training: whether its numbers grow without bound, or are not finite any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from torch import Tensor, nn

from medgen.training.checkpoint import first_not_finite

FACTOR = 100.0
"""A loss explodes where its absolute value is above this many times its running median, and its first value."""
IN_A_ROW = 5
"""Steps in a row that must explode: a single bad patch is no explosion."""
WINDOW = 101
"""Steps that the running median is of."""
PATIENCE = 10
"""Steps in a row that may be skipped because of a loss or gradient that is not finite."""


class Watch:
    """What the losses of a training were lately; a part of its state, so that a resumed training is watched alike.

    The losses of an optimiser are watched by their sum: one term alone may begin at nothing, as an adversary does.
    Steps that explode do not count in the median.
    """

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}
        self._high: dict[str, int] = {}
        self._skipped = 0

    @property
    def since(self) -> int:
        """How many of the last steps are already suspicious: a state from before them is good."""
        return max([self._skipped, *self._high.values()])

    def fault(
        self,
        losses: Mapping[str, float],
        tensors: Iterable[tuple[str, Tensor]],
        *,
        skipped: bool,
        scaleless: Collection[str] = (),
    ) -> str:
        """What is wrong after a step; empty while the training may go on.

        Args:
            losses: of the step, by ``"<optimizer>/<term>"``.
            tensors: named weights and statistics after it.
            skipped: whether a loss or gradient was not finite, so that nothing was changed.
            scaleless: optimisers whose losses may grow (:attr:`~medgen.methods.base.Method.scaleless`).
        """
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped >= PATIENCE:
            return f"{PATIENCE} steps in a row had a loss or gradient that is not finite: {dict(losses)}"
        if skipped:
            return ""
        if name := first_not_finite(tensors):
            return f"'{name}' is not finite"
        totals: dict[str, float] = {}
        for name, value in losses.items():
            optimizer = name.partition("/")[0]
            if optimizer not in scaleless:
                totals[optimizer] = totals.get(optimizer, 0.0) + value
        for name, total in totals.items():
            if usual := self._explodes(name, abs(total)):
                return (
                    f"the loss of '{name}' was over {FACTOR:g} times its usual {usual:.3g} in {IN_A_ROW} steps in a "
                    f"row, at last {total:.3g}"
                )
        return ""

    def _explodes(self, name: str, value: float) -> float:
        """The median that a loss has been far above for some steps in a row; 0 while it has not."""
        recent = self._recent.setdefault(name, deque(maxlen=WINDOW))
        usual = max(median(recent) if recent else 0.0, self._first.setdefault(name, value))
        if usual and value > FACTOR * usual:
            self._high[name] = self._high.get(name, 0) + 1
            return usual if self._high[name] >= IN_A_ROW else 0.0
        self._high[name] = 0
        recent.append(value)
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        recent = {name: list(values) for name, values in self._recent.items()}
        return {"recent": recent, "first": dict(self._first), "high": dict(self._high), "skipped": self._skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        self._recent = {name: deque(values, maxlen=WINDOW) for name, values in state["recent"].items()}
        self._first, self._high, self._skipped = dict(state["first"]), dict(state["high"]), state["skipped"]


class Tensors:
    """Named weights and statistics of a method as they are at each step, without a walk through its modules.

    A walk takes as long as a hundredth of a step of a small network. Which modules there are is settled before the
    training begins, as the optimisers need it; their tensors are looked up anew each time.
    """

    def __init__(self, method: nn.Module) -> None:
        self._method, self._modules = method, list(method.named_modules())

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._modules:
            for held in (module._parameters, module._buffers):
                yield from ((f"{path}.{name}" if path else name, x) for name, x in held.items() if x is not None)

    def buffers(self) -> list[Tensor]:
        """The statistics alone."""
        return [x for _, module in self._modules for x in module._buffers.values() if x is not None]

    def require_training(self) -> None:
        """Bring the method back to training where a validation has left a part of it."""
        if not all(module.training for _, module in self._modules):
            self._method.train()
