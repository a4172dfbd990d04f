"""The run that made the predictions and the scores of a report, and what does not fit; matched by hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.cases import listed
from medgen.evaluation.classes import predicted_by
from medgen.evaluation.provenance import KEY
from medgen.files import sha256
from medgen.report.content import MethodScores, read_json

_MARKS = ("metrics.jsonl", "run.json", "cases.json", "model", "checkpoints")
"""A run folder has one of these beside its recipe; a folder with a recipe alone is where a user wrote one."""
_USUAL = "run"


def find_runs(folder: Path) -> tuple[Path, ...]:
    """The folder itself where it is a run, else the runs that lie in it, by name."""
    if _is_run(folder):
        return (folder,)
    inside = [place for place in folder.iterdir() if place.is_dir()]
    named = [place for place in inside if place.name == _USUAL and (place / "recipe.yaml").is_file()]
    return tuple(sorted({*named, *(place for place in inside if _is_run(place))}))


def choose_run(runs: Sequence[Path], predictions: Path, scored: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run whose weights made the predictions, or without predictions the scores.

    Args:
        runs: that are there.
        predictions: the folder of predictions, which may be missing.
        scored: weights that made what was scored; empty where the scores name none.

    Returns:
        The run, and sentences on what does not fit. None where no run has the weights: its recipe and its training
        would be those of another model. Where nothing names weights, the run that is there, or the one named ``run``.
    """
    by = predicted_by(predictions).weights
    wanted, made = (by, f"{predictions.name}/ was") if by else (tuple(scored), "what was scored was")
    if not runs:
        return None, []
    names = [_name(run) for run in runs]
    if wanted:
        fitting = [run for run in runs if weights_of(run) in wanted]
        if not fitting:
            others = ", ".join(f"{name} ({_short([weights_of(run)])})" for name, run in zip(names, runs, strict=True))
            return None, [
                f"{made} made by weights {_short(wanted)}, which no run here holds: {others}; "
                "so no training and no recipe is shown"
            ]
        alike = len({weights_of(run) for run in fitting}) < len(fitting)
        same = listed([_name(run) for run in fitting])
        return fitting[0], [f"several runs hold these weights: {same}; shown is {_name(fitting[0])}"] if alike else []
    chosen = next((run for run in runs if run.name == _USUAL), runs[0])
    doubts = []
    if len(runs) > 1:
        doubts.append(
            f"there are several runs, {listed(names)}, and no record of which one to show: {_name(chosen)} is"
        )
    if predictions.is_dir() and any(predictions.iterdir()):
        doubts.append(
            f"{predictions.name}/ has no record of the weights that made it, so it may not be of {_name(chosen)}"
        )
    return chosen, doubts


def weights_of(run: Path) -> str | None:
    """SHA-256 of the weights of a run; None where its training has not ended."""
    model, manifest = run / "model" / "model.json", run / "run.json"
    if model.is_file():
        return str(read_json(model).get("weights_sha256") or "") or None
    return str(read_json(manifest).get("model_sha256") or "") or None if manifest.is_file() else None


def scored_by(scores: MethodScores | None) -> Mapping[str, Any]:
    """What the scores record of what was scored; empty where an earlier version wrote them."""
    found = scores.settings.get(KEY) if scores else None
    return found if isinstance(found, Mapping) else {}


def unlike_scores(scores: MethodScores | None, predictions: Path, files: Mapping[str, Path]) -> list[str]:
    """Sentences on scores that are not of the predictions beside them.

    Args:
        scores: of the method of the report.
        predictions: the folder.
        files: by case, the prediction that the scores are of.
    """
    if scores is None or not files:
        return []
    record, by = scored_by(scores), predicted_by(predictions).weights
    if not record:
        return _older(scores, predictions)
    of = tuple(record.get("weights_sha256") or ())
    if by and of and set(by) != set(of):
        return [
            f"the scores are of predictions by weights {_short(of)}, and {predictions.name}/ was made by "
            f"{_short(by)}: the images and the numbers are of two models; evaluate again"
        ]
    hashes = record.get("sha256") or {}
    changed = [case for case, path in files.items() if case in hashes and sha256(path) != hashes[case]]
    if not changed:
        return []
    return [
        f"{len(changed)} of {len(hashes)} predictions have changed since they were scored ({listed(changed)}); "
        "evaluate again"
    ]


def _older(scores: MethodScores, predictions: Path) -> list[str]:
    """For scores without a record, by the times of the files."""
    report = predictions / "prediction.json"
    if scores.written is None or not report.is_file() or report.stat().st_mtime <= scores.written:
        return []
    return [f"the scores are older than {predictions.name}/; evaluate again"]


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.yaml").is_file() and any((folder / mark).exists() for mark in _MARKS)


def _name(run: Path) -> str:
    """The name of a run folder, also of the one that is called ``.``."""
    return f"{run.resolve().name}/"


def _short(weights: Sequence[str | None]) -> str:
    return ", ".join(each[:12] if each else "none yet" for each in weights)
