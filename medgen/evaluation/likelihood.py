"""Cases judged by a generative model: their likelihood, and how odd they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.cases import Case, CaseTable, read_cases
from medgen.errors import InputError, UsageError
from medgen.evaluation.scores import Scores, number_text
from medgen.files import sha256
from medgen.inference.novelty import COMBINED, Novelty, load_novelty, novelty_file
from medgen.inference.oddness import PATCHES, CaseScores, require_scores, score_cases
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Places
from medgen.methods.base import HasDensity
from medgen.metrics.separation import Separation, separation
from medgen.metrics.statistics import summarise
from medgen.types import Progress, SplitOrAll

_ANSWERS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
_UNFITTED = "no novelty score is fitted (medgen novelty fit), so only scores without held-out cases are listed"


def evaluate_likelihood(
    run: str | Path,
    cases: str | Path,
    *,
    odd: str | None = None,
    split: SplitOrAll | None = None,
    patches: int | None = None,
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Scores:
    """Score the cases of a table by a generative model.

    Args:
        run: its run folder, or its ``model`` folder.
        cases: the case table.
        odd: a column that says which cases are odd (1 or 0, yes or no, true or false), or ``domain``: those of the
            target domain.
        split: cases to score; by default ``test`` if the table has such cases, else all.
        patches: of each case, :data:`PATCHES` by default; after a fit of the novelty score those of the fit, and no
            other number, because its limit holds for the mean of so many.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        allow_modules: modules outside medgen that the model may name as its method.
        progress: called with (cases done, cases in all, what).

    Returns:
        Of each case ``log_likelihood`` (nats a patch, of the density in normalised units), ``bits_per_voxel``,
        the scores of :class:`~medgen.inference.novelty.Judgement`, their tails as ``tail_<score>``, and ``odd``.
        ``details`` has ``bound`` (whether the likelihood is a lower bound), ``limit``, ``alarms`` and ``auroc``.

    Raises:
        UsageError: an argument is out of range, ``patches`` are not those of the fit, or the model has neither a
            likelihood nor codes.
        InputError: the table is wrong, has no case of the split, or does not say which cases are odd.
        ModelError: the model is missing or damaged, or its novelty score was fitted to other weights.
    """
    table = read_cases(cases)
    chosen: SplitOrAll = split or ("test" if table.select(split="test") else "all")
    rows = table.select(split=None if chosen == "all" else chosen)
    if not rows:
        raise InputError(f"no case has split '{chosen}'", where=table.path, fix="choose another --split")
    marked = {} if odd is None else {case.name: _is_odd(case, odd, table) for case in rows}
    unfitted = Places(PATCHES if patches is None else patches, 0)
    model = open_model(run, device, allow_modules)
    require_scores(model)
    novelty = load_novelty(model) if novelty_file(run).is_file() else None
    places = _as_fitted(novelty, patches, novelty_file(run)) if novelty else unfitted
    failed: dict[str, str] = {}
    scored = [_row(each, novelty) for each in score_cases(model, rows, places, failed, progress)]
    if odd is not None:
        scored = [{**row, "odd": marked[row["case"]]} for row in scored]
    names = [name for name in (scored[0] if scored else ()) if name not in ("case", "odd")]
    return Scores(
        task="likelihood",
        cases=tuple(scored),
        summary={name: summarise([row[name] for row in scored] + [float("nan")] * len(failed)) for name in names},
        failed=tuple({"case": name, "reason": reason} for name, reason in failed.items()),
        notes=_notes(model, novelty, scored),
        settings={
            "split": chosen,
            "patches": places.patches,
            "seed": places.seed,
            "references": {"name": table.path.name, "sha256": sha256(table.path)},
        },
        details={"model": model.origin, **_details(model, novelty, scored, names)},
    )


def auroc_table(scores: Scores) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Heading and rows of the areas under the ROC curves; None where there are none."""
    areas: Mapping[str, Separation] = scores.details.get("auroc", {})
    if not areas:
        return None
    rows: list[tuple[str, ...]] = [
        (
            name,
            number_text(each["auroc"]),
            " to ".join(map(number_text, each["ci95"])),
            str(each["n_odd"]),
            str(each["n_usual"]),
        )
        for name, each in areas.items()
    ]
    return ("score", "AUROC", "95 % interval", "odd", "usual"), rows


def _as_fitted(novelty: Novelty, patches: int | None, path: Path) -> Places:
    """The places of the fit: the mean of more patches varies less, so the limit holds for this number alone."""
    if patches not in (None, novelty.patches):
        raise UsageError(
            f"the novelty score was fitted with {novelty.patches} patches of each case, and --patches is {patches}",
            where=path,
            fix=f"leave it out, or fit again: medgen novelty fit RUN -i CASES.csv --overwrite --patches {patches}",
        )
    return novelty.places


def _row(case: CaseScores, novelty: Novelty | None) -> dict[str, Any]:
    row: dict[str, Any] = {"case": case.case}
    if case.log_likelihood is not None:
        row |= {"log_likelihood": case.log_likelihood, "bits_per_voxel": case.bits_per_voxel}
    if novelty is None:
        return row | case.plain()
    judged = novelty.judge(case)
    return row | judged.scores | {f"tail_{name}": tail for name, tail in judged.tails.items()}


def _details(
    model: Opened, novelty: Novelty | None, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if isinstance(model.method, HasDensity):
        details["bound"] = model.method.bound
    if novelty is not None:
        alarms = [row["case"] for row in rows if row[COMBINED] > novelty.limit]
        details |= {"limit": novelty.limit, "rule": novelty.rule, "alarms": alarms}
    known = [row for row in rows if row.get("odd") is not None]
    kinds = [bool(row["odd"]) for row in known]
    if any("odd" in row for row in rows):
        scores = [name for name in names if not name.startswith(("tail_", "log_", "bits_"))]
        details["auroc"] = {name: separation([row[name] for row in known], kinds) for name in scores}
    return details


def _notes(model: Opened, novelty: Novelty | None, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    notes = [] if novelty else [_UNFITTED]
    if isinstance(model.method, HasDensity):
        kind = "a lower bound of the log-likelihood" if model.method.bound else "the exact log-likelihood"
        notes.append(f"log_likelihood is {kind} of a patch in nats, of the density in normalised units")
    if novelty is not None:
        alarms = sum(row[COMBINED] > novelty.limit for row in rows)
        notes.append(f"{alarms} of {len(rows)} cases are beyond the limit of the combined score, {novelty.limit:.2f}")
    return tuple(notes)


def _is_odd(case: Case, column: str, table: CaseTable) -> bool | None:
    """Of a case, by its cell; None where that is empty."""
    if column == "domain":
        return None if case.domain is None else case.domain == "target"
    if column not in table.roles:
        raise InputError(
            f"no case has a value in the column '{column}'",
            where=table.path,
            fix="name the column that says which cases are odd (1 or 0), or 'domain'",
        )
    cell = case.images.get(column)  # a column that is no role is read as one, with the cell as a file's name
    if cell is None:
        return None
    if cell.name.lower() not in _ANSWERS:
        raise InputError(
            f"the column '{column}' has '{cell.name}' for case '{case.name}'",
            where=table.path,
            fix="write 1 for an odd case, 0 for a usual one, and nothing where it is not known",
        )
    return _ANSWERS[cell.name.lower()]
