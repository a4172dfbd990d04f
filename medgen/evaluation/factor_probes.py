"""What codes know of factors that a table tells, beside pixels and beside the same network without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medgen
from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.files import sha256
from medgen.inference.code_table import Codes, codes_of, read_codes, require_seed
from medgen.inference.encoding import encoded
from medgen.inference.factor_table import factor_of, matched, read_table
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import patch_around, prepared_cases
from medgen.metrics.probes import ProbeScore, linear_probe
from medgen.types import Array, Progress

CODES, PIXELS, UNTRAINED = "codes", "pixels", "untrained"
KEYS = ("codes_sha256", "table_sha256", "factors")
"""That the file of probes has."""
_NAMES = ("split", "patient")
"""Columns that say who a case is, and not what it is like."""


@dataclass(frozen=True)
class Probed:
    """One factor.

    Attributes:
        factor: the column.
        patches: with a value.
        cases: with a value.
        scores: by what was probed: ``codes``, and ``pixels`` and ``untrained`` as baselines.
        reason: why there are none.
    """

    factor: str
    patches: int
    cases: int
    scores: dict[str, ProbeScore]
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {
            name: {"metric": score.name, "value": score.value, "ci95": score.interval}
            for name, score in self.scores.items()
        }
        content = {"factor": self.factor, "patches": self.patches, "cases": self.cases, **told}
        return content if self.reason is None else content | {"reason": self.reason}


@dataclass(frozen=True)
class Probes:
    """All factors.

    Attributes:
        factors: in the order of the table.
        about: codes, table and model that they are of.
    """

    factors: tuple[Probed, ...]
    about: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.about, "factors": [each.as_dict() for each in self.factors]}


def probe_codes(
    codes: str | Path,
    table: str | Path,
    *,
    factors: Sequence[str] = (),
    run: str | Path | None = None,
    cases: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Probes:
    """Tell every factor of a table from codes, by linear probes in cross-validation over patients.

    Args:
        codes: file of ``medgen latent encode``.
        table: CSV file with a column ``case`` and the factors. A column ``patient`` says which cases are one person;
            else every case is one.
        factors: columns; by default all that are numbers or have two values.
        run: with ``cases``, the same probes are made of the pixels of the same patches, and of codes of the same
            network with random weights.
        cases: the case table of the codes.
        seed: of folds and bootstrap, and of the random weights, 0 to 2^32 - 1.
        device: for the untrained network.
        allow_modules: modules outside medgen that the model may name as its method.
        progress: called with (cases done, cases in all, what).

    Returns:
        A score for each factor; one that cannot be probed has a reason in its place, if another can.

    Raises:
        UsageError: a column is not there, the seed is out of range, or only one of ``run`` and ``cases`` is given.
        InputError: a file is damaged, the codes are of another model, no code is of a case of the table, or no
            factor can be probed.
        ModelError: the model is missing or damaged.
    """
    if (run is None) != (cases is None):
        fix = "--run RUN --input CASES.csv, the model and the cases of the codes"
        raise UsageError("the baselines need both --run and --input", fix=fix)
    require_seed(seed)
    read, columns = read_codes(codes), read_table(table)
    if missing := [name for name in factors if name not in columns]:
        what = f"the table has no column '{missing[0]}'"
        raise UsageError(what, where=table, fix=f"choose one of: {', '.join(columns)}")
    known = set().union(*columns.values()) if columns else set()
    if not known & set(read.case.tolist()):
        raise InputError(
            "no code is of a case of this table", where=table, fix=f"give a table of cases such as {read.case[0]}"
        )
    patients = columns.get("patient", {})
    groups = np.array([patients.get(case, case) for case in read.case.tolist()])
    inputs = {CODES: read.flat}
    if run is not None and cases is not None:
        inputs |= _baselines(read, run, cases, seed, device, allow_modules, progress)
    chosen = factors or [name for name in columns if name not in _NAMES and _is_factor(columns[name])]
    found = [_probed(name, columns[name], read, inputs, groups, seed) for name in chosen]
    if not any(each.scores for each in found):
        reasons = "; ".join(f"{each.factor}: {each.reason}" for each in found) or "no column has numbers or two classes"
        raise InputError(f"no factor can be probed ({reasons})", where=table, fix="correct them, or give others")
    about = {"medgen": medgen.__version__, "weights_sha256": read.weights, "codes_sha256": sha256(read.path)}
    return Probes(tuple(found), {**about, "table_sha256": sha256(table), "seed": seed})


def _is_factor(cells: dict[str, str]) -> bool:
    """Whether a column holds numbers, or two classes: paths and notes do not."""
    try:
        return factor_of(cells) is not cells or len(set(cells.values())) == 2
    except ValueError:
        return True  # numbers, of which one cannot be probed: the reason is told in place of a score


def _probed(
    name: str,
    cells: dict[str, str],
    codes: Codes,
    inputs: dict[str, Array],
    groups: Array,
    seed: int,
) -> Probed:
    known, _ = matched(codes.case, cells)
    scores: dict[str, ProbeScore] = {}
    reason = None
    try:
        _, factor = matched(codes.case, factor_of(cells))
        for kind, table in inputs.items():
            scores[kind] = linear_probe(table[known], factor, groups[known], seed)
    except ValueError as error:
        reason = str(error)
    return Probed(name, int(known.sum()), len(set(codes.case[known].tolist())), scores, reason)


def _baselines(
    codes: Codes,
    run: str | Path,
    cases: str | Path,
    seed: int,
    device: str,
    allow_modules: Sequence[str],
    progress: Progress | None,
) -> dict[str, Array]:
    model = open_model(run, device, allow_modules)
    codes_of(model, codes)
    images = images_of(codes, model, cases, progress)
    network = untrained(model, seed)
    random = np.stack([encoded(network, image) for image in images])
    return {PIXELS: images.reshape(len(images), -1), UNTRAINED: random.reshape(len(images), -1)}


def images_of(codes: Codes, model: Opened, cases: str | Path, progress: Progress | None = None) -> Array:
    """The patches (N, C, *size) that codes are of, cut again at the same places.

    Raises:
        InputError: a case is missing, or cannot be prepared.
    """
    table = read_cases(cases)
    wanted = set(codes.case.tolist())
    if missing := sorted(wanted - {case.name for case in table.cases}):
        raise InputError(
            f"the table has no case '{missing[0]}', and a code is of it",
            where=table.path,
            fix="give the case table that was encoded",
        )
    failed: dict[str, str] = {}
    found: dict[int, Array] = {}
    chosen = [case for case in table.cases if case.name in wanted]
    for name, prepared in prepared_cases(chosen, model, failed, progress):
        for row in np.flatnonzero(codes.case == name).tolist():
            found[row] = patch_around(name, row, prepared, codes.centre_mm[row], model.patches).image
    for name, reason in failed.items():
        raise InputError(
            f"case '{name}': {reason}", where=table.path, fix="mend it ('medgen check'), or encode the others"
        )
    return np.stack([found[row] for row in range(len(codes))])


def untrained(model: Opened, seed: int = 0) -> Opened:
    """The same network with random weights; the state of the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = type(model.method)(model.method.config, model.method.shape)
    return replace(model, method=method.to(model.device).eval())


def probe_table(probes: Probes) -> list[tuple[str, ...]]:
    """Rows of text, the heading first: factor, metric, a column for each thing that was probed, patches, cases."""
    kinds = list(dict.fromkeys(kind for each in probes.factors for kind in each.scores)) or [CODES]
    rows: list[tuple[str, ...]] = [("factor", "metric", *kinds, "patches", "cases")]
    for each in probes.factors:
        metric = next(iter(each.scores.values())).name if each.scores else each.reason or ""
        cells = [_cell(each.scores[kind]) if kind in each.scores else "–" for kind in kinds]
        rows.append((each.factor, metric, *cells, str(each.patches), str(each.cases)))
    return rows


def _cell(score: ProbeScore) -> str:
    low, high = score.interval
    return f"{score.value:.2f}" + (f" ({low:.2f} to {high:.2f})" if low == low else "")
