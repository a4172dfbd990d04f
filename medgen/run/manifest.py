"""The manifest of a run: ``run.json``."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import sys
from collections.abc import Sequence

import medgen
from medgen.cases import Case
from medgen.files import image_digest, sha256, write_json
from medgen.inference.boosting import FILE
from medgen.preparation import Roles, Store
from medgen.run.monitor.history import adaptation_manifest
from medgen.run.session import Session


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    adaptation = adaptation_manifest(folder, keep=settings.schedule.keep)
    parts = [json.loads(path.read_text()) for path in folder.glob("checkpoints/*/done.json")]
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
            "training_seconds": round(sum(part["seconds"] for part in parts), 1),
            "seconds": round(seconds, 1),
            "peak_memory_bytes": peak,
            "model_sha256": sha256(folder / "model" / "weights.safetensors"),
            **({"context_sha256": sha256(context)} if (context := folder / "model" / FILE).is_file() else {}),
            "preparation_notes": {case.name: case.notes for case in prepared.cases if case.notes},
            "files": _hashes(cases, settings.data),
            **({"adaptation": adaptation} if adaptation else {}),
        },
    )


def _hashes(cases: Sequence[Case], roles: Roles) -> dict[str, str]:
    """SHA-256 of the images that were used; another column of the table may name files that are not there."""
    return {
        f"{case.name}/{role}": image_digest(path)
        for case in cases
        for role in roles.all
        if (path := case.path(role)) is not None
    }
