"""Volumes in NiiVue's viewer inside a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.errors import UsageError
from medgen.volume.writing import write_volume

if TYPE_CHECKING:
    from medgen.volume.image import Volume

_LABELS, _HEAT, _GREY = "actc", "warm", "gray"
"""NiiVue's colour maps."""


def view(volume: Volume, overlays: Sequence[Volume], opacity: float) -> Any:
    """The widget; see :meth:`medgen.volume.Volume.view`.

    Args:
        volume: at the bottom.
        overlays: over it.
        opacity: of the overlays, 0 to 1.

    Raises:
        UsageError: ipyniivue is not installed, or the opacity is out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"an opacity of {opacity:g}", fix="give 0 to 1")
    try:
        from ipyniivue import NiiVue
        from ipyniivue import Volume as Layer
    except ImportError:
        raise UsageError(
            "a viewer in a notebook needs ipyniivue, which is not installed",
            where="this Python environment",
            fix="pip install 'medgen[notebook]'; without it a volume still shows three slices",
        ) from None
    layers = [Layer(data=_packed(volume), name="volume.nii.gz", colormap=_GREY)]
    for number, each in enumerate(overlays, 1):
        colours = _LABELS if each.data.dtype.kind in "biu" else _HEAT
        layers.append(Layer(data=_packed(each), name=f"overlay{number}.nii.gz", colormap=colours, opacity=opacity))
    widget = NiiVue()
    widget.load_volumes(layers)
    return widget


def _packed(volume: Volume) -> bytes:
    """The first channel as gzipped NIfTI."""
    kind = volume.data.dtype.kind
    first = volume.with_data(volume.data[:1].astype("uint8") if kind == "b" else volume.data[:1])
    labels = kind in "bu" or (kind == "i" and int(volume.data.min()) >= 0)
    with tempfile.TemporaryDirectory() as folder:
        path = write_volume(first, Path(folder) / "volume.nii.gz", kind="label" if labels else "scalar")
        return path.read_bytes()
