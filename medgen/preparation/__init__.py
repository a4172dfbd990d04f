"""From a patient's files to what a network sees, and back; and the store that keeps it on disk."""

from medgen.preparation.building import build_store, open_store
from medgen.preparation.fingerprint import Fingerprint
from medgen.preparation.patient import Preparation
from medgen.preparation.prepared import Prepared
from medgen.preparation.settings import IntensityConfig, PreparationConfig, Roles
from medgen.preparation.store import Store, StoredCase

__all__ = [
    "Fingerprint",
    "IntensityConfig",
    "Preparation",
    "PreparationConfig",
    "Prepared",
    "Roles",
    "Store",
    "StoredCase",
    "build_store",
    "open_store",
]
