"""Scanners drawn at random: every patient in one of their own, for models that must read images they never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medgen.phantom.head.acquisition import Scanner
from medgen.phantom.head.sequences import (
    PROTOCOLS,
    GradientEcho,
    InversionGradientEcho,
    Sequence,
    SpinEcho,
)
from medgen.phantom.randomness import Stream

NOISE, BIAS = (0.005, 0.08), (0.05, 0.6)
"""Standard deviation as a fraction of white matter, and non-uniformity; the scanner of the source has 0.03 and 0.2."""
SHARPNESS_MM = (0.8, 5.0)
"""Edge of a cubic voxel that the image is blurred to; in one of two scanners, one axis is up to 4 times as thick."""


def varied_scanner(scanner: Scanner, stream: Stream) -> Scanner:
    """Another MR scanner: contrast of every sequence, noise, non-uniformity and sharpness at random; the CT's stays.

    Args:
        scanner: what is varied.
        stream: of this patient's scanner.

    Returns:
        A scanner with protocols of its own. T1 is one of MPRAGE (half of them), spoiled gradient echo and spin echo;
        of the others, the times are changed by up to a third.
    """
    generator = stream.generator("varied")
    noise, bias = (draw_log_uniform(generator, *limits) for limits in (NOISE, BIAS))
    voxel = draw_voxel(generator)
    protocols = {}
    for name, protocol in PROTOCOLS.items():
        own = stream.generator(f"sequence {name}")
        sequence = draw_t1(own) if name == "t1" else _other(protocol.sequence, own)
        protocols[name] = replace(protocol, sequence=sequence, voxel=voxel)
    return replace(scanner, noise=noise, bias=bias, protocols=protocols)


def draw_voxel(generator: np.random.Generator, thickest: float = 4.0) -> tuple[float, float, float]:
    """Extent of an acquired voxel in mm along X, Y and Z, see :data:`SHARPNESS_MM`; one is up to ``thickest`` times."""
    voxel = [draw_log_uniform(generator, *SHARPNESS_MM)] * 3
    if generator.random() < 0.5:
        axis = int(generator.integers(3))
        voxel[axis] = min(SHARPNESS_MM[1], voxel[axis] * draw_log_uniform(generator, 1.0, thickest))
    return voxel[0], voxel[1], voxel[2]


def draw_t1(generator: np.random.Generator) -> Sequence:
    """A T1-weighted sequence of one of three kinds."""
    kind = generator.random()
    if kind < 0.5:
        inversion, flip = generator.uniform(850, 1200), generator.uniform(6, 12)
        return InversionGradientEcho(generator.uniform(2000, 2600), inversion, generator.uniform(2, 5), flip, 7, 176)
    if kind < 0.8:
        return GradientEcho(generator.uniform(8, 35), generator.uniform(2, 6), generator.uniform(18, 40))
    return SpinEcho(generator.uniform(350, 800), generator.uniform(8, 20))


def _other(sequence: Sequence, generator: np.random.Generator) -> Sequence:
    """The same kind with other times; the null of the fluid follows the repetition time."""
    repetition, echo = (float(np.exp(generator.uniform(-0.3, 0.3))) for _ in range(2))
    repetition *= sequence.repetition
    return replace(sequence, repetition=repetition, echo=min(sequence.echo * echo, 0.9 * repetition))


def draw_log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, uniform in the logarithm."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
