"""All metrics of samples at once: each with what real images reach, or with the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medgen.errors import InputError
from medgen.metrics.distribution import (
    feature_distance,
    fidelity,
    frechet_distance,
    frechet_distance_infinite,
    inception_score,
    kernel_distance,
    memorisation,
    ms_ssim_diversity,
    pixel_norms,
)
from medgen.metrics.memorisation import varied
from medgen.metrics.resampling import NOTHING
from medgen.metrics.statistics import Summary
from medgen.types import Array

SPLITS = 10
"""Of the inception score at most; each needs as many images as there are classes."""
MISSING = math.nan

GROUPS: dict[str, tuple[str, ...]] = {
    "frechet": ("frechet_distance",),
    "frechet_infinite": ("frechet_distance_infinite",),
    "kernel": ("kernel_distance",),
    "fidelity": ("precision", "recall", "density", "coverage"),
    "inception": ("inception_score",),
    "discriminator": ("feature_distance",),
    "memorisation": ("memorisation_statistic", "memorisation_p"),
    "diversity": ("ms_ssim",),
    "pixels": ("mean_l1", "mean_l2", "sd_l1", "sd_l2", "norm", "norm_distance"),
}
"""By the name that a user asks for, the metrics that come together."""


class SampleSummary(Summary):
    """A metric of samples.

    Attributes:
        real: what training images in place of the samples reach against the same real images (the inception score:
            what these real images reach, as its classifier may have learnt from the training images); NaN where that
            has no meaning.
        n_real: real images that it was compared with.
    """

    real: float
    n_real: int


@dataclass(frozen=True, eq=False)
class Pictures:
    """One set of images, seen in all ways that metrics ask for; rows are images in the same order.

    Attributes:
        images: (N, C, *size) in normalised units.
        features: (N, D) of the feature network.
        layers: (N, channels) of each layer of a discriminator; empty without one.
        probabilities: (N, K) of a classifier; None without one.
        mirrored: features (N, D) of training images in each of the mirrorings that the generator has seen.
    """

    images: Array
    features: Array
    layers: tuple[Array, ...] = ()
    probabilities: Array | None = None
    mirrored: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Pictures:
        """The first images."""
        some = None if self.probabilities is None else self.probabilities[:count]
        return Pictures(self.images[:count], self.features[:count], tuple(layer[:count] for layer in self.layers), some)


@dataclass(frozen=True)
class Judged:
    """What was found.

    Attributes:
        summary: by metric, in the order of :data:`GROUPS`.
        details: further results by group.
    """

    summary: dict[str, SampleSummary] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


Found = tuple[dict[str, Any], dict[str, Any]]
"""Of one group: by metric its number, or number and interval; and details."""


def judge(
    generated: Pictures,
    held_out: Pictures,
    training: Pictures,
    *,
    asked: Sequence[str] = (),
    absent: Mapping[str, str],
    seed: int = 0,
) -> Judged:
    """Compute every metric, for the samples and for training images in their place.

    Args:
        generated: the samples.
        held_out: real images of patients that the generator has not seen.
        training: real images of patients that it has.
        asked: groups to compute; none asks for all that the images support.
        absent: by group, why it cannot be computed here.
        seed: of random splits and pairs.

    Raises:
        InputError: a group that is asked for cannot be computed.
    """
    judged = Judged()
    usual = training.first(len(generated))
    for group in asked or GROUPS:
        try:
            if group in absent:
                raise InputError(absent[group], fix=f"leave out '{group}', or give what it needs")
            found, details = _COMPUTE[group](held_out, generated, training, seed)
        except InputError as error:
            if asked:
                raise
            for name in GROUPS[group]:
                judged.summary[name] = _absent(error.what, len(generated), len(held_out))
            continue
        real = _usual(group, held_out, usual, seed)
        if details:
            judged.details[group] = details
        for name in GROUPS[group]:
            mean, ci95, sd = found[name]
            judged.summary[name] = SampleSummary(
                mean=mean,
                sd=sd,
                ci95=ci95,
                real=real.get(name, MISSING),
                n=len(generated),
                n_failed=0,
                n_infinite=0,
                n_real=len(held_out),
            )
    return judged


def _absent(reason: str, samples: int, real: int) -> SampleSummary:
    return SampleSummary(
        mean=MISSING,
        sd=MISSING,
        ci95=NOTHING,
        real=MISSING,
        n=0,
        n_failed=0,
        n_infinite=0,
        n_not_applicable=samples,
        n_real=real,
        reason=reason,
    )


def _usual(group: str, held_out: Pictures, usual: Pictures, seed: int) -> dict[str, float]:
    """The metrics of a group of real images in place of the samples; empty where they have no meaning or too few."""
    if group == "memorisation":
        return {}
    if group == "inception":
        # The classifier of --classes knows the training images by heart.
        usual = held_out
    try:
        found, _ = _COMPUTE[group](held_out, usual, usual, seed)
    except InputError:
        return {}
    return {name: each[0] for name, each in found.items()}


def _alone(value: float, interval: tuple[float, float] = NOTHING, sd: float = MISSING) -> Any:
    return float(value), interval, sd


def _frechet(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    return {"frechet_distance": _alone(frechet_distance(real.features, made.features))}, {}


def _frechet_infinite(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = frechet_distance_infinite(real.features, made.features, seed=seed)
    return {"frechet_distance_infinite": _alone(found.value)}, {"sizes": list(found.sizes)}


def _kernel(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = kernel_distance(real.features, made.features)
    return {"kernel_distance": _alone(found.value, found.ci95)}, {}


def _fidelity(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = fidelity(real.features, made.features)
    return {name: _alone(value) for name, value in found._asdict().items()}, {}


def _inception(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    assert made.probabilities is not None
    splits = max(1, min(SPLITS, len(made) // made.probabilities.shape[1]))
    found = inception_score(made.probabilities, splits=splits)
    return {"inception_score": _alone(found.mean, sd=found.sd)}, {"splits": splits}


def _discriminator(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = feature_distance(real.layers, made.layers)
    return {"feature_distance": _alone(found.value)}, {"layers": list(found.layers)}


def _memorisation(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    sets = training, made, real
    # Images of nothing but air are equal in all patients, and copies of nobody.
    seen, samples, unseen = (varied(each.images) for each in sets)
    found = memorisation(
        training.features[seen],
        made.features[samples],
        real.features[unseen],
        mirrored=[table[seen] for table in training.mirrored],
    )
    pairs = [[int(samples[one]), int(seen[two])] for one, two in zip(found.suspicious, found.training, strict=True)]
    details = {"suspicious": pairs, "expected": found.expected, "n_training": len(seen)}
    return {"memorisation_statistic": _alone(found.statistic), "memorisation_p": _alone(found.p)}, details


def _diversity(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = ms_ssim_diversity(real.images, made.images, seed=seed)
    return {"ms_ssim": _alone(found.generated.mean, found.generated.ci95)}, {"scales": found.scales}


def _pixels(real: Pictures, made: Pictures, training: Pictures, seed: int) -> Found:
    found = pixel_norms(real.images, made.images)
    numbers = {name: _alone(value) for name, value in found._asdict().items()}
    return {**numbers, "norm": _alone(found.generated_norm)}, {"real_norm": found.real_norm}


_COMPUTE: dict[str, Callable[[Pictures, Pictures, Pictures, int], Found]] = {
    "frechet": _frechet,
    "frechet_infinite": _frechet_infinite,
    "kernel": _kernel,
    "fidelity": _fidelity,
    "inception": _inception,
    "discriminator": _discriminator,
    "memorisation": _memorisation,
    "diversity": _diversity,
    "pixels": _pixels,
}
