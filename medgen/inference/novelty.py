"""How usual an image is to a generative model, judged by held-out cases: stored with the weights.

``novelty.json`` in the model folder holds the scores of the validation cases of :mod:`medgen.inference.oddness`, the
mean and covariance of the codes of the training cases, and the limit of the combined score;
:mod:`medgen.inference.novelty_fitting` writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from medgen.config import Config, build
from medgen.errors import ModelError, UsageError
from medgen.inference.oddness import CaseScores, score_patch
from medgen.inference.opened import Opened
from medgen.inference.placed_patches import Places
from medgen.training.model_folder import model_folder
from medgen.types import Array

FILE = "novelty.json"
COMBINED = "combined"
FEWEST = 3
"""Validation cases, and training cases, below which there is no limit."""
LEAST_LIMIT = 2.5
"""Standard deviations that are never odd."""
_LONGEST = 8_000_000
"""Bytes of the file; those of real models have at most a million."""
_RULE = (
    "the largest deviation of a score, in standard deviations; its limit is the largest of 2.5, of the validation "
    "cases, each left out in turn, and of the 99% prediction limit of all scores if each is normal (Student's t, "
    "Bonferroni)"
)


class Judgement(NamedTuple):
    """A case beside the held-out cases.

    Attributes:
        scores: by name, ``likelihood``, ``complexity``, ``reconstruction``, ``latent`` and ``combined`` as far as the
            method has them; the greater, the odder.
        deviations: of each but the combined one from the held-out cases, in standard deviations.
        tails: by name, ``(1 + held-out cases with at least this score) / (1 + held-out cases)``.
    """

    scores: dict[str, float]
    deviations: dict[str, float]
    tails: dict[str, float]


class HeldOut(Config):
    """One score of the validation cases."""

    largest: ClassVar[float] = math.inf

    values: tuple[float, ...] = Field(min_length=FEWEST)
    """In ascending order, without names."""
    mean: float
    spread: float = Field(gt=0)
    """The standard deviation of the validation cases or of the training cases, whichever is larger."""


class Codes(Config):
    """The codes of the patches of the training cases."""

    largest: ClassVar[float] = math.inf

    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    """Inverse of the Cholesky factor of the shrunk covariance (Ledoit & Wolf 2004)."""

    def distance(self, codes: Array) -> float:
        """Mean squared Mahalanobis distance of codes (N, D), a number of the code; 1 for codes as in training."""
        return float(np.mean(((codes - self.mean) @ np.array(self.whitening).T) ** 2))


class Novelty(Config):
    """What ``novelty.json`` holds."""

    largest: ClassVar[float] = math.inf

    medgen: str
    weights_sha256: str
    cases_sha256: str
    training_cases: int = Field(ge=FEWEST)
    patches: int
    seed: int
    codes: Codes | None
    scores: dict[str, HeldOut]
    combined: tuple[float, ...] = Field(min_length=FEWEST)
    """Of each validation case by the others, in ascending order."""
    limit: float = Field(ge=LEAST_LIMIT)
    rule: str = _RULE

    @property
    def places(self) -> Places:
        """Where the patches of a case are."""
        return Places(self.patches, self.seed)

    def judge(self, case: CaseScores) -> Judgement:
        """Compare a case with the held-out cases."""
        scores = scores_of(case, self.codes)
        deviations = {
            name: (value - self.scores[name].mean) / self.scores[name].spread for name, value in scores.items()
        }
        scores[COMBINED] = max(abs(each) for each in deviations.values())
        known = {**{name: each.values for name, each in self.scores.items()}, COMBINED: self.combined}
        tails = {
            name: (1 + sum(each >= value for each in known[name])) / (1 + len(known[name]))
            for name, value in scores.items()
        }
        return Judgement(scores, deviations, tails)

    def warning(self, judgement: Judgement, roles: Sequence[str], run: str) -> str:
        """What is said of a case beyond the limit; empty for any other."""
        combined = judgement.scores[COMBINED]
        if combined <= self.limit:
            return ""
        odd = {name: each for name, each in judgement.deviations.items() if abs(each) > self.limit}
        listed = ", ".join(f"{name} {each:+.1f}" for name, each in sorted(odd.items(), key=lambda item: -abs(item[1])))
        images = (
            f"the images given for {', '.join(roles)} are" if len(roles) > 1 else f"the image given for '{roles[0]}' is"
        )
        return (
            f"{images} unlike those that the generative model '{run}' was trained on: {listed} standard deviations "
            f"from held-out cases, at most {self.limit:.1f} expected"
        )


def load_novelty(model: Opened) -> Novelty:
    """What was fitted to the weights of a model.

    Raises:
        UsageError: nothing was fitted.
        ModelError: the file is damaged, or was fitted to other weights.
    """
    path = novelty_file(model.where)
    again = "fit it again: medgen novelty fit RUN -i CASES.csv --overwrite"
    if not path.is_file():
        raise UsageError(
            "the model has no novelty score, so it cannot tell odd images",
            where=model.where,
            fix="fit it on the cases of the training: medgen novelty fit RUN -i CASES.csv",
        )
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError("it is too long")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = build(Novelty, content)
        Places(found.patches, found.seed)
        _require_fitting(found, model)
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError):
        raise ModelError(f"{FILE} is damaged", where=path, fix=again) from None
    if found.weights_sha256 != model.content["weights_sha256"]:
        raise ModelError(f"{FILE} was fitted to other weights than those of the model", where=path, fix=again)
    return found


def _require_fitting(found: Novelty, model: Opened) -> None:
    """Refuse numbers that do not belong to a model: it is asked for the scores of one patch of zeros.

    Raises:
        ValueError, UsageError: places, scores or the size of the code are others.
    """
    patch = np.zeros((model.method.shape.inputs, *model.method.shape.size), np.float32)
    case = CaseScores("", (score_patch(model, patch),), patch.size)
    numbers = 0 if case.codes is None else case.codes.shape[1]
    if found.codes and not np.shape(found.codes.whitening) == (numbers, len(found.codes.mean)) == (numbers, numbers):
        raise ValueError("the covariance is of another code")
    if set(scores_of(case, found.codes)) != set(found.scores):
        raise ValueError("a score is missing")
    if any(len(each.values) != len(found.combined) for each in found.scores.values()):
        raise ValueError("the scores are of several tables")


def novelty_file(run: str | Path) -> Path:
    """Where it stands, of a run folder or of its ``model`` folder."""
    return model_folder(run) / FILE


def scores_of(case: CaseScores, codes: Codes | None) -> dict[str, float]:
    """The scores of a case by name, without the combined one."""
    found = case.codes
    return case.plain() | ({} if codes is None or found is None else {"latent": codes.distance(found)})
