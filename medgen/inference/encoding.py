"""Latent codes of the images of a case table, patch by patch."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import medgen
from medgen.cases import listed, read_cases
from medgen.errors import CasesFailed, InputError, ModelError, UsageError
from medgen.files import atomic_path, require_apart, require_free, require_output, sha256, write_json
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Patch, Places, placed_patches
from medgen.methods.base import Encodes
from medgen.training.model_folder import files_of_run
from medgen.types import Array, Checkpoint, Progress, Split

MOST_IN_CSV = 4096
"""Numbers of a code that a row of a CSV file may hold; spreadsheets end at 16384 columns."""


class Row(NamedTuple):
    """The code of one patch.

    Attributes:
        case: name of the case.
        patch: its number, from 0.
        centre: of the patch, RAS+ mm.
        code: (...), float32.
    """

    case: str
    patch: int
    centre: tuple[float, float, float]
    code: Array


def encode(
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
) -> Path:
    """Write the latent code of patches of every case, with a model that encodes.

    Cases are prepared as in training; labels and targets are not opened. Patches have the size of training, for a
    model of slices they are slices, and are not augmented. Beside ``codes.csv`` stands ``codes.json``: model, seed,
    hashes, and which cases failed.

    Args:
        run: the run folder, or its ``model`` folder.
        cases: the case table.
        output: ``.csv``: a row a patch, with case, patch, centre in RAS+ mm and the flattened code, at most
            :data:`MOST_IN_CSV` numbers; ``.npz``: arrays ``case`` (N,), ``patch`` (N,), ``centre_mm`` (N, 3) and
            ``code`` (N, ...) float32.
        patches: how many are drawn from each case, uniformly in the mask as in training; None takes one, centred on
            the middle of the mask. The mask is the body where the recipe names none.
        seed: of the places that are drawn.
        split: only the cases of this split.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace what is there.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, ``last``: the weights of its last checkpoint, or ``best``: those of its
            best validation so far. Everything that is made with them says so.
        progress: called with (cases done, cases in all, what).

    Returns:
        The file of codes.

    Raises:
        UsageError: an argument is out of range, a file is there already, the model encodes nothing, or its codes are
            too long for CSV.
        InputError: the table is wrong, or has no case of the split.
        CasesFailed: some cases could not be prepared; the codes of the others are written.
        ModelError: the model is missing or damaged, or a code is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output, places = Path(output), Places(patches, seed)
    manifest = output.with_suffix(".json")
    _require_sensible((output, manifest), cases, overwrite=overwrite)
    table = read_cases(cases)
    chosen = table.select(split=split)
    if not chosen:
        raise InputError(f"no case has split '{split}'", where=table.path, fix="leave out --split, or choose another")
    require_apart((output, manifest), (*table.files, *files_of_run(run)))
    model = open_model(run, device, allow_modules, checkpoint)
    shape = code_shape_of(model)
    if output.suffix == ".csv":
        _require_short(shape, output)
    failed: dict[str, str] = {}
    rows = list(_encoded(placed_patches(chosen, model, places, failed, progress), model))
    if rows:
        manifest.unlink(missing_ok=True)  # it must not describe the codes of another run
        _write(rows, output)
        content = _manifest(model, places, shape) | {"split": split, "cases_sha256": sha256(table.path)}
        content |= {"cases": len(chosen), "failed": failed, "codes": output.name, "codes_sha256": sha256(output)}
        write_json(manifest, content)
    if failed:
        raise CasesFailed(
            f"{len(failed)} of {len(chosen)} cases failed: {listed(list(failed))}",
            where=manifest if rows else table.path,
            fix="mend these cases ('medgen check' lists their faults) and run again with --overwrite",
        )
    return output


def _encoded(patches: Iterable[Patch], model: Opened) -> Iterator[Row]:
    for patch in patches:
        code = encoded(model, patch.image)
        if not np.isfinite(code).all():
            raise ModelError(
                f"the code of case '{patch.case}', patch {patch.number}, has NaN or infinite numbers",
                where=model.where,
                fix="train the model again; nothing was written",
            )
        yield Row(patch.case, patch.number, patch.centre, code)


def encoded(model: Opened, patch: Array) -> Array:
    """The code (...), float32, of a patch (C, ...); in a batch the last digits would depend on the other patches.

    Raises:
        UsageError: the model encodes nothing.
    """
    if not isinstance(model.method, Encodes):
        raise model.lacks("encode images")
    with torch.inference_mode():
        code = model.method.encode(torch.from_numpy(patch)[None].to(model.device))
    return np.asarray(code[0].float().cpu().numpy())


def code_shape_of(model: Opened) -> tuple[int, ...]:
    """Shape of the code of one patch, found by encoding zeros: what cannot be written is refused before the work."""
    shape = model.method.shape
    return encoded(model, np.zeros((shape.inputs, *shape.size), np.float32)).shape


def _write(rows: Sequence[Row], output: Path) -> None:
    with atomic_path(output) as temporary:
        if output.suffix == ".npz":
            np.savez_compressed(
                temporary,
                case=np.array([row.case for row in rows]),
                patch=np.array([row.patch for row in rows]),
                centre_mm=np.array([row.centre for row in rows]),
                code=np.stack([row.code for row in rows]),
            )
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            numbers = (f"code_{number}" for number in range(rows[0].code.size))
            writer.writerow(["case", "patch", "x_mm", "y_mm", "z_mm", *numbers])
            for row in rows:
                # Nine digits give back every float32.
                values = (f"{value:.9g}" for value in row.code.ravel())
                writer.writerow([row.case, row.patch, *(f"{mm:.3f}" for mm in row.centre), *values])


def _manifest(model: Opened, places: Places, shape: tuple[int, ...]) -> dict[str, Any]:
    config = model.patches
    return {
        "research_use_only": True,
        "medgen": medgen.__version__,
        "model": model.origin,
        "device": str(model.device),
        "placed": "middle of the mask" if places.patches is None else "uniformly in the mask",
        "centred": config.sampling == "centred",
        "patches": places.patches or 1,
        "seed": None if places.patches is None else places.seed,
        "size": config.size,
        "plane": None if config.across is None else config.plane,
        "code_shape": shape,
    }


def _require_sensible(files: Sequence[Path], cases: str | Path, *, overwrite: bool) -> None:
    if files[0].suffix not in (".csv", ".npz"):
        raise UsageError("codes are written as .csv or .npz", where=files[0], fix="e.g. -o codes.csv")
    for file in files:
        require_output(file)
        require_apart(file, [cases])
        require_free(file, overwrite=overwrite)
    other = files[0].with_suffix(".npz" if files[0].suffix == ".csv" else ".csv")
    if other.exists():
        what = f"{other.name} is here, and {files[1].name} would describe these codes and no more those"
        raise UsageError(what, where=other, fix="choose another name, or move these codes")


def _require_short(shape: tuple[int, ...], output: Path) -> None:
    length = int(np.prod(shape))
    if length > MOST_IN_CSV:
        raise UsageError(
            f"a code of this model has {length} numbers ({' x '.join(map(str, shape))}), and a row of CSV holds "
            f"{MOST_IN_CSV} at most",
            where=output,
            fix=f"write -o {output.with_suffix('.npz').name}",
        )
