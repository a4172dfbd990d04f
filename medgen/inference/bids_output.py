"""The results of a cohort once more as BIDS derivatives (BIDS 1.10, "Derivatives"): names, sidecars, description."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import medgen
from medgen.cases import Case
from medgen.cases.foreign import BIDS_DESCRIPTION, BIDS_ROLES, made_by_medgen
from medgen.errors import UsageError
from medgen.files import PARTIAL, atomic_path, remove_partial_files, require_writable, write_json
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.report import CohortResult
from medgen.names import clashing

VERSION = "1.10.0"
"""Of BIDS, to which names and sidecars hold."""
_WARNING = "Computed by a network; NOT FOR CLINICAL USE."
_MADE, _IMAGE = "desc-medgen", "desc-synthetic"
_SUFFIXES = {role: suffix for suffix, role in BIDS_ROLES.items()}


def require_bids(folder: Path, cases: Iterable[Case], *, replace: bool) -> None:
    """Refuse a folder for derivatives, or names of cases, before the work.

    Args:
        folder: of the derivatives.
        cases: whose results go there.
        replace: whether earlier ones may be replaced.

    Raises:
        UsageError: the folder holds what medgen did not write, or earlier results; or two cases would be one subject.
        StorageError: the folder could not be written.
    """
    require_writable(folder.absolute())
    if twice := clashing(_stem(case.name) for case in cases):
        raise UsageError(f"two cases would have the name {min(twice)} in BIDS", fix="rename one in the case table")
    if not folder.is_dir() or all(each.name.startswith(PARTIAL) for each in folder.iterdir()):
        return
    if not made_by_medgen(folder):
        raise UsageError("the folder holds what medgen did not write", where=folder, fix="choose an empty folder")
    if not replace:
        fix = "choose another folder, or --overwrite or --resume"
        raise UsageError("the folder holds derivatives already", where=folder, fix=fix)


def require_names(model: LoadedModel, options: PredictOptions) -> None:
    """Refuse classes and roles of a model that BIDS, which has letters and digits alone, cannot tell apart.

    Raises:
        UsageError: names two of them.
    """
    found = list(_derivatives(model, Path("case.nii.gz"), options))
    if twice := clashing(each.name for each in found):
        of = " and ".join(f"'{each.of}'" for each in found if each.name in twice[:2])
        raise UsageError(
            f"{of} of the model would have one name in BIDS, {twice[0]}",
            fix="leave out --probabilities" if "_probseg" in twice[0] else "leave out --bids",
        )


def write_bids(model: LoadedModel, result: CohortResult, options: PredictOptions, folder: Path) -> None:
    """Write label maps, probabilities and images of all cases that have them as BIDS derivatives.

    A label map is ``sub-X_desc-medgen_dseg``, with the names of its values in ``desc-medgen_dseg.tsv``; the probability
    of a class ``sub-X_label-CLASS_desc-medgen_probseg``. BIDS has no name for a synthetic CT, and wants to know of
    another image whether its skull was stripped: images are ``sub-X_desc-synthetic_SUFFIX`` and in ``.bidsignore``.

    Args:
        model: that predicted.
        result: of the cohort; what a case that failed now left in the folder before is removed.
        options: of the prediction.
        folder: is made.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    _describe(model, folder)
    places = [(case, *_place(folder, case.case)) for case in result.cases]
    for _, place, stem in places:
        for old in place.glob(f"{stem}_*"):
            if _MADE in old.name or _IMAGE in old.name:
                old.unlink()
    for case, place, stem in places:
        if case.status == "failed":
            continue
        for each in _derivatives(model, result.output / case.output, options):
            target = place / f"{stem}_{each.name}.nii.gz"
            with atomic_path(target) as temporary:
                shutil.copyfile(each.file, temporary)
            write_json(target.with_name(f"{stem}_{each.name}.json"), each.sidecar)


def _describe(model: LoadedModel, folder: Path) -> None:
    """What says of the folder whose it is comes first, so that one that was interrupted can be finished."""
    method = str(model.description.get("method"))
    write_json(folder / BIDS_DESCRIPTION, _description(method))
    _write(folder / ".bidsignore", f"*_{_IMAGE}_*")
    _write(folder / "README", f"Predictions of medgen {medgen.__version__}, method {method}.\n{_WARNING}")
    if model.task.labels:
        rows = [f"{number}\t{name}" for number, name in enumerate(model.classes, start=1)]
        _write(folder / f"{_MADE}_dseg.tsv", "\n".join(["index\tname", "0\tbackground", *rows]))


class _Derivative(NamedTuple):
    """One file as BIDS has it.

    Attributes:
        name: what stands behind the subject.
        of: the role or class.
        file: what :func:`~medgen.inference.cohort.predict_cohort` wrote.
        sidecar: what stands beside it.
    """

    name: str
    of: str
    file: Path
    sidecar: dict[str, Any]


def _derivatives(model: LoadedModel, first: Path, options: PredictOptions) -> Iterator[_Derivative]:
    files = model.files(first, options)
    for role, file in files.results.items():
        if model.task.labels:
            sidecar = {"Description": f"Label map. {_WARNING}", "Manual": False}
            yield _Derivative(f"{_MADE}_dseg", role, file, sidecar)
        else:
            unit = {"Units": "HU"} if model.kind_of(role) == "hu" else {}
            sidecar = {"Description": f"Synthetic {role}. {_WARNING}", **unit}
            yield _Derivative(f"{_IMAGE}_{_suffix(role)}", role, file, sidecar)
    for name, file in files.probabilities.items():
        sidecar = {"Description": f"Probability of {name}. {_WARNING}", "Manual": False}
        yield _Derivative(f"label-{_letters(name)}_{_MADE}_probseg", name, file, sidecar)


def _description(method: str) -> dict[str, Any]:
    made = {"Name": "medgen", "Version": medgen.__version__, "Description": f"{method}. {_WARNING}"}
    return {
        "Name": "Predictions of medgen",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made],
    }


def _place(folder: Path, case: str) -> tuple[Path, str]:
    """The folder of a case, and how the names of its files begin."""
    stem = _stem(case)
    return folder / Path(*stem.split("_"), "anat"), stem


def _stem(case: str) -> str:
    """The subject, and the session if the name of the case has one as ``medgen cases from-bids`` gives it.

    >>> _stem("sub-01_ses-2"), _stem("patient-7")
    ('sub-01_ses-2', 'sub-patient7')
    """
    if re.fullmatch(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?", case):
        return case
    return f"sub-{_letters(case)}"


def _suffix(role: str) -> str:
    """As BIDS has it, else the role: ``t1`` is ``T1w``."""
    return _SUFFIXES.get(role) or _letters(role)


def _letters(text: str) -> str:
    """What BIDS allows in a name: ASCII letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
