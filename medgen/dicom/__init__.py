"""Results as DICOM: series and objects that lie where the source series lies, in its study."""

from medgen.dicom.ct import write_ct_series
from medgen.dicom.elements import Made, Owner
from medgen.dicom.source import SourceSeries, read_source

__all__ = ["Made", "Owner", "SourceSeries", "read_source", "write_ct_series"]
