"""Cases and prepared stores as datasets of MONAI: ``medgen.monai.dataset(...)`` and ``medgen.monai.store(...)``."""

from medgen.monai.datasets import dataset, store

__all__ = ["dataset", "store"]
