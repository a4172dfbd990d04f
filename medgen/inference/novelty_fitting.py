"""Learning from the training and validation cases which scores are usual: what ``novelty.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import medgen
from medgen.cases import Case, read_cases
from medgen.errors import CasesFailed, InputError, UsageError
from medgen.files import require_apart, require_output, sha256, write_json
from medgen.inference.held_out import require_held_out
from medgen.inference.novelty import FEWEST, LEAST_LIMIT, Codes, HeldOut, Novelty, novelty_file, scores_of
from medgen.inference.oddness import PATCHES, CaseScores, require_scores, score_cases
from medgen.inference.opened import open_model
from medgen.inference.placed_patches import Places
from medgen.shipped import require_own
from medgen.types import Array, Progress

_LEAST_SPREAD = 1e-9
_RARE = 0.01


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
    require_own(run)
    table = read_cases(cases)
    chosen = [
        *_enough(table.select(split="train"), "train", table.path),
        *_enough(table.select(split="val"), "val", table.path),
    ]
    require_output(path)
    require_apart(path, table.files)
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
    names = list(scores_of(held_out[0], codes))
    trained, known = (
        np.array([[scores_of(case, codes)[name] for name in names] for case in cases]) for cases in (training, held_out)
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
        limit=max(LEAST_LIMIT, *combined, _prediction_limit(len(held_out), len(names))),
        **origin,
    )


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
