"""The reports beside the images: ``prediction.json`` and ``failed.csv``, without patient data or folders."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

import medgen
from medgen.errors import CasesFailed, MedgenError, UsageError
from medgen.files import atomic_path, write_json
from medgen.inference.labels import Found
from medgen.inference.made_from import MadeFrom
from medgen.inference.memory import out_of_memory
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.writing import Written

REPORT = "prediction.json"
REPORT_KEYS = ("cases", "model")
"""That every report has."""
FAILED = "failed.csv"
FAILED_COLUMNS = ("case", "reason")
_SHOWN = 5
"""Failed cases that the error names; all stand in ``failed.csv``, with their reasons."""
_PACKAGES = ("torch", "numpy", "nibabel", "monai")


@dataclass(frozen=True)
class CaseReport:
    """The state of one case.

    Attributes:
        case: its name.
        status: ``done``; ``kept``: it was there before; ``failed``.
        output: the file, relative to the output folder, of several images the first; of a case that failed it is there
            where files of an earlier run are left, and else empty.
        seconds: time taken.
        notes: decisions made on the way.
        reason: why it failed.
        found: of a label map, by class, how much of it there is.
        patient_score: of a model that detects lesions, the highest confidence, 0 where there is none.
        lesions: of such a model, how many were found.
        made_from: what decides the result; of none that failed.
        warnings: what makes the result doubtful.
        measured: see :class:`~medgen.inference.writing.Written`.
    """

    case: str
    status: Literal["done", "kept", "failed"]
    output: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    reason: str = ""
    found: Mapping[str, Found] = field(default_factory=dict)
    patient_score: float | None = None
    lesions: int | None = None
    made_from: MadeFrom | None = None
    warnings: tuple[str, ...] = ()
    measured: Mapping[str, float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortResult:
    """The result of a cohort.

    Attributes:
        output: the folder.
        cases: how each case went, in the order of the table.
    """

    output: Path
    cases: tuple[CaseReport, ...]

    @property
    def failed(self) -> tuple[CaseReport, ...]:
        """The cases without an output."""
        return tuple(case for case in self.cases if case.status == "failed")

    def require_complete(self) -> None:
        """Raise where a case failed.

        Raises:
            CasesFailed: names the first of them.
        """
        if not self.failed:
            return
        names = [case.case for case in self.failed[:_SHOWN]] + ["..."] * (len(self.failed) > _SHOWN)
        raise CasesFailed(
            f"{len(self.failed)} of {len(self.cases)} cases failed: {', '.join(names)}",
            where=self.output / FAILED,
            fix="mend these cases and run again with --resume; finished cases are skipped",
        )


@dataclass(frozen=True)
class Earlier:
    """What ``prediction.json`` knows of an interrupted run.

    Attributes:
        cases: by name.
        results: relative to the output folder, every one that it wrote or was writing when it was interrupted.
    """

    cases: Mapping[str, CaseReport] = field(default_factory=dict)
    results: frozenset[str] = frozenset()


def content_of(written: Written) -> dict[str, Any]:
    """The fields of a :class:`CaseReport` on the content of a prediction."""
    detected = written.detected
    score, lesions = (detected.score, len(detected.lesions)) if detected else (None, None)
    found = {"found": written.found, "patient_score": score, "lesions": lesions}
    return {**found, "warnings": written.warnings, "measured": written.measured}


def write_report(
    path: Path, model: LoadedModel, options: PredictOptions, cases: Sequence[CaseReport], *, writing: Sequence[str] = ()
) -> None:
    """Write ``prediction.json``: versions, device, model, settings, and the state of each case.

    Args:
        path: the file.
        model: that predicts.
        options: of the prediction.
        cases: those that are done.
        writing: results that may be made next, so that a run that resumes a killed one knows them for its own.
    """
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    write_json(
        path,
        {
            "research_use_only": True,
            "medgen": medgen.__version__,
            "python": platform.python_version(),
            "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
            "device": f"{device} ({name})",
            **({"engine": "onnx"} if model.cascade.engines else {}),
            "model": {
                "method": model.description.get("method"),
                "task": model.task.name,
                "inputs": model.inputs,
                "target": model.target,
                "classes": model.classes,
                **({"class_values": values} if (values := _class_values(model)) else {}),
                "weights_sha256": model.hashes[0],
                **({"unfinished": facts} if (facts := model.description.get("unfinished")) else {}),
                **({"ensemble_sha256": model.hashes[1:]} if model.hashes[1:] else {}),
                **model.notices,
                **({"guard": model.guard.origin} if model.guard else {}),
            },
            "read_options": asdict(options.read),
            "direction": model.route(options.direction).direction,
            "seed": options.seed,
            "estimates": options.samples or model.estimates,
            **({"samples": options.samples, "dropout": options.dropout} if options.samples else {}),
            **({"threshold": options.decided(model.cascade.settings).threshold} if model.task.labels else {}),
            **({"interval": asdict(scale)} if (scale := model.scale(options)) else {}),
            **({"calibration": known.origin} if (known := model.calibration(options)) else {}),
            "seconds": round(sum(case.seconds for case in cases), 2),
            "cases": [_plain(case) for case in cases],
            **({"writing": list(writing)} if writing else {}),
        },
    )


def _class_values(model: LoadedModel) -> dict[str, list[int]]:
    """The label values of each class in the training label maps; empty where the recipe groups none."""
    data = (model.description.get("recipe") or {}).get("data") or {}
    return {name: list(values) for name, values in (data.get("classes") or {}).items() if name in model.classes}


def write_failures(path: Path, cases: Sequence[CaseReport]) -> None:
    """Write ``failed.csv`` (case, reason), or remove the one of an earlier run where nothing failed."""
    failed = [case for case in cases if case.status == "failed"]
    if not failed:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FAILED_COLUMNS)
        writer.writerows([case.case, case.reason] for case in failed)


def earlier_cases(path: Path, model: LoadedModel) -> Earlier:
    """The cases that an interrupted run had done, for ``--resume``.

    Raises:
        UsageError: they were made by another model, so they must not stand beside those of this one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = [_case(each) for each in content["cases"]]
        results = {case.output for case in cases} | set(map(str, content.get("writing", ())))
        weights = (content["model"]["weights_sha256"], *content["model"].get("ensemble_sha256", ()))
    except FileNotFoundError:
        return Earlier()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError("the report of the earlier run is damaged", where=path, fix="use --overwrite") from None
    if weights != model.hashes:
        raise UsageError(
            "the outputs here were made by another model", where=path, fix="use --overwrite, or another folder"
        )
    return Earlier({case.case: case for case in cases}, frozenset(results - {""}))


