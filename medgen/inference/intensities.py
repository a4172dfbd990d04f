"""Borders between tissues by the scan's own intensities, where a network says roughly where each of them lies.

A network that was trained on a coarse grid knows where cortex and ventricles are, but not the course of their borders;
the scan does. Each class is a mixture of Gaussians in the intensities of this scan, under a smooth gain, and the
network's probability is the prior of each voxel: the model of Ashburner & Friston (Unified segmentation, NeuroImage
26:839, 2005), without their registration. Neighbouring voxels then draw each other into one class (a Markov random
field in mean-field form, as in Van Leemput et al., IEEE TMI 18:897, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from medgen.types import Floats

_VOXELS, _ROUNDS, _ORDER, _SWEEPS = 50_000, 3, 3, 4
"""Voxels that the mixture is fitted to and its rounds, order of the polynomial of the gain, rounds of the field. The
rounds are few since with more of them tissues change places where the network is wrong (tried: 3, 6, 8 and 30)."""
_FLOOR = 0.02
"""Least prior of a class, since the network may be wrong."""
_TEMPER = 0.5
"""Exponent of the network's probabilities: it is too sure of itself on scans unlike its training."""
_PULL = 1.5
"""Of the six neighbours together, on the logarithm of the odds."""
_SUREST = 0.3
"""Share of a class's voxels, those with the highest prior, at which its Gaussians begin."""
_LEAST_SPREAD = 0.02
"""Standard deviation of a Gaussian relative to the median of the brain, below which none falls."""
_GAIN = (0.3, 3.0)


@dataclass(frozen=True)
class Mixture:
    """What was fitted to one scan.

    Attributes:
        means: of each class, of each of its Gaussians, in medians of the region.
        spreads: their standard deviations.
        weights: of the Gaussians of a class, adding up to 1.
        gain: coefficients of the polynomial that multiplies the means.
    """

    means: list[Floats]
    spreads: list[Floats]
    weights: list[Floats]
    gain: Floats

    def likelihoods(self, values: Floats) -> list[Floats]:
        """Of each class, (Gaussians, N), for values (N) without the gain."""
        found = []
        for mean, spread, weight in zip(self.means, self.spreads, self.weights, strict=True):
            away = (values - mean[:, None]) / spread[:, None]
            found.append(weight[:, None] * np.exp(-0.5 * away**2) / spread[:, None])
        return found


def by_intensities(
    image: NDArray[np.float32], shares: NDArray[np.float32], gaussians: Sequence[int]
) -> NDArray[np.float32]:
    """Probabilities of the classes given the intensities; what they have together at a voxel stays as it is.

    Args:
        image: (X, Y, Z) one scan in any unit, finite.
        shares: (K, X, Y, Z) in [0, 1], the network's probabilities of the K classes on that grid; they may add up to
            less than 1. Voxels where they have less than half stay as they are.
        gaussians: how many each class has; 2 for fluid, which is partly mixed with tissue.

    Returns:
        (K, X, Y, Z); unchanged where the classes together have fewer than 1000 voxels, or all of them one intensity.
    """
    total = shares.sum(axis=0)
    region = total > 0.5
    values = image[region].astype(np.float64)
    if values.size < 1000 or not (middle := float(np.median(values))) or not values.std():
        return shares
    values /= middle
    prior = (shares[:, region] / total[region]).astype(np.float64) ** _TEMPER + _FLOOR
    prior /= prior.sum(axis=0)
    where = [2.0 * axis / max(1, side - 1) - 1 for axis, side in zip(np.nonzero(region), image.shape, strict=True)]
    chosen = np.random.default_rng(0).permutation(values.size)[:_VOXELS]
    basis = _polynomials([axis[chosen] for axis in where])
    fitted = _fit(values[chosen], prior[:, chosen], basis, gaussians)
    likelihood = np.empty_like(prior)
    for start in range(0, values.size, 1_000_000):  # the polynomials of all voxels at once would take gigabytes
        part = slice(start, start + 1_000_000)
        gain = np.clip(1 + _polynomials([axis[part] for axis in where]) @ fitted.gain, *_GAIN)
        likelihood[:, part] = [each.sum(axis=0) for each in fitted.likelihoods(values[part] / gain)]
    found = shares.copy()
    found[:, region] = _with_neighbours(likelihood + 1e-12, prior, region) * total[region]
    return found


