"""Tissues of the phantom: relaxation times, proton density, Hounsfield units and susceptibility at 3 T."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from medgen.phantom.randomness import Stream


@dataclass(frozen=True)
class Tissue:
    """Magnetic and radiographic properties of one tissue.

    Attributes:
        t1: longitudinal relaxation time in ms at 3 T.
        t2: transverse relaxation time in ms at 3 T.
        t2_star: effective transverse relaxation time in ms at 3 T, without the field of the tissue's own surface
            (that part is simulated by :mod:`medgen.phantom.susceptibility`).
        density: proton density relative to water, 0 to 1.
        hounsfield: mean CT number in HU.
        susceptibility: volume susceptibility relative to water in ppm (SI).
    """

    t1: float
    t2: float
    t2_star: float
    density: float
    hounsfield: float
    susceptibility: float


# Sources stand in docs/explanation/phantom.md. A new tissue goes to the end: no other then changes.
TISSUES: dict[str, Tissue] = {
    "csf": Tissue(4300.0, 350.0, 250.0, 1.00, 8.0, 0.0),
    "grey": Tissue(1331.0, 110.0, 72.0, 0.86, 38.0, 0.02),
    "white": Tissue(832.0, 79.6, 60.0, 0.77, 27.0, -0.03),
    "fat": Tissue(371.0, 99.0, 40.0, 0.75, -95.0, 0.6),
    "muscle": Tissue(1412.0, 50.0, 23.0, 0.90, 52.0, 0.0),
    "skin": Tissue(950.0, 42.0, 20.0, 0.80, 30.0, 0.0),
    "mucosa": Tissue(1500.0, 95.0, 35.0, 0.95, 35.0, 0.0),
    "cortical": Tissue(250.0, 0.4, 0.4, 0.20, 1450.0, -2.3),
    "marrow": Tissue(480.0, 65.0, 9.0, 0.55, 330.0, -0.8),
    "tooth": Tissue(250.0, 0.3, 0.3, 0.15, 2200.0, -2.9),
    "air": Tissue(1.0, 1.0, 1.0, 0.0, -1000.0, 9.4),
    "oedema": Tissue(1064.0, 200.0, 120.0, 0.80, 20.0, 0.0),
    "blood": Tissue(1350.0, 50.0, 10.0, 0.85, 65.0, 1.2),
    "vein": Tissue(1550.0, 45.0, 20.0, 0.88, 50.0, 0.4),
    "gliosis": Tissue(1064.0, 200.0, 120.0, 0.80, 20.0, 0.0),
    # Spin echoes cannot tell it from blood; a gradient echo can.
    "scar": Tissue(1350.0, 50.0, 42.0, 0.85, 30.0, 0.0),
    "haemosiderin": Tissue(1100.0, 40.0, 5.0, 0.80, 50.0, 2.5),
}
LESION_TISSUES = ("oedema", "blood", "vein", "gliosis", "scar", "haemosiderin")
NAMES: tuple[str, ...] = tuple(TISSUES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}

# A head without lesions has maps of these only.
HEALTHY: tuple[str, ...] = tuple(name for name in NAMES if name not in LESION_TISSUES)

SILENT = ("cortical", "tooth", "air")  # no MR signal in any sequence

_COLUMNS = tuple(field.name for field in fields(Tissue))
_BONES = ("cortical", "marrow", "tooth")
# Coefficients of variation between subjects; T1 of white matter spans 0.6 to 1.1 s over methods (arXiv:2409.05318).
_VARIATION = {"t1": 0.05, "t2": 0.05, "t2_star": 0.05, "density": 0.02}


@dataclass(frozen=True, eq=False)
class TissueTable:
    """Properties of every tissue as arrays of shape (K,), in the order of :data:`NAMES`."""

    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    t2_star: NDArray[np.float64]
    density: NDArray[np.float64]
    hounsfield: NDArray[np.float64]
    susceptibility: NDArray[np.float64]


def nominal_tissues() -> TissueTable:
    """The table as published, the same for everyone."""
    columns = np.array([astuple(tissue) for tissue in TISSUES.values()], dtype=np.float64).T
    return TissueTable(**dict(zip(_COLUMNS, columns, strict=True)))


def subject_tissues(stream: Stream) -> TissueTable:
    """The tissues of one subject: the table with a small, independent variation of every value.

    Relaxation times vary by 5 %, proton density by 2 %, CT numbers of bone by 8 % and of soft tissue by 3 HU
    (standard deviations, cut at two). Air keeps -1000 HU: it is the definition of the scale.

    Args:
        stream: the subject's random stream; each tissue draws from its own branch, so that a tissue added later
            changes no other.
    """
    table = nominal_tissues()
    for index, name in enumerate(NAMES):
        draws = np.clip(stream.generator(f"tissue {name}").standard_normal(5), -2, 2)
        for column, draw in zip(_VARIATION, draws[:4], strict=True):
            values: NDArray[np.float64] = getattr(table, column)
            values[index] *= 1 + _VARIATION[column] * draw
        if name in _BONES:
            table.hounsfield[index] *= 1 + 0.08 * draws[4]
        elif name != "air":
            table.hounsfield[index] += 3.0 * draws[4]
    np.minimum(table.density, 1.0, out=table.density)
    return table
