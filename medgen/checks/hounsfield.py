"""Whether the values of a CT are Hounsfield units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume import AIR, HIGHEST, PADDING, Volume, share

_PADDING = -1500.0  # HU; below lies only what scanners write outside the circle they see (-2000, -3024)
_LOWEST_BODY = -50.0  # HU; every region of the body, and the air around it, reaches lower (fat: -120 to -80)
_SMALLEST_RANGE = 20.0  # HU; between air or fat and any soft tissue lies more
_AIR_PEAK = -900.0  # HU
_SAMPLES = 1 << 20


def require_hounsfield(volume: Volume) -> None:
    """Refuse a CT whose values are not Hounsfield units, by the lowest values of a real one: air or fat.

    Args:
        volume: values as read; NaN and infinity are left out of account.

    Raises:
        InputError: the values look like raw ones (0 to 4095, intercept missing), like normalised ones (0 to 1), like
            HU from which the intercept was subtracted twice, or there is nothing but padding; or as for
            :func:`require_no_high_padding`.
    """
    require_no_high_padding(volume)
    what = _fault(sampled(volume.data))
    if what:
        raise InputError(
            what,
            where=volume.source or "a volume in memory",
            fix="convert the CT again from DICOM, keeping rescale slope and intercept (air is -1000 HU)",
        )


def require_no_high_padding(volume: Volume) -> None:
    """Refuse a CT with values above all HU.

    Args:
        volume: HU; NaN and infinity are left out of account.

    Raises:
        InputError: there is a value above 31000 HU: padding such as 64511 (65535 stored without a sign), or saturation.
    """
    above = (volume.data > HIGHEST) & np.isfinite(volume.data)
    if count := int(above.sum()):
        raise InputError(
            f"{share(count, above.size)} lie above {HIGHEST:g} HU (highest {volume.data[above].max():g}), which no "
            "CT measures: padding, or metal beyond the scanner's range",
            where=volume.source or "a volume in memory",
            fix=f"give the DICOM series, whose header may name the padding; or set it to {AIR:g} HU, metal to 3071 HU",
        )


def looks_like_hounsfield(data: NDArray[Any]) -> bool:
    """Whether values have the mark of a CT: a share of air at -1000 HU, and bone or soft tissue far above."""
    values = sampled(data)
    if not values.size or values.min() < -4096:
        return False
    air = float(((values > -1100) & (values < _AIR_PEAK)).mean())
    return air > 0.05 and float(values.max()) > 100


def clean_hounsfield(volume: Volume) -> tuple[Volume, str]:
    """Raise what lies below -1024 HU to -1024 HU: noise of air, and padding such as -2000 or -3024; NaN stays NaN.

    Args:
        volume: HU.

    Returns:
        The volume, the same one where nothing lies so low, and a note on how many voxels were changed, or "". It
        begins with :data:`~medgen.volume.PADDING` where values are too low for noise: below -1500 HU.
    """
    low = volume.data < AIR
    count = int(low.sum())
    if count == 0:
        return volume, ""
    lowest = volume.data[low].min()
    if padded := int((volume.data < _PADDING).sum()):
        note = f"{PADDING}{share(padded, low.size)} below {_PADDING:g} HU (lowest {lowest:g})"
        note += f", set to {AIR:g} HU like all below it"
    else:
        note = f"{share(count, low.size)} below {AIR:g} HU (lowest {lowest:g}), set to {AIR:g} HU"
    return volume.with_data(np.where(low, np.asarray(AIR, volume.data.dtype), volume.data)), note


def sampled(data: NDArray[Any]) -> NDArray[Any]:
    """At most a million finite values, evenly spaced through an array: percentiles of all would take seconds."""
    flat = data.ravel(order="K")
    step = max(flat.size // _SAMPLES, 1) | 1  # odd, so that it does not fall in step with rows of 512
    values = flat[::step]
    finite: NDArray[Any] = values[np.isfinite(values)]
    return finite


def _fault(values: NDArray[Any]) -> str:
    padding = values < _PADDING
    real = values[~padding]
    if not real.size:
        return "the CT holds nothing but padding"
    if padding.mean() > 0.05 and np.unique(values[padding]).size > 20:
        return "the values are not HU: air lies near -2000, the intercept looks subtracted twice"
    low, high = (float(value) for value in np.percentile(real, (0.5, 99.5)))
    if high - low < _SMALLEST_RANGE:
        return f"the values are not HU: they run from {low:.4g} to {high:.4g}, which looks normalised"
    if low > _LOWEST_BODY:
        return (
            f"the values are not HU: they look like raw values, the intercept is missing "
            f"(lowest {low:.0f}, expected air near -1000 or at least fat near -100)"
        )
    return ""
