"""Predicted files that an evaluation does not use: a name with a typo must not pass for a missing prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medgen.cases import listed, read_cases
from medgen.evaluation.references import SUFFIXES, Reference, candidates, stem_of, table_in, without_maps


def file_notes(place: Path, role: str, references: Path, found: Sequence[Reference]) -> list[str]:
    """Notes on predictions of no case, and on cases that have several files.

    Args:
        place: the folder of predictions; of one volume there are no notes.
        role: role of the predicted image in the file names.
        references: path of the references; of a case table, all splits count as known.
        found: the cases.
    """
    notes = []
    if strangers := _without_reference(place, role, references, found):
        have = f"{len(strangers)} predictions have" if len(strangers) > 1 else "1 prediction has"
        notes.append(f"{have} no reference: {listed(strangers)}")
    several = {item.case: [path.name for path in candidates(place, item.case, role)] for item in found}
    for case, (taken, *others) in ((case, names) for case, names in several.items() if len(names) > 1):
        notes.append(f"{case} has several predictions: {taken} was scored, not {listed(others)}")
    return notes


def _without_reference(place: Path, role: str, references: Path, found: Sequence[Reference]) -> list[str]:
    table = table_in(references)
    known = {item.case for item in found}
    if table.suffix == ".csv":
        known |= {case.name for case in read_cases(table).cases}
    flat, nested = (
        {stem_of(path) for path in place.glob(pattern) if path.name.endswith(SUFFIXES) and path.name[0] != "."}
        for pattern in ("*.*", f"*/*_{role}.*")
    )
    named = {stem.removesuffix(f"_{role}") for stem in flat | nested if stem.endswith(f"_{role}")}
    named = without_maps(named, known)
    owners = known | named  # beside x stand x_sd and other files of its own
    bare = {stem for stem in flat if not any(f"{stem}_".startswith(f"{name}_") for name in owners)}
    return sorted((named - known) | {stem for stem in bare if not stem.endswith(f"_{role}")})
