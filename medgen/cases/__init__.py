"""The case table ``cases.csv``, and how to make one from folders in layouts that others defined."""

from medgen.cases.case import DOMAINS, SOURCE, SPLITS, TARGET, Case, columns_of, is_optional, is_role, listed
from medgen.cases.foreign import from_bids, from_msd, from_nnunet
from medgen.cases.picai import from_picai
from medgen.cases.splits import assign_splits, split_warnings, subject_of, subjects_of
from medgen.cases.table import CaseTable, WrongRow, read_cases, read_rows, write_cases

__all__ = [
    "DOMAINS",
    "SOURCE",
    "SPLITS",
    "TARGET",
    "Case",
    "CaseTable",
    "WrongRow",
    "assign_splits",
    "columns_of",
    "from_bids",
    "from_msd",
    "from_nnunet",
    "from_picai",
    "is_optional",
    "is_role",
    "listed",
    "read_cases",
    "read_rows",
    "split_warnings",
    "subject_of",
    "subjects_of",
    "write_cases",
]
