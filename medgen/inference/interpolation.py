"""The way from one sample to another: as values, as a strip of pictures and as a film."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgen.errors import UsageError
from medgen.files import atomic_path
from medgen.inference.contact_sheet import View, write_contact_sheet
from medgen.inference.opened import Opened
from medgen.inference.sample_folder import FILM, FRAMES, STRIP, sample_file
from medgen.inference.sample_views import views_of
from medgen.inference.sample_writing import Limits, affine_of, channels_of
from medgen.types import Array
from medgen.volume import Volume, write_volume

_STRIP = 8
"""Frames of the strip, which are evenly chosen."""
_FILM = 256
"""Pixels that the shorter side of the film has at least."""
MOST_FRAMES = 1000
"""Of a way; at 25 a second, more would take a minute to see."""
_SECONDS, _LEAST = 2.5, 0.04
"""From one sample to the other; of one frame at least."""


def require_way(ends: tuple[int, int] | None, frames: int) -> None:
    """Refuse a way that there is not.

    Raises:
        UsageError: a number below 0, twice the same sample, or not 2 to 1000 frames.
    """
    if ends is None:
        return
    if min(ends) < 0 or ends[0] == ends[1]:
        raise UsageError(
            f"--interpolate needs the numbers of two samples, at least 0, got {ends[0]} and {ends[1]}",
            fix="choose two on the contact sheet, e.g. --interpolate 3 17",
        )
    if not 2 <= frames <= MOST_FRAMES:
        raise UsageError(f"--frames must be 2, the two samples, to {MOST_FRAMES}, got {frames}", fix="e.g. --frames 24")


def write_interpolation(
    folder: Path,
    way: Iterable[Array],
    model: Opened,
    windows: Sequence[Limits],
    ends: tuple[int, int],
    frames: int,
) -> dict[str, Any]:
    """Write frames: slices as ``interpolation.npz``, volumes as ``interpolation_0000_<role>.nii.gz``, each in its unit.

    ``interpolation.png`` is a strip of up to 8 of them, ``interpolation.gif`` a film of all, there and back without an
    end. Of volumes the middle slices are shown.

    Args:
        folder: to write into.
        way: images (C, X, Y, Z) or (C, A, B), normalised; the first and the last one are the two samples.
        model: that they come from.
        windows: of each role, shown black and white: those of the samples.
        ends: the numbers of the two samples.
        frames: how many images.

    Returns:
        What ``samples.json`` says about them.
    """
    files: dict[str, Any] = {"strip": STRIP, "film": FILM}
    channels, flat = channels_of(model), model.method.shape.dimensions == 2
    restored: dict[str, list[Array]] = {channel.name: [] for channel in channels}
    names, parts = [], []
    for number, values in enumerate(way):
        parts.append(views_of(model, [values], windows))
        names.append({each.name: sample_file(number, each.name, ".nii.gz", "interpolation") for each in channels})
        for channel, image in zip(channels, values, strict=True):
            if flat:
                restored[channel.name].append(channel.restored(image))
            else:
                volume = Volume(channel.restored(image)[None], affine_of(model))
                write_volume(volume, folder / names[-1][channel.name], kind=channel.kind)
    if flat:
        with atomic_path(folder / FRAMES) as temporary:
            np.savez_compressed(temporary, **{name: np.stack(each) for name, each in restored.items()})  # type: ignore[arg-type]
    views = [
        View(all_[0].name, [each.pictures[0] for each in all_], all_[0].aspect) for all_ in zip(*parts, strict=True)
    ]
    _write_strip(folder / STRIP, views, model, ends, frames)
    _write_film(folder / FILM, views)
    values_in = {"raw_values": FRAMES} if flat else {"files": names}
    return {"interpolation": {"samples": list(ends), "frames": frames, **files, **values_in}}


def _write_strip(path: Path, views: Sequence[View], model: Opened, ends: tuple[int, int], frames: int) -> None:
    chosen = np.unique(np.linspace(0, frames - 1, min(_STRIP, frames)).round().astype(int))
    first, last = (f"sample {number}" for number in ends)
    labels = [first, *(f"{number / (frames - 1):.0%}" for number in chosen[1:-1]), last]
    main, *others = (
        View(each.name, [each.pictures[number] for number in chosen], each.aspect, labels) for each in views[:2]
    )
    write_contact_sheet(
        path,
        main,
        others[0] if others else None,
        title=f"{model.run}: from {first} to {last}",
        subtitle=f"codes on the arc between both; {main.name}{', middle slices' if others else ''}",
        footer="Images made by a model, of no patient. Research use only.",
        columns=len(chosen),
    )


def _write_film(path: Path, views: Sequence[View]) -> None:
    """There and back, so that it runs without a jump."""
    from skimage.io import imsave

    stills = [_still(views, number) for number in range(len(views[0].pictures))]
    milliseconds = round(1000 * max(_LEAST, _SECONDS / (len(stills) - 1)))
    loop = np.stack([*stills, *stills[-2:0:-1]])
    with atomic_path(path) as temporary:
        imsave(temporary, loop, check_contrast=False, duration=milliseconds, loop=0)


def _still(views: Sequence[View], number: int) -> Array:
    """One frame, 8-bit grey: the views beside each other, in square pixels."""
    low = min(min(view.pictures[0].shape[0] * view.aspect, view.pictures[0].shape[1]) for view in views)
    factor = max(1, round(_FILM / max(low, 1)))
    tiles = []
    for view in views:
        levels = np.rint(255 * np.nan_to_num(view.pictures[number])).astype(np.uint8)
        rows = max(1, round(len(levels) * view.aspect * factor))
        nearest = ((np.arange(rows) + 0.5) * len(levels) / rows).astype(int)
        tiles.append(levels[nearest].repeat(factor, axis=1))
    high = max(len(tile) for tile in tiles)
    padded = [np.pad(tile, ((0, high - len(tile)), (0, factor))) for tile in tiles]
    return np.concatenate(padded, axis=1)[:, :-factor]
