"""What can be measured of an adaptation on held-out cases of both domains, without a label of the target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medgen.errors import InputError
from medgen.losses.domain import SOURCE
from medgen.methods.base import Method
from medgen.metrics.domain import Accuracy, clustered_accuracy, domain_accuracy
from medgen.metrics.overlap import CUBE, dice, volume
from medgen.preparation import StoredCase
from medgen.recipe.settings import HealthConfig, Recipe
from medgen.run.validation import estimate, estimate_volume, on_domain
from medgen.sampling.parts import centre
from medgen.sampling.patches import PatchConfig, PatchSource
from medgen.sampling.streams import split_domains
from medgen.training.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 4
"""Segments that go through the network together; the maps of all layers are in memory at once."""
GAIN, SHIFT = 0.1, 0.1
"""Largest change of the disturbed copies: as large as published intensity augmentation makes it now and then."""


@runtime_checkable
class HasNamedMaps(Protocol):
    """A method whose feature maps can be looked at, as its ``predict`` computes them."""

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, K, x, y, z), and all maps by name, (B, C, ...) on their grid or a coarser one."""
        ...


@runtime_checkable
class HasDiscriminator(Protocol):
    """A method that trains a discriminator of domains of its own."""

    def domain_logits(self, image: Tensor, *, of_target: bool) -> Tensor:
        """(B, 2, x, y, z), classes of :mod:`medgen.losses.domain`, as they are computed in training."""
        ...


class Subset(NamedTuple):
    """The held-out cases that every record of a run is taken from; the target's have no labels."""

    source: tuple[StoredCase, ...]
    target: tuple[StoredCase, ...]


class CaseSignals(NamedTuple):
    """What the prediction of one case shows.

    Attributes:
        entropy: mean over the mask, as a share of the largest there is, log K.
        volume: of all classes together, in ml.
        lesions: connected pieces (26 neighbours).
    """

    entropy: float
    volume: float
    lesions: float


def choose_subset(held_out: Sequence[StoredCase], config: HealthConfig, seed: int) -> Subset | None:
    """The same cases for the same seed; None where a domain has no held-out case."""
    try:
        domains = split_domains(held_out)
    except InputError:
        return None
    generator = np.random.default_rng(seed)
    drawn = [sorted(generator.permutation(len(cases))[: config.cases]) for cases in domains]
    return Subset(*(tuple(cases[number] for number in chosen) for cases, chosen in zip(domains, drawn, strict=True)))


def case_signals(probabilities: NDArray[np.float32], case: StoredCase) -> CaseSignals:
    """The signals of a predicted case.

    Args:
        probabilities: (K, X, Y, Z) in [0, 1], background first.
        case: whose mask says where to measure.
    """
    inside = np.asarray(case.mask) > 0
    found = (probabilities.argmax(axis=0) > 0) & inside
    _, lesions = ndimage.label(found, CUBE)
    return CaseSignals(_entropy(probabilities[:, inside]), volume(found, case.spacing), float(lesions))


def measure(
    method: Method,
    subset: Subset,
    recipe: Recipe,
    engine: Engine,
    *,
    source_dice: float = math.nan,
    seen: Mapping[str, CaseSignals] | None = None,
) -> dict[str, float]:
    """All signals of a method at one moment; the same cases, segments and disturbances at every call.

    Args:
        method: is put into evaluation mode.
        subset: the cases.
        recipe: its seed, patches and tiles are used.
        engine: device and precision.
        source_dice: mean over the labelled held-out cases.
        seen: by case, what is known of its prediction already.

    Returns:
        ``source_dice``; ``entropy_*`` (share of log K), ``volume_*`` (ml a case), ``lesions_*`` (a case) of ``source``
        and ``target``; ``agreement_target``, the Dice between the prediction of an image and of a mirrored, disturbed
        copy; ``domain_accuracy/<layer>`` of a linear probe and ``discriminator_accuracy`` of the method's own
        discriminator, both with ``_low`` and ``_high`` of a 95 % interval over patients. NaN: could not be measured.
    """
    method.eval()
    health = recipe.schedule.health or HealthConfig()
    known = dict(seen or {})
    signals = {"source_dice": source_dice}
    agreements = []
    for name, cases in subset._asdict().items():
        for number, case in enumerate(cases):
            if case.name not in known or name == "target":
                probabilities = estimate(method, case, None, recipe, engine)
                known[case.name] = case_signals(probabilities, case)
                if name == "target" and number < health.disturbed:
                    agreements.append(_agreement(method, case, probabilities, recipe, engine, seed=number))
        for field in CaseSignals._fields:
            signals[f"{field}_{name}"] = float(np.mean([getattr(known[case.name], field) for case in cases]))
    signals["agreement_target"] = _mean(agreements)
    return signals | _accuracies(method, subset, recipe, engine)


