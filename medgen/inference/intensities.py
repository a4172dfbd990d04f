"""Borders between tissues by the scan's own intensities, where a network says roughly where each of them lies.

A network that was trained on a coarse grid knows where cortex and ventricles are, but not the course of their borders;
the scan does. Each class has a Gaussian in the intensities of this scan, under a smooth gain, and the network's
probability is the prior of each voxel: the model of Ashburner & Friston (Unified segmentation, NeuroImage 26:839,
2005), without their registration. A voxel of two classes is as likely to hold any share of them, and goes to the one
of which it holds more (Shattuck et al., NeuroImage 13:856, 2001), so that the border lies where it is in every
contrast. Neighbouring voxels then draw each other into one class (a Markov random field in mean-field form, as in Van
Leemput et al., IEEE TMI 18:897, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy import ndimage, special

from medgen.types import Floats

_VOXELS, _ROUNDS, _ORDER, _SWEEPS = 50_000, 2, 3, 4
"""Voxels that the mixture is fitted to and its rounds, order of the polynomial of the gain, rounds of the field. The
rounds are few since with more of them tissues change places where the network is wrong (tried: 1 to 30)."""
_FLOOR = 0.02
"""Least prior of a class, since the network may be wrong."""
_TEMPER = 0.5
"""Exponent of the network's probabilities: it is too sure of itself on scans unlike its training."""
_PULL = 1.0
"""Of the six neighbours together, on the logarithm of the odds."""
_SUREST = 0.05
"""Share of a class's voxels, those with the highest prior, at which its Gaussians begin."""
_LEAST_SPREAD = 0.02
"""Standard deviation of a Gaussian relative to the median of the brain, below which none falls."""
_GAIN = (0.3, 3.0)


@dataclass(frozen=True)
class Mixture:
    """What was fitted to one scan of K classes.

    Attributes:
        means: of the voxels that one class fills, in medians of the region, (K).
        spreads: their standard deviations, (K).
        weights: (K, K), each row adds up to 1; on the diagonal the share of a class's voxels that it fills, elsewhere
            of those that hold some of another class.
        gain: coefficients of the polynomial that multiplies the means.
    """

    means: Floats
    spreads: Floats
    weights: Floats
    gain: Floats

    def likelihoods(self, values: Floats) -> Floats:
        """(K, K, N) for values (N) without the gain: of class k filled, and of those halfway to every other class."""
        found = np.empty((len(self.means), len(self.means), values.size))
        for one, other in np.ndindex(found.shape[:2]):
            mean, spread = self.means[one], self.spreads[one]
            if one == other:
                each = np.exp(-0.5 * ((values - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
            else:  # any share from a half to all is as likely: a uniform density, blurred by the noise
                half, noise = (self.means[other] - mean) / 2, (spread + self.spreads[other]) / 2
                each = special.ndtr((values - mean) / noise) - special.ndtr((values - mean - half) / noise)
                each /= half if abs(half) > 1e-6 else np.inf
            found[one, other] = self.weights[one, other] * each
        return found


def by_intensities(image: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of the classes given the intensities; what they have together at a voxel stays as it is.

    Args:
        image: (X, Y, Z) one scan in any unit, finite.
        shares: (K, X, Y, Z) in [0, 1], the network's probabilities of the K classes on that grid; they may add up to
            less than 1. Voxels where they have less than half stay as they are, but for those of :func:`cut_away`,
            which have none.

    Returns:
        (K, X, Y, Z); unchanged where the classes together have fewer than 1000 voxels, or all of them one intensity.
    """
    left = np.where(cut_away(image), np.float32(0), shares)
    total = left.sum(axis=0)
    region = total > 0.5
    values = image[region].astype(np.float64)
    if values.size < 1000 or not (middle := float(np.median(values))) or not values.std():
        return shares
    values /= middle
    prior = (left[:, region] / total[region]).astype(np.float64) ** _TEMPER + _FLOOR
    prior /= prior.sum(axis=0)
    where = [2.0 * axis / max(1, side - 1) - 1 for axis, side in zip(np.nonzero(region), image.shape, strict=True)]
    chosen = np.random.default_rng(0).permutation(values.size)[:_VOXELS]
    basis = _polynomials([axis[chosen] for axis in where])
    fitted = _fit(values[chosen], prior[:, chosen], basis)
    likelihood = np.empty_like(prior)
    for start in range(0, values.size, 1_000_000):  # the polynomials of all voxels at once would take gigabytes
        part = slice(start, start + 1_000_000)
        gain = np.clip(1 + _polynomials([axis[part] for axis in where]) @ fitted.gain, *_GAIN)
        likelihood[:, part] = fitted.likelihoods(values[part] / gain).sum(axis=1)
    found = left
    found[:, region] = _with_neighbours(likelihood + 1e-12, prior, region) * total[region]
    return found


def cut_away(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What was taken from the image, as skull and surroundings are: all that is exactly 0 and reaches its edge.

    Args:
        image: (X, Y, Z).
    """
    pieces, _ = ndimage.label(image == 0)
    faces = [np.take(pieces, place, axis).ravel() for axis in range(pieces.ndim) for place in (0, -1)]
    touching = np.unique(np.concatenate(faces))
    return np.asarray(np.isin(pieces, touching[touching > 0]))


def _fit(values: Floats, prior: Floats, basis: Floats) -> Mixture:
    """Expectation maximisation; the gain is solved for exactly in each round, by weighted least squares."""
    mixture = _begun(values, prior, basis.shape[1])
    for number in range(_ROUNDS):
        plain = values / np.clip(1 + basis @ mixture.gain, *_GAIN)
        joint = mixture.likelihoods(plain) * prior[:, None]
        joint /= joint.sum(axis=(0, 1)) + 1e-300
        filled = np.stack([joint[k, k] for k in range(len(joint))])
        mass = filled.sum(axis=1) + 1e-9
        means = filled @ plain / mass
        spreads = np.sqrt((filled * (plain - means[:, None]) ** 2).sum(axis=1) / mass) + _LEAST_SPREAD
        weights = joint.sum(axis=2) + 1e-9
        weights /= weights.sum(axis=1, keepdims=True)
        # not before the tissues have found their places
        gain = _gain(values, filled, means, spreads, basis) if number else mixture.gain
        mixture = Mixture(means, spreads, weights, gain)
    return mixture


def _begun(values: Floats, prior: Floats, coefficients: int) -> Mixture:
    """Where the network is surest: quantiles of those voxels, which a few wrong ones do not move."""
    least = [np.quantile(share, 1 - max(_SUREST * share.mean(), 20 / share.size)) for share in prior]
    quarters = [np.quantile(values[share >= edge], (0.25, 0.5, 0.75)) for share, edge in zip(prior, least, strict=True)]
    low, means, high = np.array(quarters).T
    count = len(means)
    weights = np.full((count, count), 0.5 / (count - 1)) + np.eye(count) * (0.5 - 0.5 / (count - 1))
    return Mixture(means, (high - low) / 1.35 + _LEAST_SPREAD, weights, np.zeros(coefficients))


def _gain(values: Floats, filled: Floats, means: Floats, spreads: Floats, basis: Floats) -> Floats:
    """Coefficients c for which values are nearest to means x (1 + basis c), each by its own precision."""
    precise = filled / spreads[:, None] ** 2
    curvature = means**2 @ precise
    slope = (means @ precise) * values - curvature
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
