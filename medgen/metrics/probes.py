"""Linear probes: how well a known factor can be told from latent codes, as one number for "interpretable".

A linear model learns the factor from the codes of some patients and tells it for the others: ridge regression of a
number, judged by the coefficient of determination R² (1 is perfect, 0 the mean of all), or logistic regression of a
class, judged by the area under the ROC curve (0.5 is chance). All patches of a patient are in one fold, so that
patients and not patches are told apart (Alain & Bengio 2016, arXiv:1610.01644, for probes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.resampling import Numbers, interval, ratio, times_drawn

FOLDS = 5
PENALTIES = np.logspace(-2, 6, 9)
"""Of the squared weights, for standardised codes and a sum over patches; the best in an inner cross-validation."""

CHANCE = {"r2": 0.0, "auroc": 0.5}
"""What a probe reaches that knows nothing."""


class ProbeScore(NamedTuple):
    """How well a factor can be told.

    Attributes:
        name: ``r2`` of a number, ``auroc`` of a class.
        value: on patients that the probe has not seen.
        interval: 95 %, by a bootstrap over patients with the probes as they are; NaN below six patients.
    """

    name: Literal["r2", "auroc"]
    value: float
    interval: tuple[float, float]


def linear_probe(
    codes: ArrayLike, factor: ArrayLike, groups: ArrayLike, seed: int = 0, *, draws: int = 2000
) -> ProbeScore:
    """Tell a factor from codes by a linear model, in cross-validation grouped by patient.

    Args:
        codes: ``(N, ...)``, finite; each code is flattened. Pixels serve as a baseline.
        factor: ``(N,)``. Two different values are classes, and the AUROC is that of the larger one; more are numbers.
        groups: ``(N,)`` the patient of each row.
        seed: of folds and bootstrap: the same for all codes that are to be compared.
        draws: bootstrap samples.

    Returns:
        R² over all rows, each told by a probe that has not seen its patient; or the AUROC over the pairs of rows of one
        fold, since scores of two probes have no common scale, and pooled they fall below chance.

    Raises:
        ValueError: lengths differ, a number is not finite, the factor is the same throughout or has more than two
            classes that are no numbers, or there are too few patients (of each class) for two folds.
    """
    rows, target, patients, classes = _checked(codes, factor, groups)
    folds = list(_folds(target, patients, FOLDS, seed, classes=classes))
    told = np.empty(len(rows))
    for train, test in folds:
        told[test] = _told(rows, target, patients, train, test, seed, classes=classes)
    ones = np.ones((1, int(patients.max()) + 1))
    weights = times_drawn(ones.shape[1], draws, np.random.default_rng(seed))
    values = []
    for each in (ones, weights):
        times = each[:, patients]
        values.append(_auroc(target, told, folds, times) if classes else _r2(target, told, times))
    return ProbeScore("auroc" if classes else "r2", float(values[0][0]), interval(values[1], ones.shape[1]))


class FactorDirection(NamedTuple):
    """The way through code space that a factor takes.

    Attributes:
        step: ``(D,)`` change of the code with one unit of the factor.
        weights: ``(D,)`` of the probe: it tells ``offset + code @ weights``, and ``step @ weights`` is 1.
        offset: of the probe.
        sd: of the factor.
    """

    step: Numbers
    weights: Numbers
    offset: float
    sd: float


def factor_direction(codes: ArrayLike, factor: ArrayLike, groups: ArrayLike, seed: int = 0) -> FactorDirection:
    """The direction of a ridge probe of all patients, as a pattern and not as a filter.

    The weights of a probe also cancel what disturbs it; the codes of patients with more of the factor lie along the
    covariance of the codes times these weights (Haufe et al. 2014, doi:10.1016/j.neuroimage.2013.10.067, eq. 6).

    Args:
        codes: ``(N, ...)``, finite.
        factor: ``(N,)``; of two classes the smaller one is 0 and the larger one 1.
        groups: ``(N,)`` the patient of each row.
        seed: of the folds that choose the penalty.

    Raises:
        ValueError: as for :func:`linear_probe`, or the codes say nothing of the factor.
    """
    rows, target, patients, _ = _checked(codes, factor, groups)
    mean, scale, basis = _basis(rows)
    inner = ((rows - mean) / scale) @ basis.T
    model = _chosen(inner, target, patients, seed, classes=False)
    weights = (basis.T @ model.coef_) / scale
    step = (rows - mean).T @ ((rows - mean) @ weights) / len(rows)
    along = float(step @ weights)
    if not along > 0:
        raise ValueError("the codes say nothing of the factor")
    return FactorDirection(step / along, weights, float(model.intercept_ - mean @ weights), float(target.std()))


def _checked(codes: ArrayLike, factor: ArrayLike, groups: ArrayLike) -> tuple[Numbers, Numbers, NDArray[np.intp], bool]:
    """Codes as rows, the factor as numbers, patients as numbers from 0, and whether the factor is a class."""
    rows = np.asarray(codes, np.float64)
    values, patients = np.asarray(factor), np.unique(np.asarray(groups), return_inverse=True)[1]
    if not len(rows) == len(values) == len(patients) or values.ndim != 1:
        raise ValueError(f"{len(rows)} codes, a factor of shape {values.shape} and {len(patients)} groups do not match")
    rows = rows.reshape(len(rows), -1)
    kinds, numbers = np.unique(values, return_inverse=True)
    classes = len(kinds) == 2
    if len(kinds) < 2:
        raise ValueError("the factor is the same throughout")
    if not classes:
        if values.dtype.kind not in "fiu":
            raise ValueError(f"the factor has {len(kinds)} classes, and a probe tells two apart")
        numbers = values
    target = numbers.astype(np.float64)
    if not (np.isfinite(rows).all() and np.isfinite(target).all()):
        raise ValueError("a code or the factor is not finite")
    return rows, target, patients, classes


def _folds(
    target: Numbers, patients: NDArray[np.intp], count: int, seed: int, *, classes: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to learn from and to tell, by patient; every fold has both classes where there are two."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    least = min(len(np.unique(patients[target == each])) for each in (0, 1)) if classes else int(patients.max()) + 1
    if least < 2:
        raise ValueError(f"{'a class has' if classes else 'there is'} only {least} patient, and a probe needs 2")
    kind = StratifiedGroupKFold if classes else GroupKFold
    folds = kind(min(count, least), shuffle=True, random_state=seed)
    yield from folds.split(np.zeros((len(target), 1)), target.astype(int) if classes else None, patients)


def _basis(rows: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Mean and standard deviation of each number of the codes, and the axes of what the standardised codes span.

    A penalty of the squared weights is the same in any orthonormal basis: a probe of n patches needs n axes, of however
    many pixels they are.
    """
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale <= 1e-9 * max(float(scale.max(initial=0)), 1e-300)] = np.inf  # what never changes says nothing
    _, size, axes = np.linalg.svd((rows - mean) / scale, full_matrices=False)
    kept = size > 1e-10 * size[0]
    kept[0] = True  # of codes that never change, too, so that a probe of them tells the mean
    return mean, scale, axes[kept]


