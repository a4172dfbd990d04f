# mypy: allow-untyped-calls
# nibabel and scikit-image carry annotations in part only.
"""Volumes in NiiVue's viewer inside a notebook."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from medgen.errors import UsageError

Layer: TypeAlias = tuple[NDArray[Any], NDArray[np.float64]]
"""(X, Y, Z), and voxel index to mm."""
_LABELS, _HEAT, _GREY = "actc", "warm", "gray"
"""NiiVue's colour maps."""


def view(layers: Sequence[Layer], opacity: float) -> Any:
    """The widget; see :meth:`medgen.volume.Volume.view`.

    Args:
        layers: the lowest first; over it, integers are labels and real numbers heat.
        opacity: of all but the lowest, 0 to 1.

    Raises:
        UsageError: ipyniivue is not installed, or the opacity is out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"an opacity of {opacity:g}", fix="give 0 to 1")
    try:
        import ipyniivue
    except ImportError:
        raise UsageError(
            "a viewer in a notebook needs ipyniivue, which is not installed",
            where="this Python environment",
            fix="pip install 'medgen[notebook]'; without it a volume still shows three slices",
        ) from None
    shown = []
    for number, layer in enumerate(layers):
        over = _LABELS if layer[0].dtype.kind in "biu" else _HEAT
        looks = {"colormap": over, "opacity": opacity} if number else {"colormap": _GREY}
        shown.append(ipyniivue.Volume(data=packed(*layer), name=f"volume{number}.nii.gz", **looks))
    widget = ipyniivue.NiiVue()
    widget.load_volumes(shown)
    return widget


def packed(data: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """Gzipped NIfTI: labels (X, Y, Z) as int32, other values as float32."""
    kind = np.int32 if data.dtype.kind in "biu" else np.float32
    return gzip.compress(Nifti1Image(data.astype(kind), affine).to_bytes(), compresslevel=1)
