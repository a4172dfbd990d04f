"""Codes that ``medgen latent encode`` wrote, read again, and whether they are codes of a given model."""

from __future__ import annotations

import csv
import json
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from medgen.errors import InputError, UsageError
from medgen.files import require_file, sha256
from medgen.inference.encoding import code_shape_of
from medgen.inference.opened import Opened
from medgen.types import Array

_AGAIN = "write the codes again with 'medgen latent encode'"
_PLACE = ("x_mm", "y_mm", "z_mm")
_SEEDS = 2**32
_DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, zlib.error, BadZipFile, csv.Error),
    RuntimeError,  # of flags of a zip that ask for a password or another method; and JSON that is nested too deeply
)
"""Errors of reading a damaged file."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of patches.

    Attributes:
        path: the file.
        case: (N,) names.
        patch: (N,) numbers within the case.
        centre_mm: (N, 3) RAS+ mm.
        code: (N, ...) float32, finite; flat (N, D) where the file is a table and no codes.json tells the shape.
        weights: hash of the weights of the model; None where no codes.json stands beside the file.
    """

    path: Path
    case: Array
    patch: Array
    centre_mm: Array
    code: Array
    weights: str | None

    def __len__(self) -> int:
        return len(self.case)

    @property
    def flat(self) -> Array:
        """(N, D) float64."""
        return np.asarray(self.code.reshape(len(self), -1), np.float64)

    def row_of(self, case: str) -> int:
        """Of the first patch of a case.

        Raises:
            UsageError: there is none.
        """
        found = np.flatnonzero(self.case == case)
        if not len(found):
            names = list(dict.fromkeys(self.case.tolist()))
            some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise UsageError(f"no code is of a case '{case}'", where=self.path, fix=f"choose one of {some}")
        return int(found[0])


def require_seed(seed: int) -> None:
    """Refuse a seed of folds or of t-SNE that scikit-learn does not take.

    Raises:
        UsageError: it is out of range.
    """
    if not 0 <= seed < _SEEDS:
        raise UsageError(f"--seed must be between 0 and 2^32 - 1, got {seed}", fix="e.g. --seed 0")


def read_codes(path: str | Path) -> Codes:
    """Read a ``.csv`` or ``.npz`` of codes, and the ``.json`` beside it where there is one.

    Raises:
        InputError: the file is damaged, no file of codes, or another one than the ``.json`` describes.
        StorageError: the file is missing.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".npz"):
        raise UsageError("codes are read from .csv or .npz", where=path, fix="give the file of 'medgen latent encode'")
    require_file(path)
    told = _manifest(path)
    try:
        case, patch, centre, code = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
        if told is not None and len(code):
            code = code.reshape(len(code), *told["code_shape"])
        if not len(code) == len(case) == len(patch) == len(centre) or centre.shape[1:] != (3,) or code.ndim < 2:
            raise ValueError("its columns have different lengths")
    except _DAMAGED as error:
        raise InputError(
            f"this is no file of codes, or it is damaged: {_reason(error)}", where=path, fix=_AGAIN
        ) from None
    if not len(code) or not code[0].size:
        raise InputError("the file holds no code", where=path, fix=_AGAIN)
    wrong = np.flatnonzero(~np.isfinite(code.reshape(len(code), -1)).all(axis=1) | ~np.isfinite(centre).all(axis=1))
    if len(wrong):
        raise InputError(f"row {wrong[0] + 1} of the codes has a number that is not finite", where=path, fix=_AGAIN)
    if told is not None and told["codes_sha256"] != sha256(path):
        what = f"{path.with_suffix('.json').name} describes another file, or the codes have changed since"
        raise InputError(what, where=path, fix=_AGAIN)
    return Codes(path, case, patch, centre, code, None if told is None else told["weights"])


def codes_of(model: Opened, codes: Codes) -> Array:
    """The codes (N, *shape) as those of a model.

    Raises:
        InputError: they are of another model: by the hash of its weights, or by their shape where no codes.json tells.
        UsageError: the model encodes nothing.
    """
    shape = code_shape_of(model)
    own = model.origin["weights_sha256"]
    if codes.weights is not None and codes.weights != own:
        raise InputError(
            f"the codes are of another model: of weights {codes.weights[:8]}, and this model has {own[:8]}",
            where=codes.path,
            fix=f"give the model that they were encoded with, or {_AGAIN}",
        )
    numbers = codes.flat.shape[1]
    if numbers != int(np.prod(shape)):
        raise InputError(
            f"the codes are of another model: they have {numbers} numbers, and those of this model "
            f"{int(np.prod(shape))} ({' x '.join(map(str, shape))})",
            where=codes.path,
            fix=f"give the model that they were encoded with, or {_AGAIN}",
        )
    if codes.weights is None:
        log.warning(
            "%s: no %s beside it names the model; that the codes are of this one is taken from their length alone",
            codes.path.name,
            codes.path.with_suffix(".json").name,
        )
    return np.asarray(codes.code.reshape(len(codes), *shape), np.float32)


def _manifest(path: Path) -> dict[str, Any] | None:
    """Shape of a code, hash of the file and of the weights; None where no ``.json`` stands beside the codes."""
    place = path.with_suffix(".json")
    if not place.is_file():
        return None
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        shape = [int(each) for each in content["code_shape"]]
        return {
            "code_shape": shape,
            "codes_sha256": str(content["codes_sha256"]),
            "weights": str(content["model"]["weights_sha256"]),
        }
    except _DAMAGED as error:
        fix = f"{_AGAIN}, or delete the file: the codes are then matched by their length alone"
        raise InputError(f"this file beside the codes is damaged: {_reason(error)}", where=place, fix=fix) from None


def _read_npz(path: Path) -> tuple[Array, Array, Array, Array]:
    with ZipFile(path) as file:
        if wrong := file.testzip():  # an array whose header asks for fewer numbers is not read to its checksum
            raise ValueError(f"the checksum of {wrong} is wrong")
    with np.load(path, allow_pickle=False) as arrays:
        case, patch, centre = (np.asarray(arrays[name]) for name in ("case", "patch", "centre_mm"))
        return case.astype(str), patch.astype(int), centre.astype(float), np.asarray(arrays["code"], np.float32)


def _read_csv(path: Path) -> tuple[Array, Array, Array, Array]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError("it is empty")
    names, rows = rows[0], rows[1:]
    numbers = [place for place, name in enumerate(names) if name.startswith("code_")]
    case, patch, *centre = (names.index(name) for name in ("case", "patch", *_PLACE))
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise ValueError(f"line {number} has {len(row)} columns, and the first line {len(names)}")
    code = np.array([[row[place] for place in numbers] for row in rows], np.float32).reshape(len(rows), len(numbers))
    places = np.array([[row[place] for place in centre] for row in rows], float).reshape(len(rows), 3)
    return np.array([row[case] for row in rows]), np.array([row[patch] for row in rows], int), places, code


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0] if str(error) else "?"
