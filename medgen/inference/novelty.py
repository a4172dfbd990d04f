"""How usual an image is to a generative model, judged by held-out cases: fitted once, stored with the weights.

``novelty.json`` in the model folder holds the scores of the validation cases of :mod:`medgen.inference.oddness`, the
mean and covariance of the codes of the training cases, and the limit of the combined score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

import medgen
from medgen.cases import Case, read_cases
from medgen.config import Config, build
from medgen.errors import CasesFailed, InputError, ModelError, UsageError
from medgen.files import require_output, sha256, write_json
from medgen.inference.held_out import require_held_out
from medgen.inference.intervals import model_folder
from medgen.inference.oddness import PATCHES, CaseScores, require_scores, score_cases, score_patch
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Places
from medgen.types import Array, Progress

FILE = "novelty.json"
COMBINED = "combined"
FEWEST = 3
"""Validation cases, and training cases, below which there is no limit."""
_LEAST_LIMIT, _LEAST_SPREAD = 2.5, 1e-9
_LONGEST = 8_000_000
"""Bytes of the file; those of real models have at most a million."""
_RARE = 0.01
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
    limit: float = Field(ge=_LEAST_LIMIT)
    rule: str = _RULE

    @property
    def places(self) -> Places:
        """Where the patches of a case are."""
        return Places(self.patches, self.seed)

    def judge(self, case: CaseScores) -> Judgement:
        """Compare a case with the held-out cases."""
        scores = _scores(case, self.codes)
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


def fit_novelty(
    run: str | Path,
    cases: str | Path,
    *,
    patches: int = PATCHES,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Learn from the training and validation cases which scores are usual, and store it with the model.

    Args:
        run: run folder of a generative model with a likelihood or codes, or its ``model`` folder.
        cases: the case table of its training, with at least :data:`FEWEST` cases of the splits train and val.
        patches: of each case, at places in the body that depend on the image, the seed and their number alone.
        seed: of the places.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        overwrite: fit again.
        allow_modules: modules outside medgen that the model may name as its method.
        progress: called with (cases done, cases in all, what).

    Returns:
        The file, ``novelty.json`` in the model folder. It holds numbers, and no name of a case.

    Raises:
        UsageError: an argument is out of range, the file is there already, or the model has neither a likelihood nor
            codes.
        InputError: the table is wrong, has too few cases of a split, or its validation cases were trained on.
        CasesFailed: cases could not be prepared; nothing was written.
        ModelError: the model is missing or damaged, or finds numbers that are not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    places, path = Places(patches, seed), novelty_file(run)
    if path.exists() and not overwrite:
        raise UsageError("the model has a novelty score already", where=path, fix="--overwrite fits it again")
    table = read_cases(cases)
    chosen = [
        *_enough(table.select(split="train"), "train", table.path),
        *_enough(table.select(split="val"), "val", table.path),
    ]
    require_output(path)
    model = open_model(run, device, allow_modules)
    require_scores(model)
    require_held_out(run, table.select(split="val"), model.known.preparation.roles.inputs, table.path)
    failed: dict[str, str] = {}
    found = {each.case: each for each in score_cases(model, chosen, places, failed, progress)}
    if failed:
        raise CasesFailed(
            f"{len(failed)} of {len(chosen)} cases failed: {', '.join(list(failed)[:5])}",
            where=table.path,
            fix="mend these cases ('medgen check' lists their faults); nothing was written",
        )
    training, held_out = ([found[case.name] for case in chosen if case.split == split] for split in ("train", "val"))
    origin = {"weights_sha256": model.content["weights_sha256"], "cases_sha256": sha256(table.path)}
    write_json(path, novelty_of(training, held_out, places, origin).model_dump(mode="json"))
    return path


def novelty_of(
    training: Sequence[CaseScores], held_out: Sequence[CaseScores], places: Places, origin: Mapping[str, str]
) -> Novelty:
    """The reference of scored cases; ``origin`` are the hashes of the weights and of the table."""
    codes = _codes_of(training)
    names = list(_scores(held_out[0], codes))
    trained, known = (
        np.array([[_scores(case, codes)[name] for name in names] for case in cases]) for cases in (training, held_out)
    )
    mean, spread = known.mean(axis=0), _spread(known, trained)
    combined = []
    for number, case in enumerate(known):
        others = np.delete(known, number, axis=0)
        combined.append(float(np.abs((case - others.mean(axis=0)) / _spread(others, trained)).max()))
    return Novelty(
        medgen=medgen.__version__,
        training_cases=len(training),
        patches=places.patches or 1,
        seed=places.seed,
        codes=codes,
        scores={
            name: HeldOut(values=tuple(sorted(map(float, known[:, n]))), mean=float(mean[n]), spread=float(spread[n]))
            for n, name in enumerate(names)
        },
        combined=tuple(sorted(combined)),
        limit=max(_LEAST_LIMIT, *combined, _prediction_limit(len(held_out), len(names))),
        **origin,
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
    if set(_scores(case, found.codes)) != set(found.scores):
        raise ValueError("a score is missing")
    if any(len(each.values) != len(found.combined) for each in found.scores.values()):
        raise ValueError("the scores are of several tables")


def novelty_file(run: str | Path) -> Path:
    """Where it stands, of a run folder or of its ``model`` folder."""
    return model_folder(run) / FILE


def _scores(case: CaseScores, codes: Codes | None) -> dict[str, float]:
    found = case.codes
    return case.plain() | ({} if codes is None or found is None else {"latent": codes.distance(found)})


def _codes_of(training: Sequence[CaseScores]) -> Codes | None:
    """Mean and covariance over all patches, shrunk so that it can be inverted."""
    from sklearn.covariance import ledoit_wolf

    found = [each for case in training if (each := case.codes) is not None]
    if not found:
        return None
    codes = np.concatenate(found)
    covariance = np.atleast_2d(ledoit_wolf(codes)[0])
    floor = max(_LEAST_SPREAD, 1e-6 * float(np.trace(covariance)) / len(covariance))  # of codes that do not vary
    whitening = np.linalg.inv(np.linalg.cholesky(covariance + floor * np.eye(len(covariance))))
    return Codes(mean=tuple(codes.mean(axis=0).tolist()), whitening=tuple(map(tuple, whitening.tolist())))


def _prediction_limit(cases: int, scores: int) -> float:
    """What one more case exceeds in some score with a chance of at most 1 in 100, in standard deviations of ``cases``.

    >>> round(_prediction_limit(6, 4), 2)
    6.05
    """
    from scipy.stats import t

    return float(t.ppf(1 - _RARE / (2 * scores), cases - 1)) * math.sqrt(1 + 1 / cases)


def _spread(held_out: Array, training: Array) -> Array:
    """Of each score: the larger one, since few validation cases know it badly, and training cases are learnt better."""
    larger: Array = np.maximum(held_out.std(axis=0, ddof=1), training.std(axis=0, ddof=1))
    return larger.clip(min=_LEAST_SPREAD)


def _enough(cases: Sequence[Case], split: str, path: Path) -> Sequence[Case]:
    if len(cases) < FEWEST:
        raise InputError(
            f"the table has {len(cases) or 'no'} cases of split '{split}', at least {FEWEST} are needed",
            where=path,
            fix="give the table of the training; validation cases, which the model did not learn, say what is usual",
        )
    return cases
