"""Virtual patients whose anatomy, MR physics and CT numbers are known exactly."""

from medgen.phantom.head import default_splits, make_head_phantom

__all__ = ["default_splits", "make_head_phantom"]
