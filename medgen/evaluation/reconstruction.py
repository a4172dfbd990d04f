"""Reconstructions of patches beside the originals: how much of an image its code keeps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medgen
from medgen.cases import listed, read_cases
from medgen.errors import CasesFailed, InputError
from medgen.evaluation.scores import NOTHING, Scores, number_text
from medgen.files import atomic_path, require_apart, sha256
from medgen.inference.contact_sheet import MOST, View, write_contact_sheet
from medgen.inference.encoding import code_shape_of, encoded
from medgen.inference.generation import decoded
from medgen.inference.latent_folders import RECONSTRUCTION
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Patch, Places, placed_patches
from medgen.inference.sample_folder import new_folder, require_free
from medgen.inference.sample_views import views_of
from medgen.inference.sample_writing import channels_of
from medgen.inference.traversal import PATIENTS, difference_windows, windows_of
from medgen.metrics.reconstruction import NORMALISED_RANGE, UNITS, reconstruction_scores
from medgen.metrics.statistics import summarise
from medgen.types import Array, Checkpoint, Progress, Split
from medgen.volume import Volume, write_volume

_ROW = 6
"""Pictures in a row of the sheet: two patches, each with its reconstruction and the error."""


@dataclass
class _Gathered:
    """Scores of all patches, and the images of the first."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: list[tuple[Patch, Array]] = field(default_factory=list)
    slices: dict[str, list[Array]] = field(default_factory=dict)


def reconstruct(
    run: str | Path,
    cases: str | Path,
    output: str | Path,
    *,
    patches: int | None = None,
    seed: int = 0,
    split: Split | None = None,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Encode and decode patches of every case, and score what comes out.

    Patches are placed and prepared as by ``medgen latent encode``, and scored as the network sees them: in normalised
    units, on the prepared grid.

    Args:
        run: the run folder, or its ``model`` folder.
        cases: the case table.
        output: the folder to make: ``reconstruction.png``, originals beside reconstructions and errors;
            ``scores.json`` and ``scores.csv``; ``reconstruction.npz`` of slices, or
            ``<case>_original_0000_<role>.nii.gz`` and ``<case>_reconstruction_0000_<role>.nii.gz`` of volumes, which
            lie where the patch lies in the patient (RAS+ mm).
        patches: as for :func:`~medgen.inference.encoding.encode`.
        seed: of the places that are drawn.
        split: only the cases of this split.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace an earlier reconstruction.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended.
        progress: called with (cases done, cases in all, what).

    Returns:
        The scores: one row a case, the mean over its patches, see
        :func:`~medgen.metrics.reconstruction.reconstruction_scores`.

    Raises:
        UsageError: an argument is out of range, or the model encodes nothing.
        InputError: the table is wrong, or has no case of the split.
        CasesFailed: some cases could not be prepared; the others are written.
        ModelError: the model is missing or damaged, or an image is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output, places = Path(output), Places(patches, seed)
    require_free(output, overwrite=overwrite, kind=RECONSTRUCTION)
    table = read_cases(cases)
    chosen = table.select(split=split)
    if not chosen:
        raise InputError(f"no case has split '{split}'", where=table.path, fix="leave out --split, or choose another")
    require_apart(output, table.files)
    model = open_model(run, device, allow_modules, checkpoint)
    code_shape_of(model)
    failed: dict[str, str] = {}
    with new_folder(output, overwrite=overwrite, kind=RECONSTRUCTION) as folder:
        gathered = _gather(folder, placed_patches(chosen, model, places, failed, progress), model)
        if not gathered.rows:
            raise _failure(failed, len(chosen), table.path)
        _write_sheet(folder / "reconstruction.png", gathered.shown, model)
        if gathered.slices:
            with atomic_path(folder / "reconstruction.npz") as temporary:
                names = np.array([row["case"] for row in gathered.rows])
                numbers = np.array([row["patch"] for row in gathered.rows])
                stacked = {name: np.stack(each) for name, each in gathered.slices.items()}
                np.savez_compressed(temporary, case=names, patch=numbers, **stacked)  # type: ignore[arg-type]
        scores = _scores(gathered.rows, failed, model, places, split, sha256(table.path))
        scores.write(folder / RECONSTRUCTION.manifest)
        _write_csv(folder / "scores.csv", gathered.rows)
    if failed:
        raise _failure(failed, len(chosen), output / RECONSTRUCTION.manifest)
    return scores


def _failure(failed: dict[str, str], total: int, where: Path) -> CasesFailed:
    return CasesFailed(
        f"{len(failed)} of {total} cases failed: {listed(list(failed))}",
        where=where,
        fix="mend these cases ('medgen check' lists their faults) and run again with --overwrite",
    )


def _gather(folder: Path, patches: Any, model: Opened) -> _Gathered:
    channels, gathered, flat = channels_of(model), _Gathered(), model.method.shape.dimensions == 2
    data_range = range_of(model)
    for patch in patches:
        code = torch.from_numpy(encoded(model, patch.image))[None].to(model.device)
        image = decoded(model, code, f"the reconstruction of case '{patch.case}', patch {patch.number}")
        found = reconstruction_scores(image, patch.image, data_range=data_range)
        gathered.rows.append({"case": patch.case, "patch": patch.number, **found})
        if len(gathered.shown) < MOST // 3:
            gathered.shown.append((patch, image))
        for kind, values in (("original", patch.image), ("reconstruction", image)):
            for channel, each in zip(channels, values, strict=True):
                restored = channel.restored(each)
                if flat:
                    gathered.slices.setdefault(f"{kind}_{channel.name}", []).append(restored)
                else:
                    name = f"{patch.case}_{kind}_{patch.number:04d}_{channel.name}.nii.gz"
                    write_volume(Volume(restored[None], patch.affine), folder / name, kind=channel.kind)
    return gathered


def range_of(model: Opened) -> float | None:
    """Width of the range of normalised values, for PSNR and SSIM; None where some role has no bounds (z-score)."""
    preparation = model.known.preparation
    rules = [preparation.intensity(role) for role in preparation.roles.inputs]
    bounded = all((rule.window or rule.percentiles) for rule in rules) and not preparation.config.residual
    return NORMALISED_RANGE if bounded else None


def _scores(
    rows: list[dict[str, Any]],
    failed: dict[str, str],
    model: Opened,
    places: Places,
    split: Split | None,
    table_sha256: str,
) -> Scores:
    names = list(dict.fromkeys(row["case"] for row in rows))
    by_case = {name: [row for row in rows if row["case"] == name] for name in names}
    cases = [
        {"case": name, "patches": len(each), **{key: float(np.mean([row[key] for row in each])) for key in UNITS}}
        for name, each in by_case.items()
    ]
    config, data_range = model.patches, range_of(model)
    settings = {
        "unit": "normalised",
        "grid": "of the preparation, patch by patch",
        "data_range": "of each original patch" if data_range is None else data_range,
        "size": config.size,
        "plane": None if config.across is None else config.plane,
        "patches": places.patches or 1,
        "seed": None if places.patches is None else places.seed,
        "split": split,
        "cases_sha256": table_sha256,
    }
    origin = {"research_use_only": True, "medgen": medgen.__version__, "model": model.origin}
    return Scores(
        "reconstruction",
        tuple(cases),
        {key: summarise([row[key] for row in cases]) for key in UNITS},
        tuple({"case": name, "reason": reason} for name, reason in failed.items()),
        settings=settings,
        details=origin,
    )


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()])


