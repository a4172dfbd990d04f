"""Cases as subjects of TorchIO 1: ``medgen.torchio.subjects(...)``, with the extra ``torchio``."""

from medgen.torchio.subjects import subjects

__all__ = ["subjects"]
