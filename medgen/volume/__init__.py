"""Volumes in the patient's own coordinates: read, write, turn and compare.

Axis order everywhere is nibabel's, (C, X, Y, Z); affines map voxel indices to RAS+ millimetres. NIfTI is read with
nibabel alone, because a reader that fills a truncated file with zeros must never be used on a patient; MetaImage by
medgen itself, for the same reason; a DICOM series with pydicom, after its slices were found to be one whole, even and
straight volume.
"""

from medgen.volume.dicom import is_dicom
from medgen.volume.grid import SAME_GRID, Grid, HasGrid, corner_distance, overlap, ras_grid, require_same_grid
from medgen.volume.image import Volume, read_header, read_volume, reorient_like, to_ras
from medgen.volume.labels import as_label, class_indices, read_label
from medgen.volume.nifti import Geometry
from medgen.volume.padding import AIR, HIGHEST, PADDING, share
from medgen.volume.repair import Interpolated, Repaired, repair_volume
from medgen.volume.series import Series, list_series
from medgen.volume.writing import Kind, write_volume

__all__ = [
    "AIR",
    "HIGHEST",
    "PADDING",
    "SAME_GRID",
    "Geometry",
    "Grid",
    "HasGrid",
    "Interpolated",
    "Kind",
    "Repaired",
    "Series",
    "Volume",
    "as_label",
    "class_indices",
    "corner_distance",
    "is_dicom",
    "list_series",
    "overlap",
    "ras_grid",
    "read_header",
    "read_label",
    "read_volume",
    "reorient_like",
    "repair_volume",
    "require_same_grid",
    "share",
    "to_ras",
    "write_volume",
]