def _fit(values: Floats, prior: Floats, basis: Floats, gaussians: Sequence[int]) -> Mixture:
    """Expectation maximisation; the gain is solved for exactly in each round, by weighted least squares."""
    mixture = _begun(values, prior, gaussians, basis.shape[1])
    for number in range(_ROUNDS):
        gain = np.clip(1 + basis @ mixture.gain, *_GAIN)
        likelihoods = mixture.likelihoods(values / gain)
        joint = [each * share for each, share in zip(likelihoods, prior, strict=True)]
        sum_of_all = np.sum([each.sum(axis=0) for each in joint], axis=0) + 1e-300
        shares = [each / sum_of_all for each in joint]
        mixture = _maximised(values / gain, shares, mixture.gain)
        if number:  # after the tissues have found their places
            mixture = Mixture(mixture.means, mixture.spreads, mixture.weights, _gain(values, shares, mixture, basis))
    return mixture


def _begun(values: Floats, prior: Floats, gaussians: Sequence[int], coefficients: int) -> Mixture:
    """Gaussians where the network is surest: quantiles of those voxels, which a few wrong ones do not move."""
    means, spreads, weights = [], [], []
    for share, count in zip(prior, gaussians, strict=True):
        surest = np.sort(values[share >= np.quantile(share, 1 - max(_SUREST * share.mean(), 20 / share.size))])
        quarters = np.array([np.quantile(each, (0.25, 0.5, 0.75)) for each in np.array_split(surest, count)])
        means.append(quarters[:, 1])
        spreads.append((quarters[:, 2] - quarters[:, 0]) / 1.35 + _LEAST_SPREAD)
        weights.append(np.full(count, 1 / count))
    return Mixture(means, spreads, weights, np.zeros(coefficients))


def _maximised(values: Floats, shares: Sequence[Floats], gain: Floats) -> Mixture:
    means, spreads, weights = [], [], []
    for share in shares:
        mass = share.sum(axis=1) + 1e-9
        mean = share @ values / mass
        means.append(mean)
        spreads.append(np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1) / mass) + _LEAST_SPREAD)
        weights.append(mass / mass.sum())
    return Mixture(means, spreads, weights, gain)


def _gain(values: Floats, shares: Sequence[Floats], mixture: Mixture, basis: Floats) -> Floats:
    """Coefficients c for which values are nearest to means x (1 + basis c), each by its own precision."""
    curvature, slope = np.zeros_like(values), np.zeros_like(values)
    for share, mean, spread in zip(shares, mixture.means, mixture.spreads, strict=True):
        precise = share / spread[:, None] ** 2
        curvature += (precise * mean[:, None] ** 2).sum(axis=0)
        slope += (precise * mean[:, None]).sum(axis=0) * values - (precise * mean[:, None] ** 2).sum(axis=0)
    matrix: Floats = basis.T @ (basis * curvature[:, None])
    steady = 1e-3 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    return np.asarray(np.linalg.solve(matrix + steady, basis.T @ slope), np.float64)


def _polynomials(where: Sequence[Floats]) -> Floats:
    """Legendre polynomials up to :data:`_ORDER`, without the constant, at places in [-1, 1]; (N, coefficients)."""
    single = [legendre.legvander(axis, _ORDER) for axis in where]
    orders = [(i, j, k) for i in range(_ORDER + 1) for j in range(_ORDER + 1 - i) for k in range(_ORDER + 1 - i - j)]
    return np.stack([single[0][:, i] * single[1][:, j] * single[2][:, k] for i, j, k in orders[1:]], axis=1)


def _with_neighbours(likelihood: Floats, prior: Floats, region: NDArray[np.bool_]) -> Floats:
    joint = likelihood * prior
    found: Floats = joint / joint.sum(axis=0)
    sides = [slice(min(each), max(each) + 1) for each in np.nonzero(region)]
    inside = region[tuple(sides)]
    volume = np.zeros([side + 2 for side in inside.shape], np.float32)  # with a rim in which there is nothing
    middle = volume[1:-1, 1:-1, 1:-1]
    for _ in range(_SWEEPS):
        pulled = joint.copy()
        for each, share in zip(pulled, found, strict=True):
            middle[inside] = share
            around = sum(np.roll(volume, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1))
            each *= np.exp(2 * _PULL / 6 * np.asarray(around)[inside])
        found = pulled / pulled.sum(axis=0)
    return found
