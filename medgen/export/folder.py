"""A folder that an export makes: whole or not at all, and replaced only where nothing of somebody else is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import medgen
from medgen.errors import UsageError
from medgen.files import atomic_folder, require_movable, sha256, write_json
from medgen.report.card import Card, write_scores
from medgen.training.model_folder import model_folder

MANIFEST = "export.json"
"""Lists the files of the folder with their hashes."""


@contextmanager
def export_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of ``path`` with a list of its files if the block succeeds.

    Raises:
        UsageError: there is a file or a folder already, which may not be replaced.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    require_replaceable(path, overwrite=overwrite)
    with atomic_folder(path) as made:
        yield made
        files = {name: sha256(made / name) for name in sorted(_names(made))}
        write_json(made / MANIFEST, {"medgen": medgen.__version__, "research_use_only": True, "files": files})


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an earlier export as it was written, or that cannot be replaced whole.

    Raises:
        UsageError: says what is there, or was changed.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError("there is a file or a link of this name", where=path, fix="choose another folder")
    require_movable(path)
    inside = _names(path) if path.exists() else set()
    if not inside:
        return
    listed = _listed(path)
    if foreign := sorted(inside - listed.keys() - {MANIFEST}):
        what = f"the folder holds '{foreign[0]}', which 'medgen export' did not write"
        raise UsageError(what, where=path, fix="choose another folder")
    if not overwrite:
        raise UsageError("the folder holds an export already", where=path, fix="choose another folder, or --overwrite")
    if changed := [name for name in sorted(inside - {MANIFEST}) if _digest(path / name) != listed[name]]:
        what = f"'{changed[0]}' in the folder was changed since 'medgen export' wrote it"
        raise UsageError(what, where=path, fix="choose another folder, or move that file away")


def require_outside(run: Path, output: Path) -> None:
    """Refuse to write into the folder of a model, or into the export that it is taken from.

    Args:
        run: the run folder, its model folder, or an earlier export.
        output: the file or folder to write.

    Raises:
        UsageError: says which it is.
    """
    model, place = model_folder(run).resolve(), output.resolve()
    if place.is_relative_to(model):
        raise UsageError("the model folder holds the model alone", where=output, fix="choose another folder")
    described = model / "model.json"
    for folder in model.parents:
        if place.is_relative_to(folder) and described.relative_to(folder).as_posix() in _listed(folder):
            what = "the output lies in the export that the model is taken from"
            raise UsageError(what, where=output, fix="choose another folder")


def copy_model(run: Path, folder: Path, card: Card) -> None:
    """Copy what prediction needs, and what was measured of the model, and nothing else.

    Args:
        run: the run folder, or its ``model`` folder.
        folder: where the copy goes.
        card: whose scores go with it, without the names of their cases.
    """
    folder.mkdir(parents=True)
    for file in sorted(model_folder(run).iterdir()):
        if file.is_file() and file.suffix in {".json", ".safetensors"}:
            shutil.copyfile(file, folder / file.name)
    write_scores(card, folder)


def _listed(folder: Path) -> dict[str, str]:
    """The files of an export with their hashes; none where the folder is no export."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty of a link, which no export has."""
    return "" if path.is_symlink() else sha256(path)


def _names(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir()}
