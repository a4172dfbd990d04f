"""Checks of a dataset and of the values in it."""

from medgen.checks.dataset import LABEL_ROLES, MAP_ELSEWHERE, TARGET_ELSEWHERE, check_cases
from medgen.checks.description import Described, describe
from medgen.checks.extent import require_plausible_extent
from medgen.checks.hounsfield import (
    clean_hounsfield,
    looks_like_hounsfield,
    require_hounsfield,
    require_no_high_padding,
)
from medgen.checks.roles import ALL, Fault, Severity

__all__ = [
    "ALL",
    "LABEL_ROLES",
    "MAP_ELSEWHERE",
    "TARGET_ELSEWHERE",
    "Described",
    "Fault",
    "Severity",
    "check_cases",
    "clean_hounsfield",
    "describe",
    "looks_like_hounsfield",
    "require_hounsfield",
    "require_no_high_padding",
    "require_plausible_extent",
]
