"""The layers of one patient in the viewer: images to look at, and what can be laid over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgen.report.montage import CT_WINDOW, cropped, input_title, middle
from medgen.report.overlays import PREDICTED, TRUE
from medgen.report.ranges import error_limit, robust_range
from medgen.report.slices import CaseImages, fullest_slice
from medgen.report.viewer.embedding import (
    Stored,
    coarsened,
    coarsened_affine,
    factors_for,
    packed,
    stored_hounsfield,
    stored_spread,
    stored_values,
)
from medgen.types import Floats

Kind = Literal["image", "error", "spread", "labels", "agreement", "confidence", "mask"]

_CLASS_COLOURS = ("#ff7f2a", "#56b4e9", "#f0e442", "#00a878", "#e58ac0", "#9d7bff", "#b5e853", "#ff5a5a")
_VOXELS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # mm to try, the finest first
_LEAST_PACKED = 0.12  # bytes that a voxel of an image needs at the very least, packed; spares hopeless attempts


@dataclass(frozen=True)
class Layer:
    """One volume of a patient, or one that the page computes from others.

    Args:
        key: its name in the page.
        title: for people.
        kind: what it is.
        unit: of its values.
        window: values shown as black and as white, or where the colours begin and end.
        limits: ends of the sliders.
        classes: of labels, the name and the colour of each class from 1 on.
        packed: gzipped NIfTI-1 in Base64; empty where the page computes it: ``error`` from ``synthetic``, ``true`` and
            ``mask``, ``agreement`` from ``predicted`` and ``reference``.
    """

    key: str
    title: str
    kind: Kind
    unit: str = ""
    window: tuple[float, float] = (0.0, 1.0)
    limits: tuple[float, float] = (0.0, 1.0)
    classes: tuple[tuple[str, str], ...] = ()
    packed: str = ""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the page is told of it, without its values."""
        return {name: value for name, value in vars(self).items() if name != "packed"} | {"stored": bool(self.packed)}


@dataclass(frozen=True)
class ViewedPatient:
    """One patient of the viewer.

    Args:
        name: of the case.
        spacing: size of the voxels in the viewer, in mm.
        native: size of the voxels of the files, in mm.
        oriented: whether the files define left and right.
        centre: where the cross begins, in parts of the volume from 0 to 1.
        layers: images first.
    """

    name: str
    spacing: tuple[float, ...]
    native: tuple[float, ...]
    oriented: bool
    centre: tuple[float, ...]
    layers: tuple[Layer, ...]

    @property
    def bytes(self) -> int:
        """What its volumes add to the page."""
        return sum(len(layer.packed) for layer in self.layers)

    @property
    def loses(self) -> bool:
        """Whether its label maps have larger voxels than the files, in which small structures may vanish."""
        return self.spacing != self.native and any(layer.kind == "labels" for layer in self.layers)

    @property
    def voxels(self) -> str:
        """The size of its voxels, and how they were made."""
        shown, stored = (_sizes(sizes) for sizes in (self.spacing, self.native))
        return f"{shown} mm" if shown == stored else f"{shown} mm, means of voxels of {stored} mm"


def view_patient(name: str, images: CaseImages, budget: int, *, coarsest: float = 3.0) -> ViewedPatient | None:
    """The patient with the smallest voxels whose volumes need no more than ``budget`` bytes of the page.

    Args:
        name: of the case.
        images: its volumes; cut to the patient here.
        budget: bytes.
        coarsest: the size in mm up to which voxels are made larger.

    Returns:
        The patient; None where the coarsest voxels need more.
    """
    images = cropped(images)
    count = len(images.inputs) + (0 if images.classes or images.target is not None else 2)
    least = _LEAST_PACKED * images.prediction.size * count
    sizes = [size for size in _VOXELS if size <= coarsest]
    for factors in dict.fromkeys(factors_for(images.spacing, size) for size in sizes):
        if least > budget * float(np.prod(factors)):
            continue
        patient = _at(name, images, factors)
        if patient.bytes <= budget:
            return patient
    return None


def _at(name: str, images: CaseImages, factors: tuple[int, int, int]) -> ViewedPatient:
    """The patient with blocks of voxels as one."""
    grid = coarsened_affine(images.affine, factors)

    def small(volume: NDArray[Any], *, label: bool = False) -> NDArray[Any]:
        return coarsened(volume, factors, label=label)

    make = _labels if images.classes else _lesions if images.target is not None else _values
    layers = [*_inputs(images, small, grid), *make(images, small, grid), *_spreads(images, small, grid)]
    spacing = tuple(size * factor for size, factor in zip(images.spacing, factors, strict=True))
    start = tuple((index + 0.5) / size for index, size in zip(_start(images), images.prediction.shape, strict=True))
    return ViewedPatient(name, spacing, images.spacing, images.oriented, start, tuple(layers))


