"""The folder of a study: its cases, its pictures, and the order in which a reader sees them."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from medgen.errors import InputError
from medgen.reader.design import MOST_REPEATS, Showing, order
from medgen.report.slices import PLANES, Plane, picture
from medgen.types import Array

Task: TypeAlias = Literal["real-or-synthetic", "pick-real"]
CHOICES: dict[str, tuple[str, str]] = {"real-or-synthetic": ("real", "synthetic"), "pick-real": ("left", "right")}
"""Answers of each task, in the order of the keys 1 and 2."""
MANIFEST, IMAGES, ANSWERS, FORMAT = "study.json", "images", "answers", 1


@dataclass(frozen=True)
class View:
    """A direction of view of the images.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``.
        slices: number of slices; 1 of a study of slices.
        width: columns of a slice.
        height: rows of a slice.
        aspect: height of a pixel over its width.
        edges: side of the patient at the left and at the right edge.
    """

    name: str
    slices: int
    width: int
    height: int
    aspect: float
    edges: tuple[str, str]


@dataclass(frozen=True)
class Study:
    """A study as ``study.json`` describes it.

    Attributes:
        folder: that holds it.
        task: what is asked.
        seed: of the order.
        repeats: share of the cases that are shown twice.
        key: secret that the names of pictures are made with.
        cases: the images of each case.
        real: whether each image is real.
        origin: file or case that each image comes from.
        size: voxels of every image, (X, Y, Z); a slice has one voxel across its plane.
        spacing: mm along x, y, z.
        plane: of slices; None of volumes.
    """

    folder: Path
    task: Task
    seed: int
    repeats: float
    key: bytes
    cases: tuple[tuple[str, ...], ...]
    real: Mapping[str, bool]
    origin: Mapping[str, str]
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    plane: str | None

    @cached_property
    def planes(self) -> tuple[View, ...]:
        """Directions of view, axial first; one of slices."""
        return tuple(self._view(plane) for plane in PLANES if self.plane in (None, plane.name))

    def _view(self, plane: Plane) -> View:
        first, second = (axis for axis in range(3) if axis != plane.axis)
        aspect = self.spacing[second] / self.spacing[first]
        return View(plane.name, self.size[plane.axis], self.size[first], self.size[second], aspect, plane.sides)

    @property
    def choices(self) -> tuple[str, str]:
        """The two answers."""
        return CHOICES[self.task]

    def order(self, reader: str) -> tuple[Showing, ...]:
        """What a reader sees, from first to last."""
        return order(self.cases, self.repeats, self.seed, reader)

    def correct(self, images: tuple[str, ...]) -> str:
        """The right answer to images as they stand on the screen."""
        return self.choices[0 if self.real[images[0]] else 1]

    def pictures(self, reader: str, position: int, showing: Showing) -> dict[str, str]:
        """Names that the browser asks for, and the images; a repeat has other names than the first showing."""
        return {self._name(reader, position, side): image for side, image in enumerate(showing.images)}

    def _name(self, *parts: object) -> str:
        return hmac.new(self.key, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()[:24]

    def slice(self, image: str, plane: int, number: int) -> Array:
        """One slice of an image, (rows, columns) uint8, as a radiologist looks at it.

        Raises:
            InputError: the file of the image is missing or damaged.
        """
        path = self.folder / IMAGES / f"{image}.npy"
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            if values.shape != self.size or values.dtype != np.uint8:
                raise ValueError
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                "an image of the study is missing or damaged", where=path, fix="make the study again"
            ) from error
        axis = next(each.axis for each in PLANES if each.name == self.planes[plane].name)
        return picture(values, axis, number)


def read_study(folder: str | Path) -> Study:
    """Read what :func:`~medgen.reader.make_reader_study` wrote.

    Raises:
        InputError: it is missing, damaged or of a newer format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError("there is no study here", where=path, fix="make one with 'medgen reader-study make'")
    try:
        content = json.loads(path.read_text())
        if content["format"] > FORMAT:
            raise InputError("the study was made by a newer medgen", where=path, fix="update medgen")
        return _study(Path(folder), content)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError("the description of the study is damaged", where=path, fix="copy it again") from error


def _study(folder: Path, content: dict[str, Any]) -> Study:
    images: dict[str, Any] = content["images"]
    study = Study(
        folder,
        content["task"],
        int(content["seed"]),
        float(content["repeats"]),
        bytes.fromhex(content["key"]),
        tuple(tuple(map(str, case)) for case in content["cases"]),
        {token: bool(image["real"]) for token, image in images.items()},
        {token: str(image["from"]) for token, image in images.items()},
        tuple(map(int, content["size"])),
        tuple(map(float, content["spacing_mm"])),
        content["plane"],
    )
    known = all(token in images and token.isalnum() for case in study.cases for token in case)
    per_case = 1 if study.task == "real-or-synthetic" else 2
    if study.task not in CHOICES or not study.cases or not known or {len(case) for case in study.cases} != {per_case}:
        raise ValueError
    if len(study.size) != 3 or len(study.spacing) != 3 or not 0 <= study.repeats <= MOST_REPEATS:
        raise ValueError
    if not all(side > 0 for side in study.size) or not all(0 < mm < math.inf for mm in study.spacing):
        raise ValueError
    if not study.planes:
        raise ValueError
    return study
