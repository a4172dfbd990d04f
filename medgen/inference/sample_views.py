"""What is seen of images that a model makes: a slice, or the middle slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

from medgen.inference.contact_sheet import View, grey, side_by_side
from medgen.inference.opened import Opened
from medgen.inference.sample_writing import Limits, channels_of, oriented, spacing_of
from medgen.types import Array


def views_of(model: Opened, images: Sequence[Array], windows: Sequence[Limits]) -> list[View]:
    """Pictures of images: of slices in their plane; of volumes axial, coronal and sagittal through the middle.

    Args:
        model: that makes such images.
        images: (C, X, Y, Z) or (C, A, B) each, normalised.
        windows: of each channel, shown black and white, in its unit; the channels stand side by side.
    """
    channels, spacing = channels_of(model), spacing_of(model)
    planes: list[tuple[str, int | None, float]]
    if model.method.shape.dimensions == 2:
        across = model.patches.across
        mm = [each for axis, each in enumerate(spacing) if axis != across]
        planes = [(model.patches.plane, None, mm[1] / mm[0])]
    else:
        x, y, z = spacing
        planes = [("axial", 2, y / x), ("coronal", 1, z / x), ("sagittal", 0, z / y)]
    views = []
    for name, axis, aspect in planes:
        pictures = []
        for image in images:
            cut = image if axis is None else image.take(image.shape[axis + 1] // 2, axis=axis + 1)
            parts = zip(channels, cut, windows, strict=True)
            pictures.append(side_by_side([grey(oriented(channel.restored(each)), lim) for channel, each, lim in parts]))
        views.append(View(name, pictures, aspect))
    return views
