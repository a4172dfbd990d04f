"""From images to a study folder: 8-bit grey by one window rule, one size, names that say nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import medgen
from medgen.errors import InputError, UsageError
from medgen.files import require_movable, require_writable, write_json
from medgen.inference.sample_folder import new_folder
from medgen.reader.design import generator, require_sensible
from medgen.reader.images import Image, Spacing, common_grid, cut, sides
from medgen.reader.study import ANSWERS, FORMAT, IMAGES, MANIFEST, Task
from medgen.types import Array, Progress, SplitOrAll

Limits = tuple[float, float]
_DISPLAYED = (1.0, 99.0)
"""Percentiles that are shown black and white."""
_VOXELS = 100_000
"""Of an image, at most so many are asked for its percentiles."""
_LEAST_OVERLAP = 0.1


def make_reader_study(
    real: str | Path,
    synthetic: str | Path,
    output: str | Path,
    *,
    task: Task = "real-or-synthetic",
    count: int = 40,
    repeats: float = 0.2,
    seed: int = 0,
    role: str | None = None,
    split: SplitOrAll | None = None,
    window: str = "common",
    progress: Progress | None = None,
) -> Path:
    """Make the folder of a reader study; it appears whole or not at all.

    All images are cut to the field of view that they share and stored as 8-bit grey. Every reader sees the same cases.

    Args:
        real: a case table, a folder of ``<case>_<role>.nii.gz``, or one like that of ``medgen sample``. Beside samples,
            the cases of a table are prepared and cut as the model that drew them saw its training images.
        synthetic: a folder that ``medgen sample`` wrote, or one of ``<case>_<role>.nii.gz``.
        output: the folder to make.
        task: ``real-or-synthetic`` shows one image, ``pick-real`` a real and a synthetic one.
        count: cases, an even number. The first task needs half as many images of each kind, the second as many.
        repeats: share of the cases that are shown a second time, 0 to 0.5.
        seed: chooses images, pairs and orders.
        role: of the images; by default the one that the samples have, or every volume of a folder.
        split: cases of a table; by default ``test`` if it has any, else all.
        window: ``common`` (1st to 99th percentile of all images together), ``each`` (of each image alone), or two
            numbers ``LOW,HIGH`` in the unit of the images.
        progress: called with (images done, images in all, what).

    Returns:
        The folder.

    Raises:
        UsageError: an option is out of range, the role is not clear, or the folder is not empty.
        InputError: there are too few images, or they differ in voxel size or unit.
        StorageError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    require_sensible(count, repeats, seed)
    limits = _limits(window)
    _require_new(output)
    each = count // 2 if task == "real-or-synthetic" else count
    taken, made = sides(
        Path(real),
        Path(synthetic),
        count=each,
        seed=seed,
        role=role,
        split=split,
    )
    random = generator(seed, "images")
    chosen = [side.images[place] for side in (taken, made) for place in random.permutation(len(side.images))[:each]]
    count_up = _Counter(progress, 2 * len(chosen))
    seen = [_look(image, count_up) for image in chosen]
    size = common_grid(chosen, [(shape, spacing) for shape, spacing, _ in seen])
    windows = _windows([values for _, _, values in seen], each, limits, window)
    tokens = [secrets.token_hex(8) for _ in chosen]
    with new_folder(output, overwrite=False) as folder:
        (folder / IMAGES).mkdir()
        (folder / ANSWERS).mkdir()
        for place in generator(seed, "files").permutation(len(chosen)):  # times of files tell nothing either
            image = _shades(cut(chosen[place].read()[0], size), windows[place])
            np.save(folder / IMAGES / f"{tokens[place]}.npy", image)
            count_up(chosen[place].name)
        design = {"task": task, "seed": seed, "repeats": repeats, "plane": taken.plane}
        shown = {"size": size, "spacing_mm": seen[0][1], "window": "each" if window == "each" else windows[0]}
        known = {"cases": _cases(tokens, each, task), "images": _truth(tokens, each, chosen)}
        facts = {"format": FORMAT, "research_use_only": True, "medgen": medgen.__version__}
        write_json(folder / MANIFEST, {**facts, **design, **shown, "key": secrets.token_hex(32), **known})
    return output


def _require_new(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "the folder is not empty",
            where=folder,
            fix="choose another folder; a study that is there goes on with 'medgen reader-study serve'",
        )
    require_movable(folder)
    require_writable(folder)


def _limits(window: str) -> Limits | None:
    if window in ("common", "each"):
        return None
    try:
        low, high = (float(part) for part in window.split(","))
    except ValueError:
        low = high = 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(
            f"--window must be 'common', 'each' or two numbers LOW,HIGH, got '{window}'", fix="e.g. --window=-160,240"
        )
    return low, high


def _look(image: Image, count_up: _Counter) -> tuple[tuple[int, ...], Spacing, Array]:
    """Shape, voxel size and some values of an image."""
    values, spacing = image.read()
    if not np.isfinite(values).all():
        raise InputError("the image has voxels that are NaN or infinite", where=image.name, fix="leave this image out")
    count_up(image.name)
    return values.shape, spacing, values.ravel()[:: max(1, values.size // _VOXELS)].copy()


def _windows(values: Sequence[Array], each: int, limits: Limits | None, window: str) -> list[Limits]:
    """The display window of each image; the first ``each`` are real."""
    if window == "each":
        return [_percentiles(image) for image in values]
    real, synthetic = (_percentiles(np.concatenate(side)) for side in (values[:each], values[each:]))
    shared = min(real[1], synthetic[1]) - max(real[0], synthetic[0])
    if shared < _LEAST_OVERLAP * (max(real[1], synthetic[1]) - min(real[0], synthetic[0])):
        spans = [f"{low:.4g} to {high:.4g}" for low, high in (real, synthetic)]
        raise InputError(
            f"real values span {spans[0]}, synthetic ones {spans[1]}: they do not have one unit",
            where="the images of the study",
            fix="use --window each for images without a unit (MR)",
        )
    return [limits or _percentiles(np.concatenate(values))] * len(values)


def _percentiles(values: Array) -> Limits:
    low, high = (float(edge) for edge in np.percentile(values, _DISPLAYED))
    return (low, high) if high > low else (low, low + 1.0)


def _shades(values: Array, window: Limits) -> Array:
    low, high = window
    shades: Array = np.rint(255 * np.clip((values.astype(np.float32) - low) / (high - low), 0, 1)).astype(np.uint8)
    return shades


def _cases(tokens: Sequence[str], each: int, task: Task) -> list[list[str]]:
    if task == "real-or-synthetic":
        return [[token] for token in tokens]
    return [list(pair) for pair in zip(tokens[:each], tokens[each:], strict=True)]


def _truth(tokens: Sequence[str], each: int, images: Sequence[Image]) -> dict[str, dict[str, Any]]:
    named = enumerate(zip(tokens, images, strict=True))
    return {token: {"real": place < each, "from": image.name} for place, (token, image) in named}


class _Counter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, name: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total, name)
