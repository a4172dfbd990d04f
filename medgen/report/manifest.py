"""The manifest of a run: what trained for how long on which machine, and what to warn of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.errors import content_errors
from medgen.report.content import read_json

_REMOVE = "remove it, or train again"


def read_manifest(path: Path) -> dict[str, str]:
    """The entries of the manifest ``run.json`` that readers ask for, as text.

    Raises:
        InputError: it is damaged.
    """
    content = read_json(path)
    with content_errors("the manifest of the run is damaged", where=path, fix=_REMOVE):
        return _manifest(content)


def _manifest(content: Mapping[str, Any]) -> dict[str, str]:
    versions = content.get("versions") or {}
    entries = {
        "device": str(content.get("device", "")),
        "processes": str(content.get("processes", "")),
        "time": _duration(content.get("training_seconds", content.get("seconds"))),
        "peak memory": _memory(content.get("peak_memory_bytes")),
        "seed": str(content.get("seed", "")),
        "medgen": str(content.get("medgen", "")),
        "Python": str(content.get("python", "")),
        **{str(name): str(version) for name, version in versions.items()},
        "SHA-256 of the weights": str(content.get("model_sha256", "")),
    }
    return {name: text for name, text in entries.items() if text}


def read_warnings(path: Path) -> tuple[str, ...]:
    """The warnings about the model in the manifest ``run.json``.

    Raises:
        InputError: it is damaged.
    """
    content = read_json(path)
    with content_errors("the manifest of the run is damaged", where=path, fix=_REMOVE):
        return tuple(str(text) for text in content.get("warnings") or ())


def _duration(seconds: Any) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(float(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _memory(count: Any) -> str:
    return "" if count is None else f"{float(count) / 2**30:.2f} GiB"
