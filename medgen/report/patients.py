"""What a page shows of the patients beside the large figures: the overview, and the viewer as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medgen.report.cohort import MOST_CARDS, Card, load_case, make_card, ranked_cases, scores_of_cases
from medgen.report.drawing import Picture
from medgen.report.sources import Sources
from medgen.report.viewer import NIIVUE_BYTES, Viewer
from medgen.report.viewer.layers import ViewedPatient, view_patient
from medgen.types import Progress

MOST_BYTES = 19_000_000
"""Of a page; text and tables come on top, so that no file reaches 20 MB."""
MOST_VIEWED = 8
"""Patients with volumes; fewer where the volumes are large."""

_SHARE = 4_500_000  # bytes of one patient: a head at 2 mm
_COARSEST = 8.0  # mm


class Patients(NamedTuple):
    """The overview and the viewer.

    Attributes:
        cards: the worst first.
        viewer: None where no patient has volumes, or none is wanted.
        total: predicted patients of the table.
    """

    cards: Sequence[Card] = ()
    viewer: Viewer | None = None
    total: int = 0


def show_patients(
    sources: Sources, figures: Sequence[Picture], *, viewer: bool = True, progress: Progress | None = None
) -> Patients:
    """Make the cards of a cohort, and pack the volumes of the patients with a figure, then of the worst others.

    Args:
        sources: predictions, scores and case table.
        figures: those of the page; what they leave of its size is for volumes.
        viewer: whether volumes are wanted.
        progress: called with (done, total, what).

    Raises:
        InputError: a file is damaged.
    """
    ranked, scores = ranked_cases(sources), scores_of_cases(sources)
    drawn = {figure.case for figure in figures}
    wanted = [name for name in ranked if name in drawn]
    listed = list(dict.fromkeys([*wanted, *ranked[:MOST_CARDS]]))
    left = MOST_BYTES - NIIVUE_BYTES - sum(_bytes(figure) for figure in figures)
    cards, viewed, left_out = [], list[ViewedPatient](), 0
    for done, name in enumerate(listed):
        if progress is not None:
            progress(done, len(listed), f"patient {name}")
        images = load_case(sources, name)
        if len(listed) > 1:
            cards.append(make_card(name, images, scores.get(name, "")))
            left -= len(cards[-1].picture) * 4 // 3
        if viewer and len(viewed) < MOST_VIEWED:
            patient = view_patient(name, images, min(left, _SHARE))
            if patient is None and not viewed:  # a whole body: better with large voxels than not at all
                patient = view_patient(name, images, left, coarsest=_COARSEST)
            left -= patient.bytes if patient else 0
            viewed += [patient] if patient else []
            left_out += patient is None
        del images
    if progress is not None:
        progress(len(listed), len(listed), "done")
    place = {name: position for position, name in enumerate(ranked)}
    viewed.sort(key=lambda patient: place[patient.name])
    cards.sort(key=lambda card: place[card.case])
    return Patients(cards, Viewer(viewed, left_out) if viewed else None, len(ranked))


def _bytes(figure: Picture) -> int:
    """What a figure adds to the page, which has it in Base64."""
    return (len(figure.light) + (len(figure.dark) if figure.dark != figure.light else 0)) * 4 // 3
