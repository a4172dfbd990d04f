"""A map of codes in two dimensions, with thumbnails, coloured by a column of a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medgen.errors import InputError, UsageError
from medgen.files import require_apart, require_free, require_output
from medgen.inference.code_table import Codes, codes_of, read_codes, require_seed
from medgen.inference.contact_sheet import QUIET, TEXT, dark_figure, save_png, write_text
from medgen.inference.factor_table import column_of
from medgen.inference.generation import decoded
from medgen.inference.opened import open_model
from medgen.inference.sample_views import views_of
from medgen.inference.traversal import windows_of
from medgen.names import literal
from medgen.types import Array, Checkpoint

log = logging.getLogger(__name__)

_FEWEST = 4
_MOST_CLASSES = 10
_PERPLEXITY = 30.0


def write_code_map(
    run: str | Path,
    codes: str | Path,
    output: str | Path,
    *,
    by: Literal["pca", "tsne"] = "pca",
    colour: str | None = None,
    table: str | Path | None = None,
    thumbnails: int = 40,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
) -> Path:
    """Draw a map of codes as PNG: a point a patch, and decoded codes as thumbnails at some of them.

    Args:
        run: the run folder, or its ``model`` folder: it decodes the thumbnails.
        codes: file of ``medgen latent encode``.
        output: ends in ``.png``.
        by: the first two principal components, with their shares of the variance; or t-SNE (van der Maaten & Hinton
            2008) with the given seed, whose distances between groups mean nothing.
        colour: column of ``table``.
        table: CSV file with a column ``case``, such as the case table.
        thumbnails: at most; they are spread over the map, and 0 leaves them out.
        seed: of t-SNE, 0 to 2^32 - 1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace what is there.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended.

    Returns:
        The file.

    Raises:
        UsageError: an argument is out of range, or a column is not there.
        InputError: the codes are damaged, of another model, or fewer than 4.
        ModelError: the model is missing or damaged.
        StorageError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    if output.suffix != ".png":
        raise UsageError("a map is written as .png", where=output, fix="e.g. -o map.png")
    if thumbnails < 0:
        raise UsageError(f"--thumbnails must be at least 0, got {thumbnails}", fix="e.g. --thumbnails 40")
    if (colour is None) != (table is None):
        raise UsageError("--colour and --table need each other", fix="--colour COLUMN --table cases.csv")
    require_seed(seed)
    require_output(output)
    require_apart(output, [codes] if table is None else [codes, table])
    require_free(output, overwrite=overwrite)
    read = read_codes(codes)
    column = None if colour is None or table is None else column_of(table, colour)
    model = open_model(run, device, allow_modules, checkpoint)
    own = codes_of(model, read)
    if column is not None and not set(read.case.tolist()) & set(column):
        log.warning("no code is of a case with a value of %s: the map has no colours", colour)
        column = None
    places, axes = flattened(read, by, seed)
    chosen = spread(places, thumbnails)
    images = []
    for row in chosen:
        code = torch.from_numpy(np.ascontiguousarray(own[row]))[None].to(model.device)
        images.append(decoded(model, code, f"the image of code {row + 1}"))
    pictures = views_of(model, images, windows_of(model, images))[0] if images else None
    figure = dark_figure(10.0, 8.6)
    axis = _axis(figure, places, axes)
    legend = _coloured(axis, places, read.case, column, colour)
    if pictures is not None:
        _thumbnails(axis, places[chosen], list(pictures.pictures), pictures.height)
    write_text(
        figure,
        0.15,
        0.33,
        f"{model.run}: {len(read)} codes of {len(set(read.case))} cases",
        size=12,
        colour=TEXT,
        weight="bold",
    )
    shown = f"{len(chosen)} of them decoded" if chosen else "no thumbnails"
    write_text(figure, 0.15, 0.56, f"{axes[2]}; {shown}{legend}", size=8.5, colour=QUIET)
    write_text(
        figure,
        0.15,
        8.46,
        "Codes are of patients: handle the map like the case table. Research use only.",
        size=8,
        colour=QUIET,
    )
    save_png(figure, output)
    return output


