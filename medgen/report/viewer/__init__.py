"""A viewer of volumes inside the page of a report: niivue, the volumes, and what our own script is told of them."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

from medgen.report.overlays import BOTH, CONFUSED, PREDICTED, TRUE
from medgen.report.viewer.layers import ViewedPatient

NIIVUE = "niivue-0.69.0.umd.js.gz"
NIIVUE_BYTES = 1_100_000
"""What niivue adds to a page."""
LICENCES = "niivue-LICENSES.txt"

WINDOWS = {"bone": (-500.0, 1300.0), "soft tissue": (-160.0, 240.0), "brain": (0.0, 80.0)}
"""Windows of CT in HU, from black to white."""
AGREEMENT = (("both", BOTH), ("missed", TRUE), ("invented", PREDICTED), ("other class", CONFUSED))


@dataclass(frozen=True)
class Viewer:
    """What a page with a viewer holds beside its other parts.

    Args:
        patients: with their volumes, the worst first.
        left_out: patients whose volumes would make the file too large.
    """

    patients: Sequence[ViewedPatient]
    left_out: int = 0

    @property
    def loses(self) -> bool:
        """Whether small structures may have vanished from a label map, since its voxels became larger."""
        return any(patient.loses for patient in self.patients)

    @property
    def facts(self) -> dict[str, Any]:
        """What the script of the page is told: all but the values of the volumes."""
        return {
            "windows": WINDOWS,
            "agreement": AGREEMENT,
            "patients": [
                {
                    "name": patient.name,
                    "voxels": patient.voxels,
                    "oriented": patient.oriented,
                    "centre": patient.centre,
                    "layers": [layer.facts for layer in patient.layers],
                }
                for patient in self.patients
            ],
        }

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """The volumes: the name of each in the page, and its content."""
        return [
            (f"volume-{number}-{layer.key}", layer.packed)
            for number, patient in enumerate(self.patients)
            for layer in patient.layers
            if layer.packed
        ]


def niivue() -> str:
    """The package niivue as the page holds it: compressed, in Base64."""
    return b64encode(_asset(NIIVUE)).decode("ascii")


def licences() -> str:
    """The licences of niivue and of what it holds, which a page that holds it must show."""
    return _asset(LICENCES).decode("utf-8")


def content_security_policy(scripts: Iterable[str], *, viewer: bool, live: bool = False) -> str:
    """The policy of a page that loads nothing: its own scripts by their hashes, and pictures that it holds.

    A live page may ask who serves it for a newer one.

    Args:
        scripts: texts of the scripts of the page.
        viewer: whether the page starts niivue, which it holds compressed.
        live: whether it asks for a newer one.
    """
    allowed = [script.encode() for script in scripts] + ([gzip.decompress(_asset(NIIVUE))] if viewer else [])
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in allowed)
    parts = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        *(["connect-src 'self'"] if live else []),
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(parts)


def _asset(name: str) -> bytes:
    return (files("medgen.report.viewer") / name).read_bytes()