def _start(images: CaseImages) -> tuple[int, ...]:
    """The voxel where the cross begins: in the structure, in what is marked, or in the middle of the body."""
    if images.target is None:
        return middle(images)
    return tuple(fullest_slice(images.target, axis) for axis in range(3))


Small = Callable[..., NDArray[Any]]


def _inputs(images: CaseImages, small: Small, grid: Floats) -> list[Layer]:
    layers = []
    for role, volume in images.inputs.items():
        (stored,) = stored_values([small(volume)])
        layers.append(_image(f"input-{role}", input_title(role), stored, grid, window=robust_range(volume)))
    return layers


def _image(key: str, title: str, stored: Stored, grid: Floats, *, window: tuple[float, float], unit: str = "") -> Layer:
    low, high = (stored.slope * float(end) + stored.intercept for end in (stored.data.min(), stored.data.max()))
    limits = (min(low, window[0]), max(high, window[1]))
    return Layer(key, title, "image", unit, window, limits, packed=packed(stored, grid))


def _values(images: CaseImages, small: Small, grid: Floats) -> list[Layer]:
    """Synthetic and true image, and the error that the page computes where errors count."""
    volumes = [small(volume) for volume in (images.prediction, images.truth) if volume is not None]
    hounsfield = images.unit == "HU"
    stored = [stored_hounsfield(volume) for volume in volumes] if hounsfield else stored_values(volumes)
    window = CT_WINDOW if hounsfield else robust_range(images.reference)
    name = "CT" if hounsfield else "image"
    titles = {"synthetic": f"synthetic {name}", "true": f"true {name}"}
    layers = [
        _image(key, title, each, grid, window=window, unit=images.unit)
        for (key, title), each in zip(titles.items(), stored, strict=False)
    ]
    if len(volumes) == 1:
        return layers
    error = volumes[0].astype(np.float32) - volumes[1]
    if images.mask is not None:
        mask = small((images.mask > 0).astype(np.uint8), label=True)
        error = np.where(mask > 0, error, np.nan)
        layers.append(Layer("mask", "mask", "mask", packed=packed(Stored(mask), grid)))
    end = error_limit(error)
    title = "error (synthetic − true)"
    return [*layers, Layer("error", title, "error", images.unit, (round(end / 5, 3), end), (0.0, 2 * end))]


def _labels(images: CaseImages, small: Small, grid: Floats) -> list[Layer]:
    """Predicted and true label map, and their agreement, which the page computes."""
    several = len(images.classes) > 1
    maps = {"predicted": images.prediction} | ({} if images.truth is None else {"reference": images.truth})
    layers = []
    for key, volume in maps.items():
        colours = _CLASS_COLOURS if several else (PREDICTED if key == "predicted" else TRUE,)
        classes = tuple((name, colours[index % len(colours)]) for index, name in enumerate(images.classes))
        stored = Stored(small(volume.astype(np.uint8), label=True))
        layers.append(Layer(key, key, "labels", classes=classes, packed=packed(stored, grid)))
    return [*layers, Layer("agreement", "agreement", "agreement")] if len(layers) == 2 else layers


def _lesions(images: CaseImages, small: Small, grid: Floats) -> list[Layer]:
    """Confidences of the candidates, the true lesions, and the organ."""
    confidence = Stored(np.rint(np.clip(small(images.prediction), 0, 1) * 250).astype(np.uint8), 1 / 250)
    layers = [Layer("confidence", "candidates, by confidence", "confidence", packed=packed(confidence, grid))]
    for key, title, name, where, colour in (
        ("reference", "true lesions", "lesion", images.lesions, TRUE),
        ("organ", "organ", "inside", None if images.mask is None else images.mask > 0, "#9a9a9a"),
    ):
        if where is not None:
            stored = Stored(small(where.astype(np.uint8), label=True))
            layers.append(Layer(key, title, "labels", classes=((name, colour),), packed=packed(stored, grid)))
    return layers


def _spreads(images: CaseImages, small: Small, grid: Floats) -> list[Layer]:
    layers = []
    for number, spread in enumerate(images.spreads):
        volume = small(spread.volume)
        end = error_limit(volume) if spread.limit is None else spread.limit
        content = packed(stored_spread(volume), grid)
        layers.append(
            Layer(f"spread-{number}", spread.title, "spread", spread.unit, (0.0, end), (0.0, 2 * end), packed=content)
        )
    return layers


def _sizes(spacing: tuple[float, ...]) -> str:
    return " × ".join(f"{size:g}" for size in np.round(spacing, 2))
