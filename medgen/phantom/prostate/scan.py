"""From one person to T2W, ADC and high-b images: resolution, coil, distortion, noise, resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from medgen.phantom.artefacts import integers, non_uniformity, rician
from medgen.phantom.grid import SliceGrid
from medgen.phantom.prostate.anatomy import EXTENT, Pelvis, Space
from medgen.phantom.prostate.lesions import Findings
from medgen.phantom.prostate.painting import focus_part, paint
from medgen.phantom.prostate.tissues import HIGH, LOW, MIDDLE, NAMES, T2W, person_tissues, signals
from medgen.phantom.randomness import Stream, smooth_field
from medgen.types import Floats

DIFFUSION_SPACING = (2.0, 2.0, 3.0)
AGGRESSIVE = 2  # the lowest ISUP grade group that is

_NOISE_T2W = 0.016  # in a voxel of 0.5 x 0.5 x 3 mm, relative to fully relaxed water, which has 1
_NOISE_DIFFUSION = 0.0062  # in a voxel of 2 x 2 x 3 mm
# ADC and high b are 0 where the signals at b = 800 and b = 50 are below so many times the noise.
_MASKED, _BRIGHT = 7.0, 55.0
_NON_UNIFORMITY = 0.25
_SHIFT_PER_PPM = 4.0  # mm along the phase-encoding direction; a readout-segmented echo-planar image at 3 T
_LARGEST_SHIFT = 5.0  # mm
_AIR = 9.4  # ppm relative to tissue
_SMOOTH = 4.0  # mm


@dataclass(frozen=True)
class Streams:
    """The three sources of chance of one examination."""

    subject: Stream
    scanner: Stream
    realisation: Stream


def fine(grid: SliceGrid, in_plane: float | None = None) -> tuple[SliceGrid, tuple[int, int, int]]:
    """A grid with parts of each voxel, and how many there are along each axis: thick slices average what they cut."""
    counts = [1 if in_plane is None else max(1, round(size / in_plane)) for size in grid.spacing[:2]]
    counts.append(max(1, round(grid.spacing[2] / 1.5)))
    spacing = tuple(size / count for size, count in zip(grid.spacing, counts, strict=True))
    x, y, z = (size * step for size, step in zip(grid.shape, grid.spacing, strict=True))
    return SliceGrid((x, y, z), (spacing[0], spacing[1], spacing[2])), (counts[0], counts[1], counts[2])


def scan_t2w(grid: SliceGrid, pelvis: Pelvis, findings: Findings, streams: Streams) -> dict[str, NDArray[np.integer]]:
    """The T2-weighted image and what is true on its grid.

    Args:
        grid: voxels of the image.
        pelvis: the person.
        findings: what is in the gland.
        streams: chance.

    Returns:
        ``t2w`` int16 >= 0; ``label`` uint8: 1 peripheral zone, 2 transition zone, 3 aggressive tumour; ``lesion``
        uint8: ISUP grade group; ``mask`` uint8: within 8 mm of the gland. All (X, Y, Z).
    """
    parts, counts = fine(grid)
    space = Space(parts, pelvis, streams.subject)
    image = _averaged(paint(space, findings, signals(person_tissues(streams.subject), (T2W,)))[0], counts)
    generator = streams.realisation.generator("t2w")
    image *= _coil(grid, streams)
    # A coarser voxel averages more of the same scan.
    noise = _NOISE_T2W * np.sqrt(0.75 / np.prod(grid.spacing))
    gain = 620.0 * _gain(streams, "t2w")
    t2w = integers(rician(image, noise, generator) * gain, 0)
    return {"t2w": t2w, **_truth(space, findings, counts)}


def scan_diffusion(pelvis: Pelvis, findings: Findings, streams: Streams) -> tuple[SliceGrid, dict[str, Floats]]:
    """ADC map and high-b image on the grid they are acquired on.

    The signals at b = 50, 800 and 1400 s/mm^2 are shifted by the field of the rectum's gas, averaged over the voxel and
    given noise; the ADC comes from the first two as on a scanner: ln(S50 / S800) / 750.

    Args:
        pelvis: the person.
        findings: what is in the gland.
        streams: chance.

    Returns:
        The grid, 2 x 2 x 3 mm, and ``adc`` in 1e-6 mm^2/s (1 to 4000) and ``hbv``, (X, Y, Z); both are 0 where there is
        next to no signal.
    """
    grid = SliceGrid(EXTENT, DIFFUSION_SPACING)
    parts, counts = fine(grid, in_plane=1.0)
    space = Space(parts, pelvis, streams.subject)
    values = signals(person_tissues(streams.subject), (LOW, MIDDLE, HIGH))
    gas = {name: float(name == "gas") for name in NAMES}
    images = paint(space, findings, {name: np.append(values[name], gas[name]) for name in NAMES})
    shift = distortion(images[3], space, streams)
    coil = _coil(grid, streams)
    low, middle, high = (
        rician(coil * _averaged(_shifted(image, shift, parts.spacing[1]), counts), noise, generator)
        for image, noise, generator in (
            (images[0], _NOISE_DIFFUSION, streams.realisation.generator("b50")),
            (images[1], _NOISE_DIFFUSION, streams.realisation.generator("b800")),
            (images[2], 0.9 * _NOISE_DIFFUSION, streams.realisation.generator("b1400")),
        )
    )
    adc = np.log(np.maximum(low, 1e-6) / np.maximum(middle, 1e-6)) / (MIDDLE.b - LOW.b) * 1e6
    # Urine has hardly any signal left at b = 800, but is no background.
    seen = (middle > _MASKED * _NOISE_DIFFUSION) | (low > _BRIGHT * _NOISE_DIFFUSION)
    gain = 420.0 * _gain(streams, "hbv")
    return grid, {"adc": np.where(seen, np.clip(adc, 1, 4000), 0.0), "hbv": np.where(seen, high * gain, 0.0)}


def distortion(gas: Floats, space: Space, streams: Streams) -> Floats:
    """Displacement along Y in mm of the diffusion-weighted images: the field of the gas and what shimming leaves.

    Args:
        gas: part of each voxel that holds gas, (X, Y, Z).
        space: the person on the same grid.
        streams: chance.

    Returns:
        (X, Y, Z), at most a few mm.
    """
    rest = 0.4 * smooth_field(streams.realisation.generator("shim"), space.grid, 45.0)[0]
    shift = _SHIFT_PER_PPM * gas_field(gas, space.grid.spacing) + rest
    limited: Floats = _LARGEST_SHIFT * np.tanh(shift / _LARGEST_SHIFT)
    return limited


def gas_field(gas: Floats, spacing: tuple[float, float, float]) -> Floats:
    """Shift of the main field, which is along Z, around gas in tissue.

    The susceptibility times the dipole kernel 1/3 - kz^2/k^2 in k-space (Marques and Bowtell 2005), smoothed over 4 mm
    because the spins that feel it are outside the gas.

    Args:
        gas: part of each voxel that holds gas, (X, Y, Z).
        spacing: mm.

    Returns:
        (X, Y, Z) in ppm.
    """
    # Twice the box: the transform is periodic, and a field reaches far.
    shape = [fft.next_fast_len(2 * size, real=True) for size in gas.shape]
    waves = [fft.fftfreq(shape[0], spacing[0]), fft.fftfreq(shape[1], spacing[1]), fft.rfftfreq(shape[2], spacing[2])]
    squares = np.meshgrid(*(wave**2 for wave in waves), indexing="ij", sparse=True)
    total = squares[0] + squares[1] + squares[2]
    total[0, 0, 0] = 1.0
    kernel = (1 / 3 - squares[2] / total) * np.exp(-2 * (np.pi * _SMOOTH) ** 2 * total)
    kernel[0, 0, 0] = 0.0
    field: Floats = fft.irfftn(fft.rfftn(_AIR * gas, shape) * kernel, shape)
    return field[tuple(slice(0, size) for size in gas.shape)]


def resampled(image: Floats, source: SliceGrid, target: SliceGrid) -> Floats:
    """``image`` on ``source`` interpolated linearly to ``target``; the edge is repeated."""
    for axis in range(3):
        position = (target.axis(axis) - source.axis(axis)[0]) / source.spacing[axis]
        position = np.clip(position, 0, source.shape[axis] - 1)
        first = np.minimum(position.astype(int), max(source.shape[axis] - 2, 0))
        second = np.minimum(first + 1, source.shape[axis] - 1)
        weight = (position - first).reshape([-1 if other == axis else 1 for other in range(3)])
        image = np.take(image, first, axis) * (1 - weight) + np.take(image, second, axis) * weight
    return image


def _truth(space: Space, findings: Findings, counts: tuple[int, int, int]) -> dict[str, NDArray[np.integer]]:
    shape = space.grid.shape
    grades, strength = np.zeros(_coarse(shape, counts), np.uint8), np.full(_coarse(shape, counts), 0.5)
    width = float(np.mean(space.grid.spacing[:2]))
    for focus in findings.tumours:
        part, _, box = focus_part(space, focus, width)
        whole = np.zeros(shape)
        whole[box] = part
        cover = _averaged(whole, counts)
        # The larger part decides where two touch; a tumour between two thick slices still gets its voxels.
        wins = cover > np.minimum(strength, 0.8 * cover.max())
        grades[wins], strength[wins] = focus.grade, cover[wins]
    gland, transition = _averaged(space.gland, counts), _averaged(space.transition, counts)
    label = np.where(transition < 0, 2, 1) * (gland < 0)
    label[grades >= AGGRESSIVE] = 3
    return {"label": label.astype(np.uint8), "lesion": grades, "mask": (gland < 8.0).astype(np.uint8)}


def _coarse(shape: tuple[int, int, int], counts: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[0] // counts[0], shape[1] // counts[1], shape[2] // counts[2]


def _averaged(image: Floats, counts: tuple[int, int, int]) -> Floats:
    """Mean over blocks of ``counts`` voxels."""
    x, y, z = _coarse((image.shape[0], image.shape[1], image.shape[2]), counts)
    mean: Floats = image.reshape(x, counts[0], y, counts[1], z, counts[2]).mean(axis=(1, 3, 5))
    return mean


def _shifted(image: Floats, shift: Floats, spacing: float) -> Floats:
    """``image`` moved by ``shift`` mm along Y: signal piles up where the shift squeezes it, so none is lost."""
    count = image.shape[1]
    position = np.clip(np.arange(count)[None, :, None] - shift / spacing, 0, count - 1)
    first = np.minimum(position.astype(np.intp), count - 2)
    weight = position - first
    moved = np.take_along_axis(image, first, 1) * (1 - weight) + np.take_along_axis(image, first + 1, 1) * weight
    squeezed: Floats = moved * np.clip(1 - np.gradient(shift, spacing, axis=1), 0.2, 2.5)
    return squeezed


def _coil(grid: SliceGrid, streams: Streams) -> Floats:
    """Sensitivity of an array around the pelvis, the rest of it that the scanner's correction leaves: 1 on average."""
    _, y, _ = np.meshgrid(*(grid.axis(axis) for axis in range(3)), indexing="ij", sparse=True)
    own = smooth_field(streams.realisation.generator("bias"), grid, 90.0)[0]
    fixed = smooth_field(streams.scanner.generator("coil"), grid, 90.0)[0]
    factor = non_uniformity(own + fixed, np.ones(grid.shape, bool), _NON_UNIFORMITY)
    return factor * (0.94 + 0.18 * (y / 48.0) ** 2)


def _gain(streams: Streams, name: str) -> float:
    """Factor on the stored intensities: scanners scale every examination on their own."""
    draw = np.clip(streams.realisation.generator(f"gain {name}").standard_normal(), -2, 2)
    return float(np.exp(0.2 * draw))