def _entropy(probabilities: NDArray[np.float32]) -> float:
    """Mean entropy of (K, N) as a share of log K."""
    shares = np.clip(probabilities, 1e-12, 1.0)
    return float(-(shares * np.log(shares)).sum(axis=0).mean() / math.log(len(shares)))


def _agreement(
    method: Method,
    case: StoredCase,
    probabilities: NDArray[np.float32],
    recipe: Recipe,
    engine: Engine,
    *,
    seed: int,
) -> float:
    """Dice between the prediction and that of a copy, mirrored right to left and disturbed; NaN if both are empty."""
    generator = np.random.default_rng([recipe.seed, seed])
    image, body = np.asarray(case.image), np.asarray(case.body)
    gain, shift = (generator.uniform(-limit, limit, (len(image), 1, 1, 1)) for limit in (GAIN, SHIFT))
    air = np.array(case.air)[:, None, None, None]
    copy = np.where(body > 0, (image - air) * (1 + gain) + air + shift, image).astype(np.float32)
    turned, body = np.ascontiguousarray(copy[:, ::-1]), np.ascontiguousarray(body[::-1])
    other = estimate_volume(method, turned, body, None, recipe, engine)[:, ::-1]
    inside = np.asarray(case.mask) > 0
    found, again = ((each.argmax(axis=0) > 0) & inside for each in (probabilities, other))
    return float(dice(found, again))


def _accuracies(method: Method, subset: Subset, recipe: Recipe, engine: Engine) -> dict[str, float]:
    """How well the domains can be told apart in each layer, and by the method's own discriminator."""
    if not isinstance(method, HasNamedMaps):
        return {}
    health = recipe.schedule.health or HealthConfig()
    tables: dict[str, list[NDArray[np.float64]]] = {}
    right: list[float] = []
    domains: list[str] = []
    names: list[str] = []
    for domain, cases in subset._asdict().items():
        for image, mask, case in _segments(cases, recipe, health):
            domains += [domain] * len(image)
            names += [case.name] * len(image)
            with torch.inference_mode(), engine.autocast():
                image = image.to(engine.device)
                with on_domain(method, domain):
                    logits, maps = method.named_maps(image)
                for layer, values in maps.items():
                    tables.setdefault(layer, []).append(_inside(values, centre(mask, logits)))
                if isinstance(method, HasDiscriminator):
                    right += _decisions(method.domain_logits(image, of_target=domain == "target"), domain)
    found = {f"/{layer}": domain_accuracy(np.concatenate(rows), domains, names) for layer, rows in tables.items()}
    signals = _named("domain_accuracy", found)
    judged = [row for row in zip(right, domains, names, strict=False) if not math.isnan(row[0])]
    if len({domain for _, domain, _ in judged}) == 2:
        signals |= _named("discriminator_accuracy", {"": clustered_accuracy(*zip(*judged, strict=True))})
    return signals


def _segments(
    cases: Sequence[StoredCase], recipe: Recipe, config: HealthConfig
) -> Iterator[tuple[Tensor, Tensor, StoredCase]]:
    """Batches of images and masks of one case, drawn uniformly from its mask: no label has a say."""
    settings = PatchConfig(size=recipe.patches.size)
    each = max(1, config.segments // len(cases))
    for number, case in enumerate(cases):
        source = PatchSource([case], settings, recipe.seed)
        for first in range(0, each, BATCH):
            patches = [source[number * each + n] for n in range(first, min(first + BATCH, each))]
            image, mask = (
                torch.from_numpy(np.stack([patch[name] for patch in patches])) for name in ("source", "mask")
            )
            yield image, mask, case


def _inside(maps: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """Mean (B, C) of each channel over the mask, of maps (B, C, x, y, z) on a grid as fine as the mask's or coarser."""
    x, y, z = maps.shape[2:]
    weight = functional.adaptive_avg_pool3d(mask.to(maps.device, torch.float32), (x, y, z))
    mean = (maps.float() * weight).sum((2, 3, 4)) / weight.sum((2, 3, 4)).clamp_min(1e-6)
    return mean.double().cpu().numpy()


def _decisions(logits: Tensor, domain: str) -> list[float]:
    """1 for each segment (B, 2, x, y, z) whose mean probability is on the side of its domain.

    Voxels that the discriminator does not see are NaN, and so is the answer for a segment without any other.
    """
    said = logits.float().softmax(1)[:, SOURCE].flatten(1).nanmean(1)
    return [math.nan if math.isnan(each) else float((each > 0.5) == (domain == "source")) for each in said.tolist()]


def _named(signal: str, found: Mapping[str, Accuracy]) -> dict[str, float]:
    """The values and the ends of their intervals as flat numbers, which any log can hold."""
    signals: dict[str, Any] = {f"{signal}{suffix}": accuracy.value for suffix, accuracy in found.items()}
    signals |= {f"{signal}_low{suffix}": accuracy.low for suffix, accuracy in found.items()}
    return signals | {f"{signal}_high{suffix}": accuracy.high for suffix, accuracy in found.items()}


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
