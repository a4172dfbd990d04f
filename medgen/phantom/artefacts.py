"""What every scanner adds to a signal: a receive profile, noise, integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgen.types import Floats


def non_uniformity(field: Floats, head: NDArray[np.bool_], strength: float) -> Floats:
    """Factor around 1 over the head: its largest deviation is half of ``strength``; either sign is as likely."""
    centred = field - field[head].mean()
    factor: Floats = 1 + np.clip(centred / np.abs(centred[head]).max(), -1.5, 1.5) * (strength / 2)
    return factor


def rician(image: Floats, sigma: float, generator: np.random.Generator) -> Floats:
    """Magnitude of the signal with independent normal noise in both channels."""
    # Single precision halves the time of the draw; the sum is double, so rounding does not depend on the machine.
    real = image + sigma * generator.standard_normal(image.shape, np.float32).astype(np.float64)
    imaginary = sigma * generator.standard_normal(image.shape, np.float32).astype(np.float64)
    magnitude: Floats = np.sqrt(real * real + imaginary * imaginary)
    return magnitude


def integers(image: Floats, lowest: int) -> NDArray[np.int16]:
    """Rounded, not below ``lowest``, as scanners store them."""
    return np.clip(np.rint(image), lowest, 32767).astype(np.int16)
