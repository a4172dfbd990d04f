"""Latent codes of the images of a case table, patch by patch."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import medgen
from medgen.cases import Case, columns_of, listed, read_cases
from medgen.errors import CasesFailed, InputError, MedgenError, ModelError, PathError, StorageError, UsageError
from medgen.files import atomic_path, require_output, sha256, write_json
from medgen.inference.opened import Opened, open_model
from medgen.methods.base import Encodes
from medgen.preparation import Prepared
from medgen.preparation.building import prepare_case
from medgen.sampling.patches import PatchConfig, cut
from medgen.types import Array, Checkpoint, Progress, Split

MOST_IN_CSV = 4096
"""Numbers of a code that a row of a CSV file may hold; spreadsheets end at 16384 columns."""
_SEEDS = 2**64

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Places:
    """Where patches are taken.

    Attributes:
        patches: how many are drawn from each case; None takes one, centred on the middle of the mask.
        seed: 0 to 2^64 - 1.
    """

    patches: int | None
    seed: int

    def of(self, mask: Array) -> list[tuple[int, ...]]:
        """The voxel that each patch of a case is centred on.

        Patch n is a pure function of the mask, the seed and n; every voxel of the mask is drawn equally often.
        """
        if self.patches is None:
            return [middle_of(mask)]
        candidates = np.flatnonzero(mask)
        keys = (np.array([self.seed, number], np.uint64) for number in range(self.patches))
        drawn = (np.random.Generator(np.random.Philox(key=key)).integers(len(candidates)) for key in keys)
        return [tuple(int(each) for each in np.unravel_index(int(candidates[n]), mask.shape)) for n in drawn]


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
    _require_sensible(places, (output, manifest), overwrite=overwrite)
    table = read_cases(cases)
    chosen = table.select(split=split)
    if not chosen:
        raise InputError(f"no case has split '{split}'", where=table.path, fix="leave out --split, or choose another")
    model = open_model(run, device, allow_modules, checkpoint)
    shape = _code_shape(model)
    if output.suffix == ".csv":
        _require_short(shape, output)
    failed: dict[str, str] = {}
    rows = list(_encoded(chosen, model, places, failed, progress))
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


def middle_of(mask: Array) -> tuple[int, ...]:
    """The voxel at the centre of mass of a mask (X, Y, Z); it may lie outside a mask that is not convex."""
    counts = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    return tuple(round(float(np.average(np.arange(len(each)), weights=each))) for each in counts)


def patch_at(prepared: Prepared, centre: Sequence[int], config: PatchConfig) -> Array:
    """The patch that training would cut there, (C, X, Y, Z) or (C, A, B); beyond the border stands the lowest value."""
    lowest = prepared.image.min(axis=(1, 2, 3), keepdims=True)
    box = cut(prepared.image, _start(centre, config), config.box, lowest)
    return np.ascontiguousarray(box if config.across is None else box.take(0, 1 + config.across))


def _encoded(
    cases: Sequence[Case], model: Opened, places: Places, failed: dict[str, str], progress: Progress | None
) -> Iterator[Row]:
    """Codes of all cases in their order; a case that cannot be prepared goes to ``failed`` with the reason."""
    preparation = model.known.preparation
    roles = (*preparation.roles.inputs, *([preparation.roles.mask] if preparation.roles.mask else []))
    needed = {column for role in roles for column in columns_of(role)}
    for number, case in enumerate(cases):
        if progress:
            progress(number, len(cases), case.name)
        images = {name: path for name, path in case.images.items() if name in needed}
        try:
            prepared = prepare_case(replace(case, images=images), preparation)
        except MedgenError as error:
            if isinstance(error, StorageError) and not isinstance(error, PathError):
                raise
            failed[case.name] = error.what
            log.warning("case %s failed: %s", case.name, error.what)
            continue
        for warning in preparation.unlike_training(prepared):
            log.warning("case %s: %s", case.name, warning)
        yield from _encode_case(case.name, prepared, model, places)
    if progress:
        progress(len(cases), len(cases), "cases")


def _encode_case(name: str, prepared: Prepared, model: Opened, places: Places) -> Iterator[Row]:
    mask, config = prepared.body if prepared.mask is None else prepared.mask, model.patches
    for number, place in enumerate(places.of(mask)):
        centre = config.placed(place, mask.shape)
        code = _code(model, patch_at(prepared, centre, config))
        if not np.isfinite(code).all():
            raise ModelError(
                f"the code of case '{name}', patch {number}, has NaN or infinite numbers",
                where=model.where,
                fix="train the model again; nothing was written",
            )
        middle = [low + (edge - 1) / 2 for low, edge in zip(_start(centre, config), config.box, strict=True)]
        x, y, z = (float(each) for each in prepared.affine[:3, :3] @ middle + prepared.affine[:3, 3])
        yield Row(name, number, (x, y, z), code)


def _start(centre: Sequence[int], config: PatchConfig) -> list[int]:
    """The first voxel of a patch, as :class:`~medgen.sampling.patches.PatchSource` has it."""
    return [middle - edge // 2 for middle, edge in zip(centre, config.box, strict=True)]


def _code(model: Opened, patch: Array) -> Array:
    """One patch at a time: in a batch the last digits would depend on the other patches."""
    if not isinstance(model.method, Encodes):
        raise model.lacks("encode images")
    with torch.inference_mode():
        code = model.method.encode(torch.from_numpy(patch)[None].to(model.device))
    return np.asarray(code[0].float().cpu().numpy())


def _code_shape(model: Opened) -> tuple[int, ...]:
    """Found by encoding a patch of zeros, so that what cannot be written is refused before the work."""
    shape = model.method.shape
    return _code(model, np.zeros((shape.inputs, *shape.size), np.float32)).shape


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


def _require_sensible(places: Places, files: Sequence[Path], *, overwrite: bool) -> None:
    if files[0].suffix not in (".csv", ".npz"):
        raise UsageError("codes are written as .csv or .npz", where=files[0], fix="e.g. -o codes.csv")
    if places.patches is not None and places.patches < 1:
        raise UsageError(
            f"--patches must be at least 1, got {places.patches}", fix="leave it out for one patch in the middle"
        )
    if not 0 <= places.seed < _SEEDS:
        raise UsageError(f"--seed must be between 0 and 2^64 - 1, got {places.seed}", fix="e.g. --seed 0")
    for file in files:
        require_output(file)
        if file.exists() and not overwrite:
            raise UsageError("the output exists", where=file, fix="choose another name, or --overwrite")


def _require_short(shape: tuple[int, ...], output: Path) -> None:
    length = int(np.prod(shape))
    if length > MOST_IN_CSV:
        raise UsageError(
            f"a code of this model has {length} numbers ({' x '.join(map(str, shape))}), and a row of CSV holds "
            f"{MOST_IN_CSV} at most",
            where=output,
            fix=f"write -o {output.with_suffix('.npz').name}",
        )