def flattened(codes: Codes, by: Literal["pca", "tsne"], seed: int = 0) -> tuple[Array, tuple[str, str, str]]:
    """Places (N, 2) of codes on a map; names of both axes, and what the map is.

    Raises:
        InputError: there are fewer than 4 codes, or they are all equal.
    """
    table = codes.flat - codes.flat.mean(axis=0)
    if len(table) < _FEWEST or not table.any():
        what = f"{len(table)} codes make no map" if len(table) < _FEWEST else "the codes are all equal and make no map"
        raise InputError(what, where=codes.path, fix="encode more cases, or --patches 5 of each")
    rotated, size, _ = np.linalg.svd(table, full_matrices=False)
    if by == "pca":
        share = np.append(size**2 / (size**2).sum(), 0.0)
        places = np.concatenate([rotated * size, np.zeros((len(table), 1))], axis=1)[:, :2]
        names = [f"component {number + 1}: {share[number]:.0%} of the variance" for number in range(2)]
        return places, (names[0], names[1], "principal components of the codes")
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(table) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(rotated * size)
    what = (
        f"t-SNE, perplexity {perplexity:.3g}, seed {seed}: neighbours are alike, distances between groups mean nothing"
    )
    return np.asarray(places, np.float64), ("", "", what)


def spread(places: Array, count: int) -> list[int]:
    """Rows of at most ``count`` places that lie far from each other: each next one is the farthest from all before."""
    if count == 0:
        return []
    scaled = (places - places.mean(axis=0)) / np.maximum(np.ptp(places, axis=0), 1e-12)
    chosen = [int((scaled**2).sum(axis=1).argmin())]
    nearest = ((scaled - scaled[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(places)) and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
    return chosen


def _axis(figure: Any, places: Array, names: tuple[str, str, str]) -> Any:
    axis = figure.add_axes((0.06, 0.075, 0.82, 0.84))
    axis.set_facecolor("none")
    for side in axis.spines.values():
        side.set_color("#3a424a")
    axis.tick_params(colors=QUIET, labelsize=7)
    if not names[0]:
        axis.set_xticks([])
        axis.set_yticks([])
    axis.set_xlabel(names[0], color=QUIET, size=8.5)
    axis.set_ylabel(names[1], color=QUIET, size=8.5)
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.08 * np.maximum(high - low, 1e-9)
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + 1.8 * margin[1])  # thumbnails stand above their points
    return axis


def _coloured(
    axis: Any, places: Array, cases: Array, column: dict[str, float] | dict[str, str] | None, name: str | None
) -> str:
    """Draw the points; what their colours mean, for the line below the title."""
    style = {"s": 26, "linewidths": 0, "zorder": 3}
    if column is None:
        axis.scatter(*places.T, color="#6fb7e9", **style)
        return ""
    values = [column.get(case) for case in cases.tolist()]
    known = np.array([value is not None for value in values])
    axis.scatter(*places[~known].T, color="#4a525a", **style)
    there = [value for value in values if value is not None]
    kinds = sorted(set(there), key=str)
    left_out = f"; {int((~known).sum())} without a value are grey" if not known.all() else ""
    if there and all(isinstance(value, float) for value in there) and len(kinds) > 2:
        points = axis.scatter(*places[known].T, c=np.array(there, float), cmap="plasma", **style)
        bar = axis.figure.colorbar(points, ax=axis, cax=axis.figure.add_axes((0.9, 0.075, 0.018, 0.84)))
        bar.ax.tick_params(colors=QUIET, labelsize=7)
        bar.outline.set_edgecolor("#3a424a")
        return f"; colour is {name}{left_out}"
    from matplotlib import colormaps

    palette = colormaps["tab10"].colors  # type: ignore[attr-defined]
    shown = kinds[: _MOST_CLASSES - 1] if len(kinds) > _MOST_CLASSES else kinds
    for number, kind in enumerate(shown):
        mine = np.array([value == kind for value in values])
        text = f"{kind:g}" if isinstance(kind, float) else str(kind)
        axis.scatter(*places[mine].T, color=palette[number], label=literal(text), **style)
    others = known & np.array([value not in shown for value in values])
    if others.any():
        axis.scatter(*places[others].T, color="#c8ccd0", label="others", **style)
    box = axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5, frameon=False, labelcolor=TEXT)
    box.set_zorder(5)
    return f"; colour is {name}{left_out}"


def _thumbnails(axis: Any, places: Array, pictures: list[Array], height: float) -> None:
    """Pictures beside their points, in inches of the figure, small enough for all of them."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    pixels = 44.0
    for place, picture in zip(places, pictures, strict=True):
        levels = np.nan_to_num(picture)
        rows = max(1, round(levels.shape[1] * height))
        nearest = ((np.arange(rows) + 0.5) * len(levels) / rows).astype(int)
        shown = OffsetImage(levels[nearest], cmap="gray", zoom=pixels / levels.shape[1], interpolation="nearest")
        shown.image.set_clim(0, 1)
        box = AnnotationBbox(
            shown, tuple(place), xybox=(0, pixels * height / 2 + 5), boxcoords="offset points", pad=0.1
        )
        box.patch.set_edgecolor("#3a424a")
        box.patch.set_facecolor("#0c0e11")
        box.set_zorder(2)
        axis.add_artist(box)
