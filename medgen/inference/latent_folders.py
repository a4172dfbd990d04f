"""Folders of pictures that ``medgen latent`` writes: what their files are called, so that no other is deleted."""

from __future__ import annotations

import re

from medgen.inference.sample_folder import FolderKind

TRAVERSAL = FolderKind(
    "medgen latent traverse",
    "traversals",
    "traversal.json",
    re.compile(r"traversal\.png|traversal_.+\.(png|gif|npz|nii\.gz)"),
)
INTERPOLATION = FolderKind(
    "medgen latent interpolate",
    "interpolations",
    "interpolation.json",
    re.compile(r"interpolation\.(png|gif|npz)|interpolation_\d{4,}_.+\.nii\.gz"),
)
RECONSTRUCTION = FolderKind(
    "medgen latent reconstruct",
    "reconstructions",
    "scores.json",
    re.compile(r"scores\.csv|reconstruction\.(png|npz)|.+_(original|reconstruction)_\d{4,}_.+\.nii\.gz"),
)
