"""What tissue does to the main field, and what that does to a gradient echo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from medgen.types import Floats

FIELD = 3.0  # tesla, along Z
GYROMAGNETIC = 42.577  # MHz per tesla
AIR = 9.4  # ppm relative to water; what surrounds the head
_PAD = 16  # mm of air around the field of view, so that the periodic Fourier transform does not wrap around


def field_shift(susceptibility: Floats, spacing: float) -> Floats:
    """Shift of the main field along Z by convolution with a dipole.

    In k-space the shift is (1/3 - kz^2 / k^2) times the susceptibility (Salomir et al. 2003; Marques and Bowtell 2005).
    The head continues below the field of view, so the lowest slice is repeated there.

    Args:
        susceptibility: (X, Y, Z) in ppm relative to water.
        spacing: mm.

    Returns:
        (X, Y, Z) shift in ppm of the main field.
    """
    pad = round(_PAD / spacing)
    source = np.pad(susceptibility - AIR, ((pad, pad), (pad, pad), (0, pad)))
    source = np.pad(source, ((0, 0), (0, 0), (2 * pad, 0)), mode="edge")
    shape = [fft.next_fast_len(size, real=True) for size in source.shape]
    squares = [fft.fftfreq(size) ** 2 for size in shape[:2]]
    vertical = fft.rfftfreq(shape[2]) ** 2
    total = squares[0][:, None, None] + squares[1][None, :, None] + vertical
    total[0, 0, 0] = 1.0
    kernel = 1 / 3 - vertical / total
    kernel[0, 0, 0] = 0.0
    shift = fft.irfftn(fft.rfftn(source, shape) * kernel, shape)
    x, y, z = susceptibility.shape
    inside: Floats = shift[pad : pad + x, pad : pad + y, 2 * pad : 2 * pad + z]
    return inside


def dephasing(shift: Floats, spacing: float, echo: float, voxel: tuple[float, float, float]) -> Floats:
    """Signal that is left when spins in one acquired voxel turn at different speeds.

    Product over the axes of sinc(d / 2 pi), d the phase difference across the voxel in radians.

    Args:
        shift: (X, Y, Z) ppm.
        spacing: mm.
        echo: echo time in ms.
        voxel: extent of the acquired voxel in mm.

    Returns:
        Factor in [0, 1], (X, Y, Z).
    """
    cycles = GYROMAGNETIC * FIELD * echo * 1e-3  # turns per ppm
    left = np.ones_like(shift)
    for axis, extent in enumerate(voxel):
        turns = np.gradient(shift, spacing, axis=axis) * (cycles * extent)
        # Beyond one full turn the sinc only ripples; nothing coherent is left.
        left *= np.sinc(np.clip(turns, -1, 1))
    return left


def shimmed(shift: Floats, spacing: float, inside: NDArray[np.bool_]) -> Floats:
    """The shift of the field less what the shim coils take away: its solid harmonics of order 0 to 2.

    Args:
        shift: (X, Y, Z) ppm.
        spacing: mm.
        inside: (X, Y, Z) voxels over which the scanner shims by least squares.

    Returns:
        (X, Y, Z) ppm.
    """
    x, y, z = spacing / 100 * (np.indices(shift.shape) - np.argwhere(inside).mean(0).reshape(3, 1, 1, 1))
    terms = np.stack([np.ones_like(x), x, y, z, x * y, y * z, z * x, x**2 - y**2, 2 * z**2 - x**2 - y**2])
    currents = np.linalg.lstsq(terms[:, inside].T, shift[inside], rcond=None)[0]
    left: Floats = shift - np.tensordot(currents, terms, 1)
    return left


def phase_mask(shift: Floats, magnitude: Floats, spacing: float, echo: float, cutoff: float, power: int = 4) -> Floats:
    """Phase mask of susceptibility-weighted imaging: high-passed phase, applied ``power`` times (Haacke 2004).

    The high-pass is homodyne: the image is divided by its low-pass, a Gaussian in k-space that is 1/e at one turn in
    ``cutoff`` mm. What varies over longer distances leaves the phase, at any size of the voxel. Air gives no signal,
    so the low-pass does not see its phase.

    Args:
        shift: (X, Y, Z) ppm.
        magnitude: (X, Y, Z) >= 0, of the image whose phase it is.
        spacing: mm.
        echo: echo time in ms.
        cutoff: of the high-pass in mm.
        power: how often the mask is multiplied.

    Returns:
        Factor in [0, 1], (X, Y, Z), small where the phase leads (veins, blood, air).
    """
    signal = magnitude * np.exp(2j * np.pi * GYROMAGNETIC * FIELD * echo * 1e-3 * shift)
    spectrum = fft.fftn(signal)
    for axis, size in enumerate(shift.shape):
        window = np.exp(-((fft.fftfreq(size, spacing) * cutoff) ** 2))
        spectrum *= window.reshape([-1 if other == axis else 1 for other in range(3)])
    phase = np.angle(signal * np.conj(fft.ifftn(spectrum)))
    mask: Floats = np.clip(1 - np.clip(phase, 0, None) / np.pi, 0, 1) ** power
    return mask
