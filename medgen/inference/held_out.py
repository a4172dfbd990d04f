"""Whether the cases that shall judge a model are unknown to it, by the records of its run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from medgen.cases import Case, listed
from medgen.errors import InputError, ModelError
from medgen.files import image_digest
from medgen.preparation.store import CASES
from medgen.training.model_folder import model_folder

log = logging.getLogger(__name__)


def require_held_out(run: str | Path, cases: Sequence[Case], roles: Sequence[str], where: Path) -> None:
    """Refuse cases that a run trained on, by the bytes of an image; or by name where the run recorded no bytes.

    A case with the name of a training case and other bytes may be of another data set: it gets a warning.

    Args:
        run: a run folder, or its ``model`` folder; nothing is known of a model folder that was copied alone.
        cases: that shall be new to it.
        roles: of the images that are compared.
        where: their table, for the message.

    Raises:
        InputError: cases were trained on.
        ModelError: a record of the run is damaged.
    """
    folder = model_folder(run).resolve().parent
    names, digests = set(), set()
    path = folder / CASES
    try:
        if path.is_file():
            names = {name for name, each in json.loads(path.read_text(encoding="utf-8")).items() if each[0] == "train"}
        path = folder / "run.json"
        if path.is_file():
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            digests = {files.get(f"{name}/{role}") for name in names for role in roles} - {None}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        fix = "put the file of the training back"
        raise ModelError("the record of what the run learnt from is damaged", where=path, fix=fix) from None
    same = [case.name for case in cases if not _digests(case, roles).isdisjoint(digests)]
    namesakes = [case.name for case in cases if case.name in names and case.name not in same]
    if known := [*same, *([] if digests else namesakes)]:
        raise InputError(
            f"the model was trained on {listed(known)}, and its errors there are too small",
            where=where,
            fix="give cases that it did not learn from"
            + ("" if digests else "; cases of another data set need other names"),
        )
    if namesakes:
        log.warning("training cases had the names %s, too: their images are others", listed(namesakes))


def _digests(case: Case, roles: Sequence[str]) -> set[str]:
    return {image_digest(path) for role in roles if (path := case.path(role)) is not None}
