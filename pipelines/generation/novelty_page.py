"""The page of `novelty.py`."""
from pathlib import Path


def write_page(out: Path, machine: str) -> None:
    raise NotImplementedError
