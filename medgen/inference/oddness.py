"""Scores of a case by a generative model: how likely, how well reconstructed and how usual in its code it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from medgen.cases import Case
from medgen.errors import ModelError, UsageError
from medgen.inference.opened import Opened
from medgen.inference.placed_patches import Places, patch_at, prepared_cases
from medgen.methods.base import Encodes, HasDensity
from medgen.metrics.complexity import BIN, compressed_bits
from medgen.preparation import Prepared
from medgen.types import Array, Progress

LONGEST_CODE = 256
"""Numbers of a code whose covariance is compared; of a longer one, such as that of a flow, only its mean square."""
PATCHES = 16
"""Patches of a case, by default."""


class PatchScores(NamedTuple):
    """What the model finds in one patch; None what its method cannot tell.

    Attributes:
        log_likelihood: of the patch in nats, in normalised units; a lower bound where the method has no exact one.
        bits: length of its lossless compression, bits a voxel.
        error: mean squared error of its reconstruction, squared normalised units.
        code: (D,) float64; of a code of more than :data:`LONGEST_CODE` numbers (1,), its mean square.
    """

    log_likelihood: float | None
    bits: float
    error: float | None
    code: Array | None


@dataclass(frozen=True, eq=False)
class CaseScores:
    """The patches of one case.

    Attributes:
        case: its name.
        patches: what the model finds in each.
        voxels: numbers in a patch, of all channels.
    """

    case: str
    patches: tuple[PatchScores, ...]
    voxels: int

    @property
    def log_likelihood(self) -> float | None:
        """Mean of the patches, nats a patch."""
        return _mean(each.log_likelihood for each in self.patches)

    @property
    def bits_per_voxel(self) -> float | None:
        """``-log2 p`` a voxel, of the density in normalised units; an upper bound where the likelihood is a lower.

        Of the images as they are: the ``bits_per_dimension`` of a flow in its training are of images with noise.
        """
        nats = self.log_likelihood
        return None if nats is None else -nats / self.voxels / math.log(2)

    @property
    def codes(self) -> Array | None:
        """(N, D), of each patch."""
        found = [each.code for each in self.patches if each.code is not None]
        return np.stack(found) if found else None

    def plain(self) -> dict[str, float]:
        """By name the scores that need no training codes; the greater, the odder.

        ``likelihood``: ``-log p`` in nats a voxel. ``complexity``: bits a voxel of the image with 256 grey levels by
        the model, less those of its lossless compression (Serrà et al. 2020, https://arxiv.org/abs/1909.11480, eq. 2):
        a model finds smooth images likely, whatever they show. ``reconstruction``: mean squared error.
        """
        scores: dict[str, float] = {}
        bits, error = self.bits_per_voxel, _mean(each.error for each in self.patches)
        if bits is not None:
            compressed = float(np.mean([each.bits for each in self.patches]))
            scores |= {"likelihood": bits * math.log(2), "complexity": bits - math.log2(BIN) - compressed}
        return scores | ({} if error is None else {"reconstruction": error})


def require_scores(model: Opened) -> None:
    """Refuse a model that has neither a likelihood nor codes.

    Raises:
        UsageError: it has neither.
    """
    if not isinstance(model.method, HasDensity | Encodes):
        raise model.lacks("tell how usual an image is")


def score_patch(model: Opened, patch: Array) -> PatchScores:
    """The scores of one patch (C, *size) in normalised units; the same at every call.

    Raises:
        UsageError: it has another shape than the patches of the training.
        ModelError: the model finds numbers that are not finite.
    """
    method, shape = model.method, model.method.shape
    expected = (shape.inputs, *shape.size)
    if patch.shape != expected:
        raise UsageError(
            f"the patch has the shape {_text(patch.shape)}, the model was trained on {_text(expected)}",
            where=model.where,
            fix="cut a patch of that size, with that many channels",
        )
    density = error = code = None
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(patch, np.float32))[None].to(model.device)
        if isinstance(method, HasDensity):
            density = float(method.log_prob(image)[0])
        if isinstance(method, Encodes):
            found = method.encode(image)
            code = found[0].flatten().double().cpu().numpy()
            if code.size < patch.size:  # a code as long as the image, such as that of a flow, reconstructs everything
                error = float((method.decode(found) - image).double().square().mean())
            code = code if code.size <= LONGEST_CODE else np.array([np.mean(code**2)])
    numbers = [*([] if code is None else code), *(each for each in (density, error) if each is not None)]
    if not np.isfinite(numbers).all():
        raise ModelError(
            "the model finds a likelihood, an error or a code that is not finite",
            where=model.where,
            fix="train the model again, or look at the image",
        )
    return PatchScores(density, compressed_bits(patch), error, code)


def score_prepared(model: Opened, name: str, prepared: Prepared, places: Places) -> CaseScores:
    """The scores of one prepared patient, at places in its body, which need no mask of a person."""
    config, mask = model.patches, prepared.body
    centres = dict.fromkeys(tuple(config.placed(place, mask.shape)) for place in places.of(mask))
    patches = [patch_at(prepared, centre, config) for centre in centres]
    return CaseScores(name, tuple(score_patch(model, patch) for patch in patches), patches[0].size)


def score_cases(
    model: Opened,
    cases: Sequence[Case],
    places: Places,
    failed: dict[str, str],
    progress: Progress | None = None,
) -> Iterator[CaseScores]:
    """The scores of cases in their order; one that cannot be prepared goes to ``failed`` with the reason.

    Only the inputs of the model are opened: no target, label or mask.
    """
    for name, prepared in prepared_cases(cases, model, failed, progress, masked=False):
        yield score_prepared(model, name, prepared, places)


def _mean(values: Iterator[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return float(np.mean(known)) if known else None


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
