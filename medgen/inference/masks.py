"""Masks of the brain or the head, from the tissues that a shipped model finds in a scan of any contrast."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.cases import Case, read_cases, write_cases
from medgen.errors import InputError, UsageError
from medgen.files import require_apart, require_free
from medgen.inference.cohort import predict_cohort
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.inference.report import REPORT
from medgen.inference.writing import output_name
from medgen.preparation.resampling import resample
from medgen.types import Progress
from medgen.volume import Volume, read_label, read_volume, write_volume

Mask: TypeAlias = NDArray[np.bool_]
Part: TypeAlias = Literal["brain", "head"]

MODEL = "head-tissues"
BRAIN = ("grey", "white", "csf")
log = logging.getLogger(__name__)
_READ, _MADE, _MASK = "image", "label", "mask"


def mask_of(tissues: Volume, classes: Sequence[str], part: Part) -> Mask:
    """The largest connected piece of the brain with its fluid, or of the head, without cavities.

    Args:
        tissues: (1, X, Y, Z) label map, n for ``classes[n - 1]``.
        classes: names of the tissues.
        part: ``brain`` or ``head``.

    Returns:
        (X, Y, Z) bool.

    Raises:
        InputError: there is no brain in it.
    """
    labels = tissues.data[0]
    wanted = [classes.index(name) + 1 for name in BRAIN]
    inside = np.isin(labels, wanted) if part == "brain" else labels > 0
    pieces, count = ndimage.label(inside)
    if not count or not np.isin(labels, wanted[:2]).any():
        raise InputError(f"no {part} was found", where=tissues.source or None, fix="look at the image, or draw a mask")
    if count > 1:
        inside = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    return np.asarray(ndimage.binary_fill_holes(inside), bool)


def make_mask(
    image: str | Path,
    output: str | Path,
    *,
    part: Part = "brain",
    strip: bool = False,
    run: str | Path = MODEL,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the mask of one scan on its own grid, or the scan without what lies outside the mask.

    Args:
        image: any MR of the head that medgen reads.
        output: NIfTI: uint8 mask; with ``strip`` the scan, float32, 0 outside.
        part: ``brain`` (with its fluid) or ``head``.
        strip: write the scan in place of the mask.
        run: a model of the classes grey, white and csf.
        device: see :func:`~medgen.inference.loading.load_model`.
        overwrite: replace what is there.
        progress: called with (done, total, what).

    Raises:
        UsageError: the output exists or is the image, or the model finds other classes.
        InputError: the image cannot be read, or has no brain.
        ModelError: there is no such model.
    """
    require_apart(output, [image])
    require_free(output, overwrite=overwrite)
    model = _tissue_model(run, device)
    volume = read_volume(image)
    mask = mask_of(replace(model.predict(volume, progress=progress), source=str(image)), model.classes, part)
    return _write(volume, mask, Path(output), strip=strip, overwrite=overwrite)


def mask_cases(
    table: str | Path,
    out: str | Path,
    *,
    role: str,
    part: Part = "brain",
    strip: bool = False,
    run: str | Path = MODEL,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a mask for every case of a table, and a table that has it in the column ``mask``.

    Args:
        table: the case table.
        out: folder to write: ``tissues/`` with the label maps, ``<case>/<case>_mask.nii.gz``, and ``cases.csv``; with
            ``strip`` also every image of the case without what lies outside the mask, each on its own grid. Label maps
            and CT, which have other values outside, stay as they are.
        role: the image that the brain is found in; the mask has its grid.
        part: ``brain`` (with its fluid) or ``head``.
        strip: also write images without what lies outside.
        run: a model of the classes grey, white and csf.
        device: see :func:`~medgen.inference.loading.load_model`.
        overwrite: replace what is there.
        resume: keep tissues that are done.
        progress: called with (done, total, what).

    Returns:
        Path of the new table.

    Raises:
        UsageError: a case lacks the image, an output is an image of the table, or outputs exist and neither
            ``overwrite`` nor ``resume`` is set, or no tissues of an earlier run lie there to resume.
        CasesFailed: some cases failed; no table is written.
        InputError: an image has no brain.
    """
    read, out = read_cases(table), Path(out)
    cases = read.cases
    if lacking := [case.name for case in cases if role not in case.images]:
        raise UsageError(f"{lacking[0]} has no image '{role}'", where=table, fix="name a column that every case has")
    outputs = [out / "cases.csv", *(file for case in cases for file in _outputs(case, out, strip).values())]
    require_apart([out / "tissues", *outputs], read.files, fix="choose another folder for -o")
    if not (resume and (out / "tissues" / REPORT).is_file()):
        for file in outputs:
            require_free(file, overwrite=overwrite)
    model = _tissue_model(run, device)
    found = [replace(case, images={_READ: case.images[role]}) for case in cases]
    predict_cohort(
        model, found, out / "tissues", overwrite=overwrite, resume=resume, progress=progress
    ).require_complete()
    masked = [_mask_case(case, role, model.classes, out, part, strip) for case in cases]
    return write_cases(masked, out / "cases.csv")


def _mask_case(case: Case, role: str, classes: Sequence[str], out: Path, part: Part, strip: bool) -> Case:
    tissues = read_label(out / "tissues" / case.name / f"{case.name}_{_MADE}.nii.gz")
    mask = mask_of(replace(tissues, source=str(case.images[role])), classes, part)
    outputs = _outputs(case, out, strip)
    for name, file in outputs.items():
        if name == _MASK:
            _write(tissues, mask, file, strip=False, overwrite=True)
            continue
        volume = read_volume(case.images[name])
        there = resample(mask.astype(np.float32), tissues.affine, volume.affine, volume.shape, fill=0.0) >= 0.5
        _write(volume, there, file, strip=True, overwrite=True)
    return replace(case, images={**case.images, **outputs})


def _outputs(case: Case, out: Path, strip: bool) -> dict[str, Path]:
    """Files of a case by their columns."""
    roles = [role for role in case.images if role not in ("label", _MASK) and not role.startswith("ct")]
    return {role: out / output_name(case, role) for role in (_MASK, *(roles if strip else ()))}


def _write(volume: Volume, mask: Mask, output: Path, *, strip: bool, overwrite: bool) -> Path:
    if strip:
        return write_volume(
            volume.with_data(np.where(mask, volume.data[0], 0)), output, kind="scalar", overwrite=overwrite
        )
    return write_volume(volume.with_data(mask.astype(np.uint8)), output, kind="label", overwrite=overwrite)


def _tissue_model(run: str | Path, device: str) -> LoadedModel:
    model = load_model(run, device=device)
    roles: Any = model.preparation.roles.inputs
    if not set(BRAIN) <= set(model.classes) or tuple(roles) != (_READ,):
        raise UsageError(
            f"the model reads {', '.join(roles)} and finds {', '.join(model.classes) or 'no class'}",
            where=str(run),
            fix=f"give a model that reads '{_READ}' and finds {', '.join(BRAIN)}, as {MODEL} does",
        )
    for notice in model.notices.values():
        log.warning("%s", notice)
    return model
