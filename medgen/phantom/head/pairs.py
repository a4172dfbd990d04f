"""Pairs of scanners for domain adaptation: how the target's image differs, and what the patients of both have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from medgen.errors import UsageError
from medgen.phantom.head.acquisition import Scanner
from medgen.phantom.head.lesions import USUAL, Disease
from medgen.phantom.head.sequences import PROTOCOLS, GradientEcho, Protocol
from medgen.phantom.head.tissues import INDEX, TissueTable

SHIFTED = "swi"
"""The target's sequence that the source lacks."""
HIGH_PASS_MM, ECHO_MS = (8, 100), (5, 60)
"""What a pair may have: cut-off of the phase filter of the SWI, and its echo time."""


@dataclass(frozen=True)
class Pair:
    """What makes a benchmark of adaptation hard or easy; the defaults are those of the first phantom.

    Attributes:
        disease: of the patients of both domains.
        oedema: T2 in ms, 50 to 400, of contusion and of what looks like it; T2* changes by the same factor.
        high_pass: cut-off of the phase filter of the target's SWI in mm, 8 to 100; a longer one leaves more of the
            field of the air spaces.
        echo: echo time of the SWI in ms, 5 to 60; one that is later than the usual 20 makes the repetition longer by
            as much.
        alike: noise and non-uniformity of the target are those of the source.
    """

    disease: Disease = USUAL
    oedema: float = 200.0
    high_pass: float = 20.0
    echo: float = 20.0
    alike: bool = False

    def __post_init__(self) -> None:
        """Refuse what no scanner and no patient has.

        Raises:
            UsageError: a value is out of its range.
        """
        disease, (least, most) = self.disease, self.disease.distractors
        for name, value, low, high in (
            ("oedema", self.oedema, 50, 400), ("high_pass", self.high_pass, *HIGH_PASS_MM),
            ("echo", self.echo, *ECHO_MS), ("blood", disease.blood, 0, 2), ("convex", disease.convex, 0, 1),
            ("shallow", disease.shallow, 0, 1),
            ("distractors", least, 0, most), ("distractors", most, least, 20),
        ):  # fmt: skip
            if not low <= value <= high:
                raise UsageError(f"'{name}' of a pair of scanners is {value}", fix=f"choose {low} to {high}")

    def protocols(self) -> Mapping[str, Protocol]:
        """The sequences of both scanners."""
        shifted = PROTOCOLS[SHIFTED]
        sequence = shifted.sequence
        assert isinstance(sequence, GradientEcho)
        later = max(0.0, self.echo - sequence.echo)
        timed = replace(sequence, echo=self.echo, repetition=sequence.repetition + later)
        mine = replace(shifted, sequence=timed, high_pass=self.high_pass)
        return {**PROTOCOLS, SHIFTED: mine}

    def scanner(self, scanner: Scanner, source: Scanner) -> Scanner:
        """A scanner of this pair.

        Args:
            scanner: of the domain.
            source: of the source.
        """
        if self.alike:
            scanner = replace(scanner, noise=source.noise, bias=source.bias)
        return replace(scanner, protocols=self.protocols())

    def tissues(self, tissues: TissueTable) -> TissueTable:
        """A subject's tissues with the oedema of this pair; the variation between subjects stays."""
        factors = np.ones(len(tissues.t2))
        factors[[INDEX["oedema"], INDEX["gliosis"]]] = self.oedema / Pair.oedema
        return replace(tissues, t2=tissues.t2 * factors, t2_star=tissues.t2_star * factors)


_MIXED = Disease(distractors=(4, 7), convex=0.5, blood=1.5)
_DARK = Pair(disease=_MIXED, oedema=150.0, alike=True)
PAIRS: dict[str, Pair] = {
    "first": Pair(),
    "long_echo": replace(_DARK, high_pass=30.0, echo=40.0),
    "long_filter": replace(_DARK, high_pass=60.0, echo=20.0),
    "short_filter": replace(_DARK, high_pass=20.0, echo=50.0),
}
"""By name; what was measured of each: docs/results/lesion_adaptation/pairs.md. All but the first share one source."""
