"""The scores of predictions with those of baselines beside them: ``medgen evaluate ... --baselines RUN``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medgen.baselines.keeping import FOLDER, fitted
from medgen.baselines.scoring import BASELINES, OF_CLASSES, OF_LESIONS, Baseline, Labels, predict_baselines
from medgen.baselines.trained import TrainedRun, read_run
from medgen.baselines.verdict import MEASURES, Verdict, Versus, judge, measure_of
from medgen.cases import Case, listed, read_cases
from medgen.errors import UsageError
from medgen.evaluation import Scores, evaluate
from medgen.evaluation.classes import predicted_by
from medgen.evaluation.provenance import KEY
from medgen.files import write_json
from medgen.metrics.statistics import compare
from medgen.types import Progress

BESIDE = "baselines"
"""Key of the baselines in the file of scores, and of what made them in its settings."""
_NAMES = {"synthesis": BASELINES, "segmentation": OF_CLASSES, "detection": OF_LESIONS}
_OF_THE_TRUTH = ("lesions_true", "volume_true_ml")
_CURVES = ("curves", "findings")
_evaluate: Callable[..., Scores] = evaluate


def evaluate_with_baselines(
    task: str,
    predictions: str | Path,
    references: str | Path,
    run: str | Path,
    *,
    store: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Scores:
    """Score predictions, and beside them baselines without a network that learn from the training cases of a run.

    A baseline is fitted once, with the seed of the run, and kept in ``baselines/<name>`` of the run. It predicts the
    scored cases from their inputs, prepared as for the run, and is scored with the same options.

    Args:
        task: ``synthesis``, ``segmentation`` or ``detection``.
        predictions: see :func:`medgen.evaluation.evaluate`.
        references: the case table, which has the inputs too.
        run: a finished run.
        store: folder of its prepared cases; by default ``store`` in the run.
        progress: called with (done, total, what).
        **options: of :func:`medgen.evaluation.evaluate`.

    Returns:
        The scores. ``details["baselines"]`` has for each baseline its ``cases``, ``summary`` and ``failed``, as the
        scores themselves, and by metric the paired ``difference`` of the predictions less the baseline.
        ``details["verdict"]`` has the sentence, and whether the model is ``better``.

    Raises:
        UsageError: the references are no case table, the run is of another task, or its training cases are not there.
        ModelError: there is no finished run.
        InputError: see :func:`medgen.evaluation.evaluate`; or the training cases have nothing to learn from.
        StorageError: the folder of the run cannot be written.
    """
    known = read_run(run, store)
    _require_task(known, task)
    table = _table(Path(references))
    if task == "detection" and options.get("compare"):
        raise UsageError("--compare and --baselines cannot be given together", fix="run the command twice")
    scores = _evaluate(task, predictions, references, progress=progress, **options)
    scored = {row["case"] for row in scores.cases}
    cases = [case for case in read_cases(table).cases if case.name in scored]
    fits = {name: _fitted(known, name, progress) for name in _NAMES[task]}
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(prefix=".partial-", dir=known.folder / FOLDER) as temporary:
        failed = _predict(fits, known, task, cases, Path(temporary), options.get("role"), progress)
        for name in fits:
            found[name] = _beside(task, scores, Path(predictions), Path(temporary) / name, table, options, failed)
    verdict = verdict_of(task, scores, found)
    made = {
        "training_cases": len(known.training),
        "weights_sha256": known.weights,
        "made_from": {name: digest for name, (_, digest) in fits.items()},
    }
    return replace(
        scores,
        notes=(*scores.notes, *_remarks(known, scores, Path(predictions))),
        settings={**scores.settings, BESIDE: made},
        details={
            **scores.details,
            BESIDE: found,
            **({"verdict": {"better": verdict.good, "text": verdict.text}} if verdict else {}),
        },
    )


def verdict_of(task: str, scores: Scores, found: Mapping[str, Mapping[str, Any]]) -> Verdict | None:
    """The sentence on scores with baselines beside them."""
    measure = measure_of(task, {name: each["mean"] for name, each in scores.summary.items()})
    key = measure.key
    label = str((scores.settings.get(KEY) or {}).get("method") or "the model")
    versus = {}
    for name, each in found.items():
        if task == "detection":
            difference = each["difference"].get(key)
            if difference:
                versus[name] = Versus.stored(scores.summary[key]["mean"], each["summary"][key]["mean"], difference)
        else:
            theirs = {row["case"]: row.get(key, math.nan) for row in each["cases"]}
            ours = [row.get(key, math.nan) for row in scores.cases]
            versus[name] = Versus.of_cases(ours, [theirs.get(row["case"], math.nan) for row in scores.cases])
    return judge(measure, label, versus)


def _fitted(run: TrainedRun, name: str, progress: Progress | None) -> tuple[Baseline, str]:
    if progress is not None:
        progress(0, 1, f"baseline {name}: fitting on {len(run.training)} cases")
    return fitted(run, name)


def _predict(
    fits: Mapping[str, tuple[Baseline, str]],
    run: TrainedRun,
    task: str,
    cases: Sequence[Case],
    output: Path,
    role: str | None,
    progress: Progress | None,
) -> dict[str, str]:
    """Predict into folders that name their classes as the folder of a model does; the reasons of cases that fail."""
    failed: dict[str, str] = {}
    labels = Labels(run.classes, run.settings) if run.task.labels else None
    role = (str(run.preparation.roles.labels) if task == "detection" else role) or ("label" if labels else "ct")
    baselines = {name: baseline for name, (baseline, _) in fits.items()}
    predict_baselines(
        baselines, run.preparation, cases, output, role=role, labels=labels, failed=failed, progress=progress
    )
    model = {"target": role, "classes": run.classes, "class_values": run.values}
    for name in fits:
        write_json(output / name / "prediction.json", {"model": model})
        for case in cases:
            if run.settings.detection and case.name not in failed:
                place = output / name / case.name / f"{case.name}_lesions.json"
                write_json(place, {"class": run.settings.detection.target_class})
    return failed


def _beside(
    task: str,
    scores: Scores,
    predictions: Path,
    folder: Path,
    table: Path,
    options: Mapping[str, Any],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """The scores of one baseline, and the paired differences from it."""
    same = {key: value for key, value in options.items() if key != "group_predictions"}
    own = _evaluate(task, folder, table, **same)
    reasons = tuple({**row, "reason": failed.get(row["case"], row["reason"])} for row in own.failed)
    details = {key: own.details[key] for key in _CURVES if key in own.details}
    result = {"cases": own.cases, "summary": own.summary, "failed": reasons, **details}
    if task == "detection":
        again = _evaluate("detection", predictions, table, **{**same, "compare": folder})
        comparison = again.details["comparison"]
        differences = {
            name: {"mean_difference": each["difference"], "ci95": each["ci95"], "p": each["p"], "n": comparison["n"]}
            for name, each in comparison["metrics"].items()
        }
        return {**result, "difference": differences}
    theirs = {row["case"]: row for row in own.cases}
    return {
        **result,
        "difference": {
            metric: compare(*_paired(metric, scores, theirs))
            for metric in own.summary
            if metric in scores.summary and not metric.startswith(_OF_THE_TRUTH)
        },
    }


def _paired(metric: str, scores: Scores, theirs: Mapping[str, Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    rows = [(row, theirs.get(row["case"], {})) for row in scores.cases]
    return [one.get(metric, math.nan) for one, _ in rows], [two.get(metric, math.nan) for _, two in rows]


def _remarks(run: TrainedRun, scores: Scores, predictions: Path) -> list[str]:
    """What a reader of the comparison must know."""
    name, weights = run.folder.resolve().name, predicted_by(predictions).weights
    remarks = [f"baselines: fitted on the {len(run.training)} training cases of {name}/"]
    if weights and run.weights not in weights:
        remarks.append(
            f"the predictions were made by weights {weights[0][:12]}, and {name}/ holds {run.weights[:12]}: "
            "the baselines may have learnt from other cases than the model"
        )
    if learnt := [str(row["case"]) for row in scores.cases if row["case"] in run.learnt]:
        remarks.append(f"training or validation cases of {name}/ are among the scored ones: {listed(learnt)}")
    return remarks


def _require_task(run: TrainedRun, task: str) -> None:
    makes = "synthesis" if task == "synthesis" else "segmentation"
    if task in MEASURES and run.task.name == makes and (task != "detection" or run.settings.detection):
        return
    made = f"it makes {'an' if run.task.result[0] in 'aeiou' else 'a'} {run.task.result}"
    made += " in which no lesions are detected" if run.task.name == makes else ""
    raise UsageError(
        f"the baselines of this run cannot be scored as {task}: {made}",
        where=run.folder,
        fix="name the run that made the predictions, or evaluate without --baselines",
    )


def _table(references: Path) -> Path:
    path = references / "cases.csv" if references.is_dir() and (references / "cases.csv").is_file() else references
    if path.suffix != ".csv":
        raise UsageError(
            "baselines read the inputs of each case, which a case table alone names",
            where=path,
            fix="give a cases.csv as the references, or evaluate without --baselines",
        )
    return path
