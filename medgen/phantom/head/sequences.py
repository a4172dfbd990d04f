"""MR sequences in closed form: tissue properties in, signal of each tissue out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.phantom.head.tissues import TISSUES, TissueTable
from medgen.types import Floats


@dataclass(frozen=True)
class SpinEcho:
    """Spin echo; with ``invert`` the fluid is nulled by an inversion (FLAIR). Times in ms.

    ``null`` is the inversion time as a multiple of the one that nulls fluid; at 1 fluid gives no signal.

    Signal: density (1 - e^(-TR/T1)) e^(-TE/T2), with inversion density |1 - 2 e^(-TI/T1) + e^(-TR/T1)| e^(-TE/T2).
    """

    repetition: float
    echo: float
    invert: bool = False
    null: float = 1.0

    def signal(self, tissues: TissueTable) -> Floats:
        """Signal of each tissue, (K,), arbitrary units >= 0."""
        recovery = 1 - np.exp(-self.repetition / tissues.t1)
        if self.invert:
            delay = self.null * fluid_null(self.repetition)
            recovery = np.abs(1 - 2 * np.exp(-delay / tissues.t1) + np.exp(-self.repetition / tissues.t1))
        signal: Floats = tissues.density * recovery * np.exp(-self.echo / tissues.t2)
        return signal


@dataclass(frozen=True)
class GradientEcho:
    """Spoiled gradient echo (FLASH) with the flip angle in degrees; times in ms.

    Signal: density sin(a) (1 - E1) / (1 - cos(a) E1) e^(-TE/T2*), E1 = e^(-TR/T1). The dephasing by the field between
    tissues comes on top, see :mod:`medgen.phantom.susceptibility`.
    """

    repetition: float
    echo: float
    flip: float

    def signal(self, tissues: TissueTable) -> Floats:
        """Signal of each tissue, (K,), arbitrary units >= 0."""
        angle = np.deg2rad(self.flip)
        remaining = np.exp(-self.repetition / tissues.t1)
        steady = np.sin(angle) * (1 - remaining) / (1 - np.cos(angle) * remaining)
        signal: Floats = tissues.density * steady * np.exp(-self.echo / tissues.t2_star)
        return signal


@dataclass(frozen=True)
class InversionGradientEcho:
    """MPRAGE: inversion, then a train of low flip angles; times in ms, flip in degrees.

    The steady state over one cycle (inversion, delay, train of ``pulses`` every ``pulse_spacing``, recovery) is solved
    exactly (Deichmann et al., NeuroImage 12:112, 2000); the signal is that of the pulse in the middle of the train.
    """

    repetition: float
    inversion: float
    echo: float
    flip: float
    pulse_spacing: float
    pulses: int

    def signal(self, tissues: TissueTable) -> Floats:
        """Signal of each tissue, (K,), arbitrary units >= 0."""
        angle, spacing = np.deg2rad(self.flip), self.pulse_spacing
        train = self.pulses * spacing
        before = np.exp(-(self.inversion - train / 2) / tissues.t1)
        after = np.exp(-(self.repetition - self.inversion - train / 2) / tissues.t1)
        # During the train the magnetisation goes to `driven` with the shorter time constant of Look and Locker.
        decay = np.exp(-spacing / tissues.t1) * np.cos(angle)
        driven = (1 - np.exp(-spacing / tissues.t1)) / (1 - decay)
        whole, half = decay**self.pulses, decay ** (self.pulses / 2)
        # Each step is affine in the magnetisation, end = offset + slope * start; the cycle closes on itself.
        offset = 1 - after + after * (driven * (1 - whole) + whole * (1 - before))
        end = offset / (1 + after * whole * before)
        start = 1 - (1 + end) * before
        middle = driven + (start - driven) * half
        decay_to_echo = np.exp(-self.echo / tissues.t2_star)
        signal: Floats = np.abs(tissues.density * np.sin(angle) * middle * decay_to_echo)
        return signal


@dataclass(frozen=True)
class DrawnContrast:
    """A sequence that exists on no scanner: the brightness of each tissue as it was drawn, (K,) in [0, 1].

    Its times mean nothing; ``echo`` is 0, so that no signal is lost.
    """

    values: tuple[float, ...]
    repetition: float = 0.0
    echo: float = 0.0

    def signal(self, tissues: TissueTable) -> Floats:
        """The values, whatever the properties of the tissues."""
        return np.array(self.values)


Sequence = SpinEcho | GradientEcho | InversionGradientEcho | DrawnContrast


def fluid_null(repetition: float, fluid_t1: float = TISSUES["csf"].t1) -> float:
    """Inversion time in ms at which fluid gives no signal: TI = T1 ln(2 / (1 + e^(-TR/T1))).

    >>> round(fluid_null(9000.0))
    2481
    """
    return float(fluid_t1 * np.log(2 / (1 + np.exp(-repetition / fluid_t1))))


@dataclass(frozen=True)
class Protocol:
    """One MR scan: what is measured and how sharp.

    Attributes:
        sequence: the contrast.
        white: value of nominal white matter before the scanner's gain, in units of the stored image.
        voxel: in-plane and through-plane extent of the acquired voxel in mm (X, Y, Z).
        susceptible: "" for a spin echo, "magnitude" for dephasing, "phase" for a susceptibility-weighted image.
        high_pass: cut-off of the phase filter of a susceptibility-weighted image in mm.
    """

    sequence: Sequence
    white: float
    voxel: tuple[float, float, float]
    susceptible: str = ""
    high_pass: float = 20.0


PROTOCOLS: dict[str, Protocol] = {
    "t1": Protocol(InversionGradientEcho(2300, 1050, 3, 9, 7, 176), 130, (1.0, 1.0, 1.0)),
    "t2": Protocol(SpinEcho(6000, 100), 80, (0.9, 0.9, 4.0)),
    "pd": Protocol(SpinEcho(3000, 15), 120, (0.9, 0.9, 3.0)),
    "flair": Protocol(SpinEcho(9000, 110, invert=True), 110, (1.2, 1.2, 5.0)),
    "ge": Protocol(GradientEcho(650, 20, 20), 115, (1.2, 1.2, 4.0), "magnitude"),
    "swi": Protocol(GradientEcho(28, 20, 25), 115, (0.8, 0.8, 2.0), "phase"),
}
DOMAINS: dict[str, tuple[str, ...]] = {
    "source": ("t1", "t2", "pd", "flair", "ge"),
    "target": ("t1", "t2", "pd", "flair", "swi"),
}
