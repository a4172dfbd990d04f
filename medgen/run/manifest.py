"""The manifest of a run: ``run.json``."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import medgen
from medgen.cases import Case
from medgen.errors import UsageError
from medgen.files import image_digest, sha256, write_json
from medgen.inference.boosting import FILE
from medgen.preparation import Roles, Store
from medgen.preparation.store import CASES
from medgen.run.monitor.history import adaptation_manifest
from medgen.run.monitor.stop import stop_setting
from medgen.run.same import take_over, untrained
from medgen.run.session import Session
from medgen.run.warnings import kept_warnings
from medgen.training.trial import peak_memory

_NAMED = 4

log = logging.getLogger(__name__)


def write_manifest(session: Session, cases: Sequence[Case], prepared: Store, seconds: float) -> None:
    """Write what ran where, for how long and on which bytes; no patient data and no absolute path.

    Args:
        session: the run, whose model is written.
        cases: that were learnt from; the images that the recipe names are hashed.
        prepared: the same cases, for what preparation had to decide.
        seconds: of this session.
    """
    folder, settings, engine = session.folder, session.recipe, session.engine
    versions = {name: importlib.metadata.version(name) for name in ("torch", "monai", "numpy", "nibabel")}
    peak = peak_memory(torch.device("cpu"))
    adaptation = adaptation_manifest(folder, keep=settings.schedule.keep, stop=stop_setting(settings.schedule))
    parts = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("checkpoints/*/done.json")}
    write_json(
        folder / "run.json",
        {
            "research_use_only": True,
            "medgen": medgen.__version__,
            "python": platform.python_version(),
            "versions": versions,
            "device": str(engine.device),
            "precision": settings.schedule.precision,
            "processes": engine.world,
            "seed": settings.seed,
            "training_seconds": round(sum(part["seconds"] for part in parts.values()), 1),
            "seconds": round(seconds, 1),
            "peak_memory_bytes": peak,
            "model_sha256": sha256(folder / "model" / "weights.safetensors"),
            **({"context_sha256": sha256(context)} if (context := folder / "model" / FILE).is_file() else {}),
            "warnings": kept_warnings(session.log.path, parts),
            "preparation_notes": {case.name: case.notes for case in prepared.cases if case.notes},
            "files": _hashes(cases, settings.data),
            "plan": replace(session.plan, seconds_a_step=session.pace.seconds_a_step).as_dict(),
            **({"init_from": session.origin.record} if session.origin else {}),
            **({"adaptation": adaptation} if adaptation else {}),
        },
    )


def require_same_cases(folder: Path, prepared: Store, *, resume: bool, write: bool) -> None:
    """Keep what a run learns from, and refuse to go on with anything else; without a step yet, it begins anew.

    Args:
        folder: the run.
        prepared: its training and validation cases; the folder of each is named by a hash over all of its images.
        resume: whether the run began before. One that an earlier version began has no record and is believed.
        write: whether this process keeps the record.

    Raises:
        UsageError: a case was added or left out, or has another split, domain or other images.
    """
    path = folder / CASES
    now = {case.name: [case.split, case.domain, case.folder.parent.name] for case in prepared.cases}
    if resume and path.is_file() and (before := json.loads(path.read_text())) != now:
        if not untrained(folder):
            _require_unchanged(folder, before, now)
        elif write:
            log.warning("the run begins anew: no step was trained, and the cases differ")
            take_over(folder)
    if write:
        write_json(path, now)


def require_same_table(folder: Path, cases: Sequence[Case]) -> None:
    """Refuse to go on with other cases, splits or domains, before any image is prepared.

    Args:
        folder: the run; one that an earlier version began has no record and is believed. One without a step passes.
        cases: training and validation cases of the table.

    Raises:
        UsageError: as :func:`require_same_cases`.
    """
    if (path := folder / CASES).is_file() and not untrained(folder):
        before = {name: each[:2] for name, each in json.loads(path.read_text()).items()}
        _require_unchanged(folder, before, {case.name: [case.split, case.domain] for case in cases})


def _require_unchanged(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    found = ((name, _change(before.get(name), now.get(name))) for name in sorted({*before, *now}))
    if changes := [(name, change) for name, change in found if change]:
        told = "; ".join(f"{name} {change}" for name, change in changes[:_NAMED])
        more = f"; and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise UsageError(
            f"the cases differ from the run's: {told}{more}",
            where=folder,
            fix="resume with the same case table, or start a new run in another folder",
        )


def _change(before: Sequence[str | None] | None, now: Sequence[str | None] | None) -> str:
    """What happened to a case."""
    if before is None or now is None:
        return "is new" if before is None else "is gone, or in the split test"
    for old, new in zip(before[:2], now[:2], strict=True):
        if old != new:
            return f"was {old} and is {new}"
    return (
        "has other images or another preparation, or another version of medgen prepared it"
        if before[2:] != now[2:]
        else ""
    )


def _hashes(cases: Sequence[Case], roles: Roles) -> dict[str, str]:
    """SHA-256 of the images that were used; another column of the table may name files that are not there."""
    return {
        f"{case.name}/{role}": image_digest(path)
        for case in cases
        for role in roles.all
        if (path := case.path(role)) is not None
    }
