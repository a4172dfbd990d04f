"""The files that a report shows: those of a run, or of a folder that holds a whole study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import Case, read_cases
from medgen.errors import InputError
from medgen.recipe.yaml import read_yaml
from medgen.report.columns import Column
from medgen.report.content import Curves, MethodScores, read_baselines, read_curves, read_scores
from medgen.report.health import Validations, read_validations
from medgen.report.manifest import read_manifest, read_warnings
from medgen.report.runs import choose_run, find_runs, scored_by, unlike_scores, weights_of
from medgen.report.samples import (
    Judgement,
    SampleFolder,
    find_judgements,
    find_samples,
    of_samples,
    unlike_samples,
)
from medgen.report.warned import Warned, read_warned

MAP_ENDINGS = ("_detection_map.nii.gz", "_detection_map.nii", "_detection_map.mha")
_BESIDES = ("probability_", "detection_map.", "sd_", "entropy.")
"""Other files of a case in the folder of its prediction."""


@dataclass(frozen=True)
class Sources:
    """The files found in one folder, as values; a part that is missing is empty.

    Args:
        recipe: text of ``recipe.yaml``.
        manifest: entries of ``run.json``.
        curves: by stage.
        methods: scores, the worst method first.
        predictions: by case, the predicted file.
        cases: rows of the case table, by name.
        phantom: whether the images are of a phantom.
        validations: signals of the monitor of an adaptation.
        detections: by case, the detection map.
        missing: sentences on files that pictures of cases need and that are missing.
        warnings: about the model, of ``run.json``.
        warned: warnings on the predictions and on their model.
        doubts: sentences on runs, predictions and scores that do not fit together.
        run: name of the run folder, where one is shown.
        samples: folders of ``medgen sample``.
        judgements: scores of samples.
        status: a sentence to stand on top.
        every: seconds after which the page asks for a newer one; None: never.
    """

    recipe: str
    manifest: dict[str, str]
    curves: dict[str, list[Curves]]
    methods: tuple[MethodScores, ...]
    predictions: dict[str, Path]
    cases: dict[str, Case]
    phantom: bool
    validations: Validations = ()
    detections: dict[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    warned: Warned = field(default_factory=Warned)
    doubts: tuple[str, ...] = ()
    run: str = ""
    samples: tuple[SampleFolder, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    status: str = ""
    every: float | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe as plain values; they are asked for hundreds of times, and reading them takes its time."""
        values = read_yaml(self.recipe) if self.recipe else None
        return values if isinstance(values, dict) else {}

    @property
    def keep(self) -> str:
        """Which weights became the model: ``schedule.keep``."""
        return str((self.settings.get("schedule") or {}).get("keep", "best"))

    @property
    def stop(self) -> str:
        """Whether the monitor may end the training: ``schedule.health.stop``."""
        return str(((self.settings.get("schedule") or {}).get("health") or {}).get("stop", "never"))

    @property
    def roles(self) -> dict[str, Any]:
        """Which columns of the case table the recipe uses."""
        return self.settings.get("data") or {}

    @property
    def segments(self) -> bool:
        """Whether the predictions are label maps: by the recipe, or without one by the scores."""
        if self.roles:
            return bool(self.roles.get("labels")) and not self.roles.get("target")
        return self.main is not None and self.main.of_labels

    @property
    def detection(self) -> MethodScores | None:
        """The scores of the detection maps: those of the main method, or else the best ones."""
        scored = [method for method in (*self.methods, self.main) if method and method.of_lesions]
        return scored[-1] if scored else None

    @property
    def detects(self) -> bool:
        """Whether the study is one of detected lesions: by the scores, or without any by the predictions."""
        return self.main.of_lesions if self.main else bool(self.detections)

    @property
    def classes(self) -> dict[str, Sequence[int]]:
        """The classes of a segmentation, and the label values of the truth that belong to each.

        By the recipe, or without one by the scores; empty where every value is a class.
        """
        given = self.roles.get("classes") or (self.main.settings.get("classes") if self.main else None)
        return given if isinstance(given, dict) else {}

    @property
    def main(self) -> MethodScores | None:
        """The method that the run trained, or else the best one that is no baseline beside another."""
        named = [method for method in self.methods if method.name == self.settings.get("method")]
        scored = named or [method for method in self.methods if not method.beside][-1:]
        return scored[0] if scored else None