def _told(
    rows: Numbers,
    target: Numbers,
    patients: NDArray[np.intp],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    seed: int,
    *,
    classes: bool,
) -> Numbers:
    mean, scale, basis = _basis(rows[train])
    one, other = (((rows[each] - mean) / scale) @ basis.T for each in (train, test))
    model = _chosen(one, target[train], patients[train], seed, classes=classes)
    told: Numbers = model.decision_function(other) if classes else model.predict(other)
    return told


def _chosen(rows: Numbers, target: Numbers, patients: NDArray[np.intp], seed: int, *, classes: bool) -> Any:
    """The model with the best penalty, by an inner cross-validation; with the middle one where that cannot be."""
    known = np.unique(patients, return_inverse=True)[1]
    try:
        folds = list(_folds(target, known, FOLDS, seed, classes=classes))
    except ValueError:
        return _fitted(float(PENALTIES[len(PENALTIES) // 2]), rows, target, classes=classes)
    losses = np.zeros(len(PENALTIES))
    for place, penalty in enumerate(PENALTIES):
        for train, test in folds:
            model = _fitted(float(penalty), rows[train], target[train], classes=classes)
            losses[place] += _loss(model, rows[test], target[test], classes=classes)
    return _fitted(float(PENALTIES[losses.argmin()]), rows, target, classes=classes)


def _fitted(penalty: float, rows: Numbers, target: Numbers, *, classes: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky") if classes else Ridge(alpha=penalty)
    return model.fit(rows, target)


def _loss(model: Any, rows: Numbers, target: Numbers, *, classes: bool) -> float:
    """Sum of squared errors, or of negative log-likelihoods."""
    if classes:
        margin = np.where(target == 1, 1, -1) * model.decision_function(rows)
        return float(np.logaddexp(0, -margin).sum())
    return float(np.square(model.predict(rows) - target).sum())


def _r2(target: Numbers, told: Numbers, times: Numbers) -> Numbers:
    """R² for each row of ``times`` (draws, N), how often each row of the codes counts."""
    total = times.sum(axis=1)
    spread = times @ target**2 - ratio((times @ target) ** 2, total)
    return 1 - ratio(times @ (target - told) ** 2, np.where(spread > 1e-12 * (times @ target**2), spread, 0.0))


def _auroc(
    target: Numbers, told: Numbers, folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]], times: Numbers
) -> Numbers:
    """Share of the pairs of one fold whose member of class 1 has the higher score, for each row of ``times``."""
    right, pairs = np.zeros(len(times)), np.zeros(len(times))
    for _, test in folds:
        yes, no = test[target[test] == 1], test[target[test] == 0]
        above = (np.sign(told[yes][:, None] - told[no][None]) + 1) / 2
        right += ((times[:, yes] @ above) * times[:, no]).sum(axis=1)
        pairs += times[:, yes].sum(axis=1) * times[:, no].sum(axis=1)
    return ratio(right, pairs)
