"""Virtual patients whose anatomy, MR physics, CT numbers and lesions are known exactly."""

from medgen.phantom.head.adaptation import make_adaptation_phantom
from medgen.phantom.head.healthy import default_splits, make_head_phantom
from medgen.phantom.head.tissue_cohort import make_tissue_phantom
from medgen.phantom.prostate.cohort import make_prostate_phantom

__all__ = [
    "default_splits",
    "make_adaptation_phantom",
    "make_head_phantom",
    "make_prostate_phantom",
    "make_tissue_phantom",
]
