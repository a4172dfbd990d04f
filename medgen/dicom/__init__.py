"""Results as DICOM: series and objects that lie where the source series lies, in its study."""

from medgen.dicom.contours import write_contours
from medgen.dicom.ct import write_ct_series
from medgen.dicom.elements import Made, Owner
from medgen.dicom.parametric import write_parametric_maps
from medgen.dicom.segmentation import write_segmentations
from medgen.dicom.source import SourceSeries, read_source

__all__ = [
    "Made",
    "Owner",
    "SourceSeries",
    "read_source",
    "write_contours",
    "write_ct_series",
    "write_parametric_maps",
    "write_segmentations",
]