def _write_sheet(path: Path, shown: Sequence[tuple[Patch, Array]], model: Opened) -> None:
    """Original, reconstruction and error of each patch, in the first view."""
    windows = windows_of(model, [patch.image for patch, _ in shown])
    errors = [np.abs(image - patch.image) for patch, image in shown]
    most = max(float(np.percentile(error, 99.5)) for error in errors) or 1.0
    bounds = difference_windows(model, most)
    pictures, labels = [], list[str]()
    for (patch, image), error in zip(shown, errors, strict=True):
        view = views_of(model, [patch.image, image], windows)[0]
        pictures += [*view.pictures, *views_of(model, [error], bounds)[0].pictures]
        labels += [f"{patch.case}" + (f" ({patch.number})" if patch.number else ""), "reconstruction", "error"]
    write_contact_sheet(
        path,
        View(view.name, pictures, view.aspect, labels),
        [],
        title=f"{model.run}: originals, reconstructions, and errors",
        subtitle=f"{view.name}; errors without sign, one scale for all: white is {most:.2g} normalised units",
        footer=PATIENTS,
        columns=min(_ROW, len(pictures)),
    )


def reconstruction_table(scores: Scores) -> list[tuple[str, ...]]:
    """Rows of text, the heading first: metric, mean, sd, 95 % interval over the cases, cases."""
    rows: list[tuple[str, ...]] = [("metric", "mean", "sd", "95 % interval", "cases")]
    for name, values in scores.summary.items():
        title = "mae (normalised)" if name == "mae" else f"{name} ({UNITS[name]})" if UNITS[name] else name
        mean, sd, low, high = (number_text(each) for each in (values["mean"], values["sd"], *values["ci95"]))
        rows.append((title, mean, sd, NOTHING if NOTHING in (low, high) else f"{low} to {high}", str(values["n"])))
    return rows
