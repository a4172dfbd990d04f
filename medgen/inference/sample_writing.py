"""Samples as files: volumes as NIfTI, slices as PNG beside their raw values, and what their numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import columns_of
from medgen.files import atomic_path
from medgen.inference.contact_sheet import MOST, View, grey, side_by_side, write_contact_sheet
from medgen.inference.opened import Opened
from medgen.inference.sample_folder import RAW, SHEET, sample_file
from medgen.names import file_name
from medgen.preparation.intensity import unit_to_window
from medgen.types import Array
from medgen.volume import Kind, Volume, write_volume

_DISPLAYED = (1.0, 99.0)
"""Percentiles over the samples of a role that are shown black and white."""
_FEW = 16
"""Samples up to which a contact sheet of volumes has a row of coronal slices."""
SIDES = {
    "axial": "patient's right on the left, anterior at the top",
    "coronal": "patient's right on the left, superior at the top",
    "sagittal": "anterior on the left, superior at the top",
}

Limits = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """How many samples are drawn, and from what.

    Attributes:
        count: at least 1.
        seed: at least 0.
        temperature: factor on the standard deviation of the latent noise, above 0.
        truncation: standard deviations beyond which a component of the noise is drawn again; None draws none again.
    """

    count: int
    seed: int
    temperature: float
    truncation: float | None = None

    @property
    def told(self) -> str:
        """What the noise was, for people."""
        cut = "" if self.truncation is None else f", truncation {self.truncation:g}"
        return f"temperature {self.temperature:g}{cut}"


@dataclass(frozen=True)
class Channel:
    """What the numbers of one role mean.

    Attributes:
        role: as in the recipe.
        unit: in words.
        kind: how a volume of it is written.
        window: values that -1 and 1 stand for; None where normalisation cannot be undone.
    """

    role: str
    unit: str
    kind: Kind = "scalar"
    window: Limits | None = None

    @property
    def name(self) -> str:
        """The role as part of a file name."""
        return "-".join(file_name(column) for column in columns_of(self.role))

    def restored(self, values: Array) -> Array:
        """Normalised values in the unit of the role, float32; not clipped to the window."""
        return np.asarray(values, np.float32) if self.window is None else unit_to_window(values, *self.window)

    def share_outside(self, values: Array) -> float:
        """Share of normalised values that lie outside the window, where no training image has any."""
        return float(np.mean(np.abs(values) > 1)) if self.window else 0.0


def channels_of(model: Opened) -> tuple[Channel, ...]:
    """What each channel of a sample is."""
    preparation, task = model.known.preparation, model.known.task
    channels = []
    for role in task.made(preparation.roles):
        rule, others = preparation.intensity(role), preparation.config.residual.get(role)
        if others:
            channel = Channel(role, f"normalised: what {', '.join(others)} do not explain")
        elif rule.window:
            unit = "HU" if rule.hounsfield else "that of the training images"
            channel = Channel(role, unit, task.kind(preparation, role), rule.window)
        elif rule.percentiles:
            low, high = rule.percentiles
            channel = Channel(role, f"normalised: percentiles {low:g} and {high:g} of the body are -1 and 1")
        else:
            channel = Channel(role, "normalised: z-score of the body")
        channels.append(channel)
    return tuple(channels)


def write_samples(folder: Path, drawn: Iterable[Array], model: Opened, drawing: Drawing) -> dict[str, Any]:
    """Write samples and their contact sheet.

    Args:
        folder: to write into.
        drawn: (C, X, Y, Z) or (C, A, B), normalised, as many as ``drawing.count``.
        model: that they come from.
        drawing: how they are drawn.

    Returns:
        What ``samples.json`` says about the files.
    """
    write = _write_slices if model.method.shape.dimensions == 2 else _write_volumes
    return {"size": list(model.method.shape.size), **write(folder, drawn, model, drawing), "contact_sheet": SHEET}


def _write_volumes(folder: Path, drawn: Iterable[Array], model: Opened, drawing: Drawing) -> dict[str, Any]:
    """Write each volume as it is drawn; only the slices of the contact sheet stay in memory."""
    channels, spacing, size, affine = channels_of(model), spacing_of(model), model.method.shape.size, affine_of(model)
    axial: list[list[Array]] = []
    coronal: list[list[Array]] = []
    outside = np.zeros(len(channels))
    files = []
    for number, values in enumerate(drawn):
        images = [channel.restored(each) for channel, each in zip(channels, values, strict=True)]
        outside += [channel.share_outside(each) for channel, each in zip(channels, values, strict=True)]
        files.append({channel.name: sample_file(number, channel.name, ".nii.gz") for channel in channels})
        for channel, image in zip(channels, images, strict=True):
            write_volume(Volume(image[None], affine), folder / files[-1][channel.name], kind=channel.kind)
        if number < MOST:
            axial.append([oriented(image[:, :, size[2] // 2]) for image in images])
            coronal.append([oriented(image[:, size[1] // 2]) for image in images])
    windows = [display_window(shown) for shown in zip(*axial, strict=True)]
    main = _view("axial", axial, windows, spacing[1] / spacing[0])
    below = [_view("coronal", coronal, windows, spacing[2] / spacing[0])] if drawing.count <= _FEW else []
    _sheet(folder, main, below, f"middle slices, {SIDES['axial']}", model, drawing)
    return {"spacing_mm": spacing, "roles": _roles(channels, windows, outside / drawing.count), "files": files}


def _write_slices(folder: Path, drawn: Iterable[Array], model: Opened, drawing: Drawing) -> dict[str, Any]:
    """Draw all slices, then write them with one display window a role."""
    from skimage.io import imsave

    channels, plane, across = channels_of(model), model.patches.plane, model.patches.across
    spacing = [mm for axis, mm in enumerate(spacing_of(model)) if axis != across]
    values = np.stack(list(drawn), axis=1)
    restored = {channel.name: channel.restored(each) for channel, each in zip(channels, values, strict=True)}
    windows = [display_window(images) for images in restored.values()]
    files = [{name: sample_file(number, name, ".png") for name in restored} for number in range(drawing.count)]
    for number, names in enumerate(files):
        for (name, images), window in zip(restored.items(), windows, strict=True):
            levels = np.rint(255 * grey(oriented(images[number]), window)).astype(np.uint8)
            imsave(folder / names[name], levels, check_contrast=False)
    with atomic_path(folder / RAW) as temporary:
        np.savez_compressed(temporary, **restored)  # type: ignore[arg-type]  # a role is an array, no option
    shown = [[oriented(images[number]) for images in restored.values()] for number in range(min(MOST, drawing.count))]
    _sheet(folder, _view(plane, shown, windows, spacing[1] / spacing[0]), [], SIDES[plane], model, drawing)
    outside = [channel.share_outside(each) for channel, each in zip(channels, values, strict=True)]
    return {
        "plane": plane,
        "pictures": SIDES[plane],
        "spacing_mm": spacing,
        "thickness_mm": next(mm for axis, mm in enumerate(spacing_of(model)) if axis == across),
        "roles": _roles(channels, windows, outside),
        "raw_values": RAW,
        "files": files,
    }


def affine_of(model: Opened) -> Array:
    """Of a volume that the model makes: the middle at 0 mm."""
    spacing = spacing_of(model)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-mm * (voxels - 1) / 2 for mm, voxels in zip(spacing, model.method.shape.size, strict=True)]
    return affine


def oriented(image: Array) -> Array:
    """A slice of a RAS+ volume, (A, B) in the order x, y, z, as a radiologist looks at it: (rows, columns).

    The patient's right is on the left, superior (in an axial slice anterior) at the top; of a sagittal slice anterior
    is on the left.
    """
    return np.ascontiguousarray(image[::-1, ::-1].T)


def spacing_of(model: Opened) -> list[float]:
    """Voxel size of samples along x, y and z in mm; 1 where the recipe keeps that of each image."""
    return list(model.known.preparation.config.spacing or (1.0, 1.0, 1.0))


def display_window(images: Sequence[Array] | Array) -> Limits:
    """What is shown black and white of images of one role: the 1st and 99th percentile."""
    low, high = np.percentile(np.asarray(images), _DISPLAYED)
    return float(low), float(high)


def _view(name: str, samples: Sequence[Sequence[Array]], windows: Sequence[Limits], aspect: float) -> View:
    """Pictures of samples, the roles of each side by side."""
    greys = [[grey(each, window) for each, window in zip(roles, windows, strict=True)] for roles in samples]
    return View(name, [side_by_side(each) for each in greys], aspect)


def _sheet(folder: Path, main: View, below: Sequence[View], sides: str, model: Opened, drawing: Drawing) -> None:
    roles = " and ".join(channel.role for channel in channels_of(model))
    shown, number = len(main.pictures), "1 sample" if drawing.count == 1 else f"{drawing.count} samples"
    write_contact_sheet(
        folder / SHEET,
        main,
        below,
        title=f"{model.run}: {f'the first {shown} of ' if shown < drawing.count else ''}{number}, seed {drawing.seed}",
        subtitle=f"{roles}, {drawing.told}; {main.name}, {sides}",
        footer="Images made by a model, of no patient. Research use only.",
    )


def _roles(channels: Sequence[Channel], windows: Sequence[Limits], outside: Iterable[float]) -> dict[str, Any]:
    return {
        channel.name: {
            "role": channel.role,
            "unit": channel.unit,
            "display_window": window,
            **({"window": channel.window, "share_outside_window": share} if channel.window else {}),
        }
        for channel, window, share in zip(channels, windows, outside, strict=True)
    }