def find_sources(folder: Path, *, cases: Path | None = None, run: Path | None = None) -> Sources:
    """Find a run, scores, predictions, samples and a case table in ``folder``.

    Args:
        folder: a run folder, or one that holds ``run/``, ``scores/`` or ``scores.json``, ``predictions/`` and
            ``data/cases.csv`` or ``cases.csv``.
        cases: the case table, where it is elsewhere.
        run: the run to show, whatever weights made the rest.

    Raises:
        InputError: there is no such folder, or nothing in it to report.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder", where=folder, fix="name a run folder, or one made by 'medgen demo'")
    predictions = folder / "predictions"
    runs = (run,) if run else find_runs(folder)
    samples = find_samples(folder)
    made = [*_weights_scored(folder, runs), *(each.weights for each in samples if each.weights)]
    chosen: tuple[Path | None, list[str]] = (run, []) if run else choose_run(runs, predictions, made)
    run, doubts = chosen
    table = cases or next((p for p in (folder / "data/cases.csv", folder / "cases.csv") if p.is_file()), None)
    found = Sources(
        **_of_run(run),
        methods=_scores(folder, run),
        predictions=_predictions(predictions),
        cases={case.name: case for case in read_cases(table).cases} if table else {},
        detections=_detections(predictions),
        phantom=table is not None and (table.parent / "phantom.json").is_file(),
        warned=read_warned(folder),
        samples=samples,
        judgements=(judgements := find_judgements(folder, samples)),
    )
    files = found.detections if found.detects else found.predictions
    found = replace(found, doubts=(*doubts, *unlike_scores(found.main, predictions, files)))
    unlike = unlike_samples(samples, judgements, weights_of(run) if run else None)
    found = replace(found, doubts=(*found.doubts, *unlike))
    if not (
        samples or judgements or found.recipe or found.curves or found.methods or found.predictions or found.detections
    ):
        raise InputError(
            "there is nothing to report in this folder",
            where=folder,
            fix="it should hold recipe.yaml and metrics.jsonl of a run, or run/, scores/, predictions/, samples/",
        )
    return replace(found, missing=_missing(found, predictions, table))


def _of_run(run: Path | None) -> dict[str, Any]:
    """What a run folder gives to the :class:`Sources`; nothing without a run."""
    if run is None:
        return {"recipe": "", "manifest": {}, "curves": {}}
    recipe, log, manifest = run / "recipe.yaml", run / "metrics.jsonl", run / "run.json"
    return {
        "run": run.name,
        "recipe": recipe.read_text(encoding="utf-8-sig"),
        "manifest": read_manifest(manifest) if manifest.is_file() else {},
        "warnings": read_warnings(manifest) if manifest.is_file() else (),
        "curves": read_curves(log) if log.is_file() else {},
        "validations": read_validations(log),
    }


def _missing(found: Sources, predictions: Path, table: Path | None) -> tuple[str, ...]:
    """The reasons why there are no pictures of cases; a training alone needs no case table."""
    sentences = []
    if found.samples and not (predictions.is_dir() or found.methods):
        return ()
    if not (found.predictions or found.detections):
        lack = "nothing of a case in predictions/" if predictions.is_dir() else "no predictions/ here"
        sentences.append(f"{lack}, so no pictures of cases")
    if table is None and (found.predictions or found.detections or found.methods):
        sentences.append("no case table (cases.csv) here, so no pictures of cases; give --cases")
    return tuple(sentences)


def choose_cases(sources: Sources, count: int = 2) -> list[tuple[str, str]]:
    """The cases to show, each with the reason: the typical one and the worst one.

    Of a segmentation the best one is shown too, to compare the worst one with.

    Returns:
        Pairs of a case name and a remark.
    """
    names = [name for name in sources.predictions if name in sources.cases]
    if sources.main is None or not sources.main.metrics:
        return [(name, "") for name in names[:count]]
    metric, scores = sources.main.metrics[0], sources.main.cases
    column = Column.of(metric)
    ranked = sorted(
        (column.badness(scores[n][metric]) if column.better else scores[n][metric], n)
        for n in names
        if np.isfinite(scores.get(n, {}).get(metric, np.nan))
    )
    if len(ranked) <= 1:
        return [(name, "") for name in names[:count]]
    if len(ranked) == 2:
        return [(ranked[0][1], "the better case"), (ranked[1][1], "the worse case")][:count]
    typical, worst = ranked[(len(ranked) - 1) // 2][1], ranked[-1][1]
    best = [(ranked[0][1], "the best case")] if sources.segments else []
    return [(typical, "the typical case"), (worst, "the worst case")][:count] + best


def _scores(folder: Path, run: Path | None) -> tuple[MethodScores, ...]:
    methods = [read_scores(path) for path in sorted((folder / "scores").glob("*.json")) if not of_samples(path)]
    for path in _files_of_scores(folder, [run] if run else []):
        scores = read_scores(path)
        name = scored_by(scores).get("method") or (_method_of(run) if run else "scores")
        methods.append(replace(scores, name=str(name)))
        known = {method.name for method in methods}
        methods += [each for each in read_baselines(path) if each.name not in known]
    return tuple(sorted(methods, key=_badness, reverse=True))


def _files_of_scores(folder: Path, runs: Sequence[Path]) -> list[Path]:
    """The scores of the method of a run, which no file name names."""
    places = dict.fromkeys((folder / "scores.json", *(run / "scores.json" for run in runs)))
    return [path for path in places if path.is_file() and not of_samples(path)]


def _weights_scored(folder: Path, runs: Sequence[Path]) -> list[str]:
    """Weights that made what was scored, as far as the scores record them."""
    files = [*_files_of_scores(folder, runs), *sorted((folder / "scores").glob("*.json"))]
    return [
        each
        for path in files
        if not of_samples(path)
        for each in scored_by(read_scores(path)).get("weights_sha256") or ()
    ]


def _badness(method: MethodScores) -> float:
    """The first metric, larger where worse; a method without a number comes first."""
    if not method.metrics or method.summary[method.metrics[0]].mean is None:
        return float("inf")
    value = Column.of(method.metrics[0]).badness(method.summary[method.metrics[0]].mean or 0.0)
    return value if np.isfinite(value) else 0.0


def _method_of(run: Path) -> str:
    values = read_yaml((run / "recipe.yaml").read_text(encoding="utf-8-sig"))
    return str(values["method"]) if isinstance(values, dict) and "method" in values else "scores"


def _predictions(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*/*.nii*")):
        case = path.parent.name
        if path.name.startswith(f"{case}_") and not path.name.startswith(tuple(f"{case}_{kind}" for kind in _BESIDES)):
            found.setdefault(path.parent.name, path)
    return found


def _detections(folder: Path) -> dict[str, Path]:
    """Detection maps by case, one folder a case (as ``medgen predict`` writes) or flat (as PI-CAI does)."""
    found: dict[str, Path] = {}
    for path in sorted((*folder.glob("*_detection_map.*"), *folder.glob("*/*_detection_map.*"))):
        ending = next((ending for ending in MAP_ENDINGS if path.name.endswith(ending)), None)
        if ending and not path.name.startswith("."):
            found.setdefault(path.name.removesuffix(ending), path)
    return found
