"""The way from one sample to another: as values, as a strip of pictures and as a film."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgen.errors import UsageError
from medgen.files import atomic_path
from medgen.inference.contact_sheet import TEXT, View, dark_figure, write_contact_sheet, write_text
from medgen.inference.opened import Opened
from medgen.inference.sample_folder import sample_file
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
_DPI, _LINE = 100, 24
"""Of the line of text below a film: dots an inch, and pixels high."""


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


@dataclass(frozen=True, eq=False)
class Way:
    """What is said of images in a row.

    Attributes:
        stem: how its files begin: ``<stem>.png``, ``.gif``, ``.npz`` or ``<stem>_0000_<role>.nii.gz``.
        title: of the strip.
        subtitle: of the strip; the names of the views follow.
        labels: one an image.
        captioned: whether the film shows the labels.
        before: real images (C, ...) that stand before the others in the strip, with their labels.
        after: real images that stand behind them.
        footer: of the strip.
    """

    stem: str
    title: str
    subtitle: str
    labels: Sequence[str]
    captioned: bool = False
    before: Sequence[tuple[str, Array]] = ()
    after: Sequence[tuple[str, Array]] = ()
    footer: str = "Images made by a model, of no patient. Research use only."


def write_interpolation(
    folder: Path,
    way: Iterable[Array],
    model: Opened,
    windows: Sequence[Limits],
    ends: tuple[int, int],
    frames: int,
) -> dict[str, Any]:
    """Write frames between two samples, see :func:`write_way`.

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
    first, last = (f"sample {number}" for number in ends)
    labels = [first, *(f"{number / (frames - 1):.0%}" for number in range(1, frames - 1)), last]
    told = Way("interpolation", f"{model.run}: from {first} to {last}", "codes on the arc between both", labels)
    return {"interpolation": {"samples": list(ends), "frames": frames, **write_way(folder, way, model, windows, told)}}


def write_way(
    folder: Path, images: Iterable[Array], model: Opened, windows: Sequence[Limits], way: Way
) -> dict[str, Any]:
    """Write images in a row: slices as ``<stem>.npz``, volumes as ``<stem>_0000_<role>.nii.gz``, each in its unit.

    ``<stem>.png`` is a strip of up to 8 of them, ``<stem>.gif`` a film of all, there and back without an end. Of
    volumes the middle slices along all axes are shown.

    Args:
        folder: to write into.
        images: (C, X, Y, Z) or (C, A, B), normalised.
        model: that they come from.
        windows: of each role, shown black and white.
        way: what is said of them.

    Returns:
        Names of the files, for a manifest.
    """
    channels, flat = channels_of(model), model.method.shape.dimensions == 2
    restored: dict[str, list[Array]] = {channel.name: [] for channel in channels}
    names, parts = [], []
    for number, values in enumerate(images):
        parts.append(views_of(model, [values], windows))
        names.append({each.name: sample_file(number, each.name, ".nii.gz", way.stem) for each in channels})
        for channel, image in zip(channels, values, strict=True):
            if flat:
                restored[channel.name].append(channel.restored(image))
            else:
                volume = Volume(channel.restored(image)[None], affine_of(model))
                write_volume(volume, folder / names[-1][channel.name], kind=channel.kind)
    if flat:
        with atomic_path(folder / f"{way.stem}.npz") as temporary:
            np.savez_compressed(temporary, **{name: np.stack(each) for name, each in restored.items()})  # type: ignore[arg-type]
    views = [
        View(all_[0].name, [each.pictures[0] for each in all_], all_[0].aspect) for all_ in zip(*parts, strict=True)
    ]
    _write_strip(folder / f"{way.stem}.png", views, model, windows, way)
    _write_film(folder / f"{way.stem}.gif", views, way.labels if way.captioned else ())
    values_in = {"raw_values": f"{way.stem}.npz"} if flat else {"files": names}
    return {"strip": f"{way.stem}.png", "film": f"{way.stem}.gif", **values_in}


def chosen_frames(count: int, most: int) -> list[int]:
    """Numbers of at most ``most`` of ``count`` frames, evenly chosen, the first and the last among them."""
    return [int(each) for each in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def _write_strip(path: Path, views: Sequence[View], model: Opened, windows: Sequence[Limits], way: Way) -> None:
    chosen = chosen_frames(len(way.labels), _STRIP)
    beside = [views_of(model, [image for _, image in real], windows) for real in (way.before, way.after) if real]
    before, after = (beside.pop(0) if real else None for real in (way.before, way.after))
    names = [each for each, _ in way.before], [each for each, _ in way.after]
    labels = [*names[0], *(way.labels[number] for number in chosen), *names[1]]
    shown = []
    for place, view in enumerate(views):
        pictures = [view.pictures[number] for number in chosen]
        real = [list(each[place].pictures) if each else [] for each in (before, after)]
        shown.append(View(view.name, [*real[0], *pictures, *real[1]], view.aspect, labels))
    main, *others = shown
    write_contact_sheet(
        path,
        main,
        others,
        title=way.title,
        subtitle=f"{way.subtitle}; {main.name}{', middle slices' if others else ''}",
        footer=way.footer,
        columns=len(labels),
    )


def _write_film(path: Path, views: Sequence[View], captions: Sequence[str]) -> None:
    """There and back, so that it runs without a jump."""
    from PIL.Image import fromarray

    stills = [_still(views, number) for number in range(len(views[0].pictures))]
    if captions:
        lines = [_caption(text, stills[0].shape[1]) for text in captions]
        stills = [np.concatenate([still, line]) for still, line in zip(stills, lines, strict=True)]
    milliseconds = round(1000 * max(_LEAST, _SECONDS / max(len(stills) - 1, 1)))
    first, *others = map(fromarray, [*stills, *stills[-2:0:-1]])
    with atomic_path(path) as temporary:
        first.save(temporary, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _caption(text: str, width: int) -> Array:
    """A line of text below a still, (rows, width), 8-bit grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = dark_figure(width / _DPI, _LINE / _DPI)
    figure.set_dpi(_DPI)
    write_text(figure, 6 / _DPI, 0.7 * _LINE / _DPI, text, size=10, colour=TEXT)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = np.asarray(canvas.buffer_rgba())[..., 0]  # type: ignore[no-untyped-call]
    line = np.zeros((_LINE, width), np.uint8)
    line[: drawn.shape[0], : drawn.shape[1]] = drawn[:_LINE, :width]
    return line


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
