"""Shared fixtures."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores; their threads would spin

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; tests that need it are skipped where it is absent."""
    folder = os.environ.get("MEDGEN_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDGEN_REAL_DATA names no folder of real volumes")
    return Path(folder).resolve()
