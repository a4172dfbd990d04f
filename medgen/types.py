"""The few types that every room speaks of; importing them imports nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    Floats: TypeAlias = NDArray[np.float64]
else:
    Array = Floats = Any

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with what is done, how much there is, and what it is."""
Split: TypeAlias = Literal["train", "val", "test"]
SplitOrAll: TypeAlias = Literal["train", "val", "test", "all"]
Domain: TypeAlias = Literal["source", "target"]
Checkpoint: TypeAlias = Literal["last", "best"]
"""Weights of a run that has not ended: of its last checkpoint, or of its best validation so far."""
Engine: TypeAlias = Literal["torch", "onnx"]
"""What computes the networks of a prediction."""
Export: TypeAlias = Literal["bundle", "onnx", "torch", "slicer"]
"""What a trained model is exported as."""
