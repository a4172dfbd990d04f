"""From tissue fractions to the images a scanner stores: resolution, bias field, noise, gain, integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.phantom.artefacts import integers, non_uniformity, rician
from medgen.phantom.deformation import misalignment
from medgen.phantom.grid import Grid
from medgen.phantom.head.anatomy import Anatomy
from medgen.phantom.head.pathology import brain_mask
from medgen.phantom.head.sequences import PROTOCOLS, Protocol
from medgen.phantom.head.tissues import INDEX, NAMES, SILENT, TissueTable, nominal_tissues
from medgen.phantom.randomness import Stream, smooth_field
from medgen.phantom.susceptibility import dephasing, field_shift, phase_mask, shimmed
from medgen.types import Floats

LOWEST_HU = -1024  # what scanners store at least


@dataclass(frozen=True)
class Scanner:
    """One MR and one CT scanner.

    Attributes:
        noise: standard deviation of the MR noise as a fraction of white matter, in a 2 mm voxel.
        bias: intensity non-uniformity; 0.2 means 0.90 to 1.10 over the head (BrainWeb's "20 %").
        gains: factor on the stored intensities of each sequence.
        ct_noise: HU, in a 2 mm voxel.
        ct_width: full width at half maximum of the CT's resolution in mm.
        protocols: the sequences by name.
    """

    noise: float
    bias: float
    gains: dict[str, float]
    ct_noise: float
    ct_width: float
    protocols: Mapping[str, Protocol] = field(default_factory=lambda: PROTOCOLS)


_NOMINAL = {
    "source": Scanner(noise=0.03, bias=0.2, gains={}, ct_noise=10.0, ct_width=1.6),
    "target": Scanner(noise=0.04, bias=0.4, gains={}, ct_noise=10.0, ct_width=1.6),
}


def make_scanner(domain: str, stream: Stream) -> Scanner:
    """The scanner of a domain; its stream decides gain, noise and non-uniformity."""
    scanner = _NOMINAL[domain]
    generator = stream.generator("scanner")
    noise, bias, ct_noise = np.exp(0.1 * np.clip(generator.standard_normal(3), -2, 2))
    gains = {
        name: float(np.exp(0.2 * np.clip(stream.generator(f"gain {name}").standard_normal(), -2, 2)))
        for name in PROTOCOLS
    }
    return replace(
        scanner,
        noise=scanner.noise * noise,
        bias=scanner.bias * bias,
        gains=gains,
        ct_noise=scanner.ct_noise * ct_noise,
    )


def scan_mr(
    anatomy: Anatomy, tissues: TissueTable, scanner: Scanner, stream: Stream, sequences: tuple[str, ...]
) -> dict[str, NDArray[np.int16]]:
    """MR images of one head.

    Args:
        anatomy: the head.
        tissues: its tissue properties.
        scanner: where it lies.
        stream: the realisation's stream: bias field and noise.
        sequences: names in :data:`medgen.phantom.head.sequences.PROTOCOLS`.

    Returns:
        Image of each sequence (X, Y, Z), int16 >= 0, white matter at a few hundred.
    """
    protocols = {name: scanner.protocols[name] for name in sequences}
    signals = np.stack([protocol.sequence.signal(tissues) for protocol in protocols.values()])
    shape = anatomy.grid.shape
    kinds = len(anatomy.fractions)
    images = (signals[:, :kinds] @ anatomy.fractions.reshape(kinds, -1)).reshape(-1, *shape)
    shift = None
    if any(protocol.susceptible for protocol in protocols.values()):
        shift = _field(anatomy, tissues)
    common = smooth_field(stream.generator("bias"), anatomy.grid, 90.0)[0]
    result = {}
    for (name, protocol), image in zip(protocols.items(), images, strict=True):
        if protocol.susceptible and shift is not None:
            image = _susceptible(protocol, image, shift, anatomy.grid)
        image = _blur(image, protocol.voxel, anatomy.grid.spacing)
        own = smooth_field(stream.generator(f"bias {name}"), anatomy.grid, 90.0)[0]
        image *= non_uniformity(common + 0.5 * own, anatomy.head, scanner.bias)
        white = nominal_white(protocol)
        noise = scanner.noise * _averaging(anatomy.grid.spacing) * white
        noisy = rician(image, noise, stream.generator(f"noise {name}"))
        result[name] = integers(noisy * (protocol.white / white * scanner.gains[name]), 0)
    return result


def scan_ct(
    anatomy: Anatomy, tissues: TissueTable, scanner: Scanner, stream: Stream, moved: float = 0.0
) -> dict[str, NDArray[np.int16]]:
    """CT of one head in HU.

    Args:
        anatomy: the head.
        tissues: its tissue properties.
        scanner: where it lies.
        stream: the realisation's stream: noise and misalignment.
        moved: root mean square distance in mm by which the CT is off the MR.

    Returns:
        ``ct`` (X, Y, Z), int16 HU, -1024 or more; with ``moved`` also ``ct_exact``, the same scan with the same
        noise on the geometry of the MR.
    """
    spacing = anatomy.grid.spacing
    exact = _mix(anatomy, tissues.hounsfield)
    width = (scanner.ct_width,) * 3
    noise = ndimage.gaussian_filter(
        stream.generator("noise ct").standard_normal(exact.shape), 0.45, mode="wrap", truncate=3
    )
    noise *= scanner.ct_noise * _averaging(spacing) / noise.std() * _ct_noise_profile(anatomy)
    if not moved:
        return {"ct": integers(_blur(exact, width, spacing) + noise, LOWEST_HU)}
    displacement = misalignment(stream, anatomy.grid, anatomy.head, moved) / spacing
    index = np.indices(exact.shape) + displacement
    other = ndimage.map_coordinates(exact, index, order=3, mode="nearest")
    return {
        "ct": integers(_blur(other, width, spacing) + noise, LOWEST_HU),
        "ct_exact": integers(_blur(exact, width, spacing) + noise, LOWEST_HU),
    }


def nominal_white(protocol: Protocol) -> float:
    """Signal of white matter as tabulated, the yardstick of noise and intensity."""
    return float(protocol.sequence.signal(nominal_tissues())[INDEX["white"]])


def _mix(anatomy: Anatomy, values: Floats) -> Floats:
    kinds = len(anatomy.fractions)
    return (values[:kinds] @ anatomy.fractions.reshape(kinds, -1)).reshape(anatomy.grid.shape)


def _field(anatomy: Anatomy, tissues: TissueTable) -> Floats:
    """Shift of the field in ppm as the tissue that gives signal feels it.

    At a surface the field jumps within a voxel, but the spins are all on one side: air and bone do not count. The
    scanner has shimmed the brain.
    """
    spacing = anatomy.grid.spacing
    shift = field_shift(_mix(anatomy, tissues.susceptibility), spacing)
    silent = np.array([name in SILENT for name in NAMES], dtype=np.float64)
    weight = (1 - _mix(anatomy, silent)) ** 2 + 1e-4
    width = 1.6 / spacing
    smooth: Floats = ndimage.gaussian_filter(shift * weight, width, truncate=2.5)
    smooth /= ndimage.gaussian_filter(weight, width, truncate=2.5)
    return shimmed(smooth, spacing, brain_mask(anatomy))


def _susceptible(protocol: Protocol, image: Floats, shift: Floats, grid: Grid) -> Floats:
    echo = protocol.sequence.echo
    image = image * dephasing(shift, grid.spacing, echo, protocol.voxel)
    if protocol.susceptible == "phase":
        image = image * phase_mask(shift, image, grid.spacing, echo, protocol.high_pass)
    return image


def _blur(image: Floats, voxel: tuple[float, ...], spacing: float) -> Floats:
    """Blur to the acquired voxel where it is larger than the grid's, as the difference of two box variances."""
    for axis, extent in enumerate(voxel):
        sigma = np.sqrt(max(extent**2 - spacing**2, 0.0) / 12) / spacing
        if sigma > 0.1:
            image = ndimage.gaussian_filter1d(image, sigma, axis, mode="nearest", truncate=3)
    return image.copy() if image.base is not None else image


def _ct_noise_profile(anatomy: Anatomy) -> Floats:
    """Noise relative to the middle of the head, where the fewest photons arrive; about a third in the air around."""
    points, head = anatomy.grid.points()[:2], anatomy.head
    squared = sum((axis - axis[head].mean()) ** 2 for axis in points)
    return 0.3 + 0.7 * np.exp(-0.5 * np.asarray(squared) / 60.0**2)


def _averaging(spacing: float) -> float:
    """Noise relative to a 2 mm voxel: a coarser voxel averages more of the same scan; a finer one is scanned longer."""
    return min(1.0, float((2.0 / spacing) ** 1.5))
