"""Tissues of the male pelvis at 3 T and what three MR scans measure of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.phantom.randomness import Stream
from medgen.types import Floats


@dataclass(frozen=True)
class PelvicTissue:
    """Magnetic properties of one tissue.

    Attributes:
        t1: longitudinal relaxation time in ms.
        t2: transverse relaxation time in ms; of fat the one that a fast spin echo sees, which refocuses J-coupling.
        density: proton density relative to water, 0 to 1.
        adc: apparent diffusion coefficient in 1e-6 mm^2/s.
        variation: coefficient of variation of T2 between people; that of the ADC is two thirds of it.
        fat: suppressed in diffusion-weighted images.
    """

    t1: float
    t2: float
    density: float
    adc: float
    variation: float = 0.05
    fat: bool = False


# Sources stand in docs/explanation/prostate-phantom.md.
TISSUES: dict[str, PelvicTissue] = {
    "fat": PelvicTissue(371, 140, 0.88, 30, 0.08, fat=True),
    "muscle": PelvicTissue(1412, 37, 0.88, 1450),
    "fibrous": PelvicTissue(1200, 45, 0.80, 1050),
    "marrow": PelvicTissue(480, 110, 0.75, 300, 0.1, fat=True),
    "gas": PelvicTissue(1000, 1, 0.0, 1000, 0.0),
    "bone": PelvicTissue(1000, 1, 0.0, 1000, 0.0),
    "stool": PelvicTissue(900, 45, 0.45, 900, 0.15),
    "urine": PelvicTissue(3500, 900, 1.0, 3000, 0.02),
    "vessel": PelvicTissue(1900, 160, 0.95, 2100),
    "wall": PelvicTissue(1400, 68, 0.90, 1350),
    "vesicle": PelvicTissue(2200, 260, 0.97, 2000, 0.12),
    # Acini and ducts, full of fluid; the peripheral zone of some men is much darker than that of others.
    "peripheral": PelvicTissue(1700, 165, 0.95, 1750, 0.13),
    "septum": PelvicTissue(1450, 80, 0.88, 1250),
    "glandular": PelvicTissue(1650, 170, 0.94, 1700, 0.08),
    "stroma": PelvicTissue(1450, 68, 0.87, 1080, 0.07),
    # The dense part of stromal nodules, and what inflammation and atrophy make of the peripheral zone.
    "compact": PelvicTissue(1400, 60, 0.86, 850, 0.07),
    "inflamed": PelvicTissue(1500, 82, 0.90, 1120, 0.08),
    "focal": PelvicTissue(1450, 72, 0.89, 820, 0.08),
    # Solid cancer. Grades differ in how much of the place it takes.
    "tumour": PelvicTissue(1450, 74, 0.90, 640, 0.07),
}
NAMES: tuple[str, ...] = tuple(TISSUES)


@dataclass(frozen=True)
class Diffusion:
    """A diffusion-weighted spin echo with fat suppression: S = S0 exp(-b ADC). Times in ms, ``b`` in s/mm^2."""

    repetition: float
    echo: float
    b: float
    residual_fat: float = 0.04


@dataclass(frozen=True)
class Turbo:
    """A T2-weighted (turbo) spin echo: density (1 - e^(-TR/T1)) e^(-TE/T2). Times in ms."""

    repetition: float
    echo: float


T2W = Turbo(5000, 100)
LOW, MIDDLE, HIGH = Diffusion(3600, 63, 50), Diffusion(3600, 63, 800), Diffusion(3600, 63, 1400)


def signals(tissues: dict[str, PelvicTissue], scans: tuple[Turbo | Diffusion, ...]) -> dict[str, Floats]:
    """Signal of each tissue in each of ``scans``, (len(scans),), relative to fully relaxed water."""
    return {name: np.array([_signal(tissue, scan) for scan in scans]) for name, tissue in tissues.items()}


def person_tissues(stream: Stream) -> dict[str, PelvicTissue]:
    """The tissues of one person: every T1, T2 and ADC varies a little, cut at two standard deviations."""
    tissues = {}
    for name, tissue in TISSUES.items():
        draws = np.clip(stream.generator(f"tissue {name}").standard_normal(3), -2, 2)
        tissues[name] = PelvicTissue(
            t1=tissue.t1 * (1 + 0.05 * draws[0]),
            t2=tissue.t2 * (1 + tissue.variation * draws[1]),
            density=tissue.density,
            # Fluid makes both larger, so the two are correlated.
            adc=tissue.adc * (1 + 2 / 3 * tissue.variation * (0.6 * draws[1] + 0.8 * draws[2])),
            variation=tissue.variation,
            fat=tissue.fat,
        )
    return tissues


def _signal(tissue: PelvicTissue, scan: Turbo | Diffusion) -> float:
    relaxed = tissue.density * (1 - np.exp(-scan.repetition / tissue.t1)) * np.exp(-scan.echo / tissue.t2)
    if isinstance(scan, Diffusion):
        relaxed *= np.exp(-scan.b * tissue.adc * 1e-6) * (scan.residual_fat if tissue.fat else 1.0)
    return float(relaxed)
