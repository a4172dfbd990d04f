"""Which cases are phantoms: by the bytes of their images, never by a name or a folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medgen.cases.case import Case

MANIFEST = "phantom.json"
"""Beside the ``cases.csv`` that ``medgen phantom`` writes."""


def image_hashes(images: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, str]]:
    """By case and role, the SHA-256 of each image, uncompressed: for ``images`` of a phantom's manifest."""
    return {name: {role: _content_hash(path) for role, path in each.items()} for name, each in images.items()}


def is_phantom(case: Case, roles: Iterable[str]) -> bool:
    """Whether every image of a case is one that ``medgen phantom`` wrote.

    The manifest is looked for in the folder above that of each image, where ``medgen phantom`` writes it. A renamed
    case, a table of one's own and recompressed files are recognised; a phantom that was resampled or stands without
    its manifest is not, and counts as unknown. Real images are in no manifest.

    Args:
        case: from the case table.
        roles: the images that are used; those that the case lacks are left out.
    """
    paths = [path for role in roles if (path := case.path(role)) is not None]
    return bool(paths) and all(path.is_file() and _content_hash(path) in _known(path.parent.parent) for path in paths)


def phantom_notice(content: Mapping[str, Any]) -> str:
    """A sentence on a model that learnt from phantoms, or began so; empty for others, and where it is not known.

    Args:
        content: of ``model.json``.

    >>> phantom_notice({"trained_on": {"train": 5, "val": 1}, "phantoms": {"train": 5, "val": 1}})
    'the model was trained on phantoms alone (virtual patients): its results on patients are no measurement'
    >>> phantom_notice({"trained_on": {"train": 5, "val": 1}, "init_from": {"phantoms": True}})
    'the model began with weights that were learnt from phantoms (virtual patients)'
    """
    of, phantoms = (_total(content.get(key)) for key in ("trained_on", "phantoms"))
    if not phantoms:
        origin = content.get("init_from")
        learnt = isinstance(origin, dict) and origin.get("phantoms") is True
        return "the model began with weights that were learnt from phantoms (virtual patients)" if learnt else ""
    on = "phantoms alone" if phantoms >= of else f"phantoms, {phantoms} of {of} cases"
    return f"the model was trained on {on} (virtual patients): its results on patients are no measurement"


def _total(counts: Any) -> int:
    """The cases of all splits; 0 for anything but counts."""
    return sum(each for each in counts.values() if isinstance(each, int)) if isinstance(counts, dict) else 0


def _known(folder: Path) -> set[str]:
    """The hashes that a manifest lists; none where there is none, or one of an earlier version."""
    try:
        cases = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["images"]
        return {value for roles in cases.values() for value in roles.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _content_hash(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""  # no image: whoever reads it says so