def _plain(case: CaseReport) -> dict[str, Any]:
    """A case as JSON; the fields on lesions are those of a model that detects them."""
    left_out = [] if case.lesions is not None else ["patient_score", "lesions"]
    left_out += [] if case.measured else ["measured"]
    left_out += [] if case.made_from is not None else ["made_from"]
    return {name: value for name, value in asdict(case).items() if name not in left_out}


def _case(content: Mapping[str, Any]) -> CaseReport:
    found = {name: Found(**numbers) for name, numbers in content.get("found", {}).items()}
    made = MadeFrom(**content["made_from"]) if content.get("made_from") else None  # earlier versions kept none
    texts = {key: tuple(content.get(key, ())) for key in ("notes", "warnings")}
    return CaseReport(**{**content, **texts, "found": found, "made_from": made})


def reason_of(error: Exception, images: Mapping[str, Path]) -> str:
    """One line on why a case failed; folders, which often carry a patient's name, are cut off its images."""
    if isinstance(error, MedgenError):
        where = f" ({_place(Path(error.where), images)})" if error.where else ""
        text = f"{error.what}{where}{': ' if error.fix else ''}{error.fix}"
    elif out_of_memory(error):
        text = f"out of memory: {error}"
    else:
        text = f"a bug in medgen: {type(error).__name__}: {error}"
    return without_folders(text, images)


def without_folders(text: str, images: Mapping[str, Any]) -> str:
    """``text`` on one line, with the paths of ``images`` cut down to their file names, of a series to its role."""
    for image in images.values():
        path = Path(image)
        name = _place(path, images)
        for form in (Path(os.path.realpath(path)), path.absolute(), path):  # resolve() fails on links in a circle
            text = text.replace(str(form), name).replace(f"{form.parent}/", "")
    return " ".join(text.split())


def _place(path: Path, images: Mapping[str, Any]) -> str:
    """The name of a file; of a folder its role, because the name of a folder can be a patient's."""
    role = next((role for role, image in images.items() if Path(image) == path and os.path.isdir(path)), None)
    return path.name if role is None else f"the series of {role}"
